"""What is published of standby endpoints and of fleets' outlooks."""

from math import inf

import pytest
from prometheus_client import CollectorRegistry

from predictor.types import Objective
from proxy import OutlookCollector, StandbyCollector
from scheduler import Scheduler
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

TIGHT = Objective(tpot_s=0.015)


class Page:
    def __init__(self, scheduler: Scheduler, now: float) -> None:
        self.now = now
        self.registry = CollectorRegistry()
        self.registry.register(StandbyCollector(scheduler, lambda: self.now))
        self.registry.register(OutlookCollector(scheduler, lambda: self.now))

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"foretoken_{name}", labels)


def test_what_goes_to_standby_is_counted_by_class_and_reason() -> None:
    states = [endpoint("a:1"), endpoint("z:1", priority_class=1)]
    scheduler = make_scheduler(KnownPhysics(), states)
    for number in range(3):
        scheduler.route(request(str(number), objective=TIGHT), now=0.0)

    page = Page(scheduler, now=1.0)

    of = {"model_name": "m", "priority_class": "1"}
    assert page.value("standby_requests_total", **of, reason="objective") == 1
    assert page.value("standby_requests_total", **of, reason="lower_down") == 0
    assert page.value("standby_openings_total", **of) == 1
    assert page.value("fleet_standby_open", **of) == 1
    assert page.value("endpoint_priority_class", endpoint="z:1") == 1
    page.now = 60.0
    assert page.value("fleet_standby_open", **of) == 0


def test_a_fleet_of_one_class_has_no_series_of_standby() -> None:
    page = Page(make_scheduler(KnownPhysics(), [endpoint("a:1")]), now=1.0)

    assert page.value("fleet_standby_open", model_name="m", priority_class="1") is None
    assert page.value("endpoint_priority_class", endpoint="a:1") == 0


def test_an_outlook_is_published_and_what_is_unknown_left_out() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=64)])
    page = Page(scheduler, now=40.0)
    before = page.value("fleet_demand_requests_per_second", model_name="m")
    for number in range(1000):
        scheduler.route(request(str(number)), now=number / 10)

    page.now = 100.0
    demand = page.value("fleet_demand_requests_per_second", model_name="m")
    capacity = page.value("fleet_objective_capacity_requests_per_second", model_name="m")
    spare = page.value("fleet_objective_spare_requests_per_second", model_name="m")
    needed = page.value("fleet_needed_endpoints", model_name="m")
    desired = page.value("fleet_desired_endpoints", model_name="m")

    assert before is None
    assert None not in (demand, capacity, spare, needed, desired)
    assert spare == pytest.approx(capacity - demand)  # type: ignore[operator]  # are numbers
    assert desired >= max(needed, 1.0)  # type: ignore[operator,type-var]  # likewise
    assert page.value("demand_share_ratio", model_name="m") == 1.0


def test_an_even_demand_is_told_to_saturate_never() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=64)])
    for number in range(400):
        scheduler.route(request(str(number)), now=number / 2 + 0.1)

    page = Page(scheduler, now=200.0)

    name = "fleet_time_to_saturation_seconds"
    assert page.value(name, model_name="m", bound="expected") in {inf, 0.0}
