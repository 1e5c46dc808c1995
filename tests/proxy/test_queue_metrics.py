"""What is published of those that wait, and of the room that endpoints have."""

from prometheus_client import CollectorRegistry

from proxy import CapacityCollector, QueueCollector
from scheduler import Scheduler, SchedulerSettings, TierSettings, Wait
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

SETTINGS = SchedulerSettings(
    tiers={"standard": TierSettings(), "batch": TierSettings(priority=-10)},
    max_waiting_requests=4,
)


class Page:
    def __init__(self, scheduler: Scheduler, now: float) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(QueueCollector(scheduler, lambda: now))
        self.registry.register(CapacityCollector(scheduler, lambda: now))

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"foretoken_{name}", labels)


def test_those_that_wait_show_by_tier_and_reason_and_since_when() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)], SETTINGS)
    first = scheduler.route(request("one", tier="batch", prompt_bytes=100), now=1.0)
    scheduler.route(request("two", prompt_bytes=50), now=3.0)

    page = Page(scheduler, now=5.0)

    assert isinstance(first, Wait)
    of = {"model_name": "m", "tier": "batch"}
    assert page.value("waiting_requests", **of, reason="no_endpoint") == 1
    assert page.value("waiting_requests", **of, reason="endpoints_full") == 0
    assert page.value("oldest_wait_seconds", **of) == 4.0
    assert page.value("oldest_wait_seconds", model_name="m", tier="standard") == 2.0
    assert page.value("waiting_bytes") == 150
    assert page.value("queue_used_ratio", bound="requests") == 0.5


def test_a_queue_where_nobody_waits_is_there_at_zero() -> None:
    page = Page(make_scheduler(KnownPhysics(), [endpoint("a:1")], SETTINGS), now=5.0)

    of = {"model_name": "m", "tier": "standard"}
    assert page.value("waiting_requests", **of, reason="objectives_at_risk") == 0
    assert page.value("oldest_wait_seconds", **of) == 0.0


def test_a_fleet_is_as_full_as_its_endpoints_and_those_that_are_down_count_as_full() -> None:
    half = endpoint("a:1", max_seqs=4, running_requests=2.0, waiting_requests=0.0)
    leaving = endpoint("c:1", max_seqs=4, running_requests=4.0, draining=True)
    scheduler = make_scheduler(KnownPhysics(), [half, endpoint("b:1", up=False), leaving])

    page = Page(scheduler, now=0.0)

    assert page.value("endpoint_saturation_ratio", endpoint="a:1", resource="batch") == 0.5
    assert page.value("fleet_saturation_ratio", model_name="m") == 0.75
    assert page.value("endpoint_spare_requests_per_second", endpoint="b:1") == 0.0
    states = {
        state: page.value("fleet_endpoints", model_name="m", state=state)
        for state in ("up", "down", "draining", "suspect")
    }
    assert states == {"up": 1, "down": 1, "draining": 1, "suspect": 0}


def test_what_is_unknown_is_left_out() -> None:
    page = Page(make_scheduler(KnownPhysics(), [endpoint("a:1")]), now=0.0)

    assert page.value("endpoint_saturation_ratio", endpoint="a:1", resource="batch") is None
    assert page.value("fleet_saturation_ratio", model_name="m") is None
    assert page.value("fleet_spare_requests_per_second", model_name="m") is None
