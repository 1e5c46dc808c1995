"""How full endpoints are, and what more they could take."""

from math import isnan

import pytest

from scheduler import Scheduler
from scheduler.capacity import Room
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request


def room(scheduler: Scheduler, now: float = 0.0, name: str = "a:1") -> Room:
    return scheduler.rooms(scheduler.fleets["m"], now)[name]


def test_an_idle_endpoint_has_all_its_seats_and_memory() -> None:
    idle = endpoint(
        "a:1", max_seqs=8, running_requests=0.0, waiting_requests=0.0, kv_cache_usage=0.0
    )

    found = room(make_scheduler(KnownPhysics(), [idle]))

    assert (found.batch, found.kv_cache) == (0.0, 0.0)
    assert isnan(found.compute)  # nobody knows what requests will be like


def test_seats_taken_by_others_count_and_a_queue_is_above_one() -> None:
    full = endpoint("a:1", max_seqs=8, running_requests=8.0, waiting_requests=4.0)

    found = room(make_scheduler(KnownPhysics(), [full]))

    assert found.batch == found.worst == 1.5
    assert found.spare_requests_per_s == 0.0


def test_a_queue_shows_how_many_seats_there_are() -> None:
    full = endpoint("a:1", running_requests=10.0, waiting_requests=5.0)

    assert room(make_scheduler(KnownPhysics(), [full])).batch == 1.5


def test_what_requests_take_of_the_engine_is_the_predictors_word() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])
    for number in range(10):
        scheduler.route(request(str(number), prompt_tokens=1000), now=0.0)

    found = room(scheduler)

    assert found.compute > 0.0
    rate_per_s = 10 / 15.0  # decays by 1/e in 15 s
    a_request_s = found.compute / rate_per_s
    assert found.spare_requests_per_s == pytest.approx((1 - found.compute) / a_request_s)


def test_no_more_are_said_to_fit_than_there_are_seats_for() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=2)])
    scheduler.route(request(prompt_tokens=1), now=0.0)  # next to nothing for the engine

    found = room(scheduler, now=60.0)  # it is in flight still, its rate nearly forgotten

    assert found.batch == 0.5
    assert 0.0 < found.spare_requests_per_s < 10.0


def test_under_the_kill_switch_nobody_asks_the_predictor() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])
    scheduler.route(request(), now=0.0)
    scheduler.mode = "heuristic"

    assert isnan(room(scheduler).compute)


@pytest.mark.parametrize("physics", [KnownPhysics(broken=True), KnownPhysics(layer="cold")])
def test_without_predictions_the_rest_is_said(physics: KnownPhysics) -> None:
    scheduler = make_scheduler(physics, [endpoint("a:1", max_seqs=4, kv_cache_usage=0.485)])
    scheduler.route(request(), now=0.0)

    found = room(scheduler)

    assert isnan(found.compute)
    assert (found.batch, found.kv_cache) == (0.25, pytest.approx(0.5))
    assert found.spare_requests_per_s > 0.0


def test_looking_changes_nothing() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])
    scheduler.route(request(), now=0.0)

    first, second = room(scheduler), room(scheduler)

    assert first[2:] == second[2:]
    assert scheduler.fleets["m"].trust.changes_total == {("mixture", "predicted"): 1}
