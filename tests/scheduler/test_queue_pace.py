"""Who is refused is told to come back when those before it will have gone."""

import pytest

from scheduler import Dispatch, SchedulerSettings, Shed, TierSettings
from scheduler.queue_pace import QueuePace
from scheduler.scheduler import Scheduler
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request
from tests.scheduler.pair import FULL, Pair
from tests.scheduler.tiered import DONE

SHEDDABLE = {"patient": TierSettings(sheddable=True)}
PATIENT = {"patient": TierSettings(sheddable=True, max_wait_s=600.0)}


def settings(most: int) -> SchedulerSettings:
    return SchedulerSettings(tiers=PATIENT, default_tier="patient", max_waiting_requests=most)


def filled(scheduler: Scheduler, name: str, now: float) -> Shed:
    """Let requests come until one is refused; give that one."""
    for number in range(100):
        action = scheduler.route(request(f"{name}{number}", arrived_s=now), now=now)
        if isinstance(action, Shed):
            return action
    raise AssertionError("nobody was refused")


def test_of_two_schedulers_each_tells_the_time_that_one_would_tell() -> None:
    alone = make_scheduler(KnownPhysics(), [FULL], settings(16))
    filled(alone, "fill-", 0.0)
    pair = Pair(FULL, settings=settings(8))
    for number, each in enumerate(pair.both):
        filled(each, f"fill-{number}-", 0.0)
    pair.exchange()
    served, at = "fill-0", "fill-0-0"
    for second in range(1, 61):  # a seat is free once a second
        now = float(second)
        alone.finished(served, DONE, now=now)
        (action,) = alone.tick(now)
        served = action.request_id
        filled(alone, f"at-{second}-", now)
        pair.freed(now, at, int(at.split("-")[1]))
        (at,) = pair.look(0, now) + pair.look(1, now) or pair.look(0, now + 0.2)
        filled(pair.both[int(at.split("-")[1])], f"at{second}-{at.split('-')[1]}-", now + 0.2)

    expected_s = filled(alone, "last-", 60.9).retry_after_s
    told_s = [filled(each, "last-", 60.9).retry_after_s for each in pair.both]

    assert expected_s == pytest.approx(16.0, rel=0.1)
    assert told_s == pytest.approx([expected_s, expected_s], rel=0.2)


def test_until_some_have_gone_the_pace_of_the_fleet_is_that_of_the_queue() -> None:
    scheduler = make_scheduler(KnownPhysics(), [FULL], settings(8))
    assert isinstance(scheduler.route(request("goes"), now=0.0), Dispatch)

    refused = filled(scheduler, "r", 0.0)

    assert refused.reason == "queue_full"
    assert refused.retry_after_s == pytest.approx(8 * 15.0)  # one went, of those of 15 s


def test_some_that_go_in_one_look_are_no_pace() -> None:
    pace = QueuePace(now=0.0)
    pace.fleet_per_s = 10.0
    for _ in range(8):
        pace.went(0.02)

    assert pace.retry_after_s(500, now=0.02, most_s=600.0) == pytest.approx(50.0)


def test_from_a_queue_that_was_empty_the_pace_is_counted_anew() -> None:
    scheduler = make_scheduler(KnownPhysics(), [FULL], settings(8))
    served = "r-0"
    scheduler.route(request(served), now=0.0)
    for number in range(1, 30):
        scheduler.route(request(f"r-{number}", arrived_s=float(number)), now=float(number))
        scheduler.finished(served, DONE, now=number + 0.5)
        (action,) = scheduler.tick(number + 0.5)
        served = action.request_id
    fleet_per_s = scheduler.load("a:1", now=30.0).dispatches_per_s

    refused = filled(scheduler, "last-", 30.0)

    assert refused.retry_after_s == pytest.approx(8 / fleet_per_s)


def test_while_nobody_goes_the_wait_grows_up_to_how_long_those_before_wait_themselves() -> None:
    pace = QueuePace(now=0.0)
    for second in range(30):
        pace.went(float(second))

    told_s = [pace.retry_after_s(10, now=now, most_s=60.0) for now in (29.0, 45.0, 60.0, 1e6)]

    assert told_s == pytest.approx([9.6, 30.7, 60.0, 60.0], rel=0.02)


def test_who_is_refused_in_an_outage_is_told_the_longest_wait_at_most() -> None:
    patient = settings(8).model_copy(update={"max_wait_s": 10.0, "tiers": SHEDDABLE})
    scheduler = make_scheduler(KnownPhysics(), [FULL], patient)
    filled(scheduler, "r", 0.0)
    served = "r0"
    for second in range(1, 6):
        scheduler.finished(served, DONE, now=float(second))
        (action,) = scheduler.tick(float(second))
        served = action.request_id
    scheduler.update([endpoint("a:1", up=False)])
    list(scheduler.tick(120.0))

    assert filled(scheduler, "down", 120.0).retry_after_s <= 10.0
