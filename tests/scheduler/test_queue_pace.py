"""Who is refused is told to come back when those before it will have gone."""

import pytest

from scheduler import Dispatch, SchedulerSettings, Shed, TierSettings
from scheduler.queue_pace import MOST_RETRY_S, QueuePace
from scheduler.scheduler import Scheduler
from tests.scheduler.known_physics import KnownPhysics, make_scheduler, request
from tests.scheduler.pair import FULL, Pair
from tests.scheduler.tiered import DONE

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


def test_a_queue_from_which_nobody_goes_any_more_is_waited_for_longer_and_not_for_ever() -> None:
    pace = QueuePace(now=0.0)
    for second in range(30):
        pace.went(float(second))

    soon_s, later_s, at_last_s = (pace.wait_s(10, now=now) for now in (29.0, 60.0, 1e6))

    assert soon_s == pytest.approx(10.0, rel=0.1)
    assert later_s > 2 * soon_s
    assert at_last_s == MOST_RETRY_S
