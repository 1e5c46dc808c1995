"""Pace: all requests teach up to a rate, beyond it an even share of them."""

import random

import pytest

from scheduler import Dispatch, Scheduler, SchedulerSettings
from scheduler.pace import PACE_TAU_S, Pace
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request
from tests.scheduler.test_learning import DONE


def chosen(pace: Pace, times_s: list[float]) -> list[bool]:
    return [pace.chooses(now) for now in times_s]


def steady(per_s: float, seconds: float, start_s: float = 0.0) -> list[float]:
    return [start_s + number / per_s for number in range(round(per_s * seconds))]


def test_below_the_pace_all_teach() -> None:
    pace = Pace(most_per_s=100.0)

    assert all(chosen(pace, steady(90.0, 60.0)))
    assert pace.skipped == 0


def test_a_burst_is_taken_whole_where_the_mean_is_below_the_pace() -> None:
    pace = Pace(most_per_s=100.0)

    assert all(chosen(pace, [5.0] * round(90.0 * PACE_TAU_S)))


@pytest.mark.parametrize("per_s", [150.0, 1000.0, 20_000.0])
def test_beyond_it_the_pace_is_kept(per_s: float) -> None:
    pace = Pace(most_per_s=100.0)
    chosen(pace, steady(per_s, 30.0))

    taken = chosen(pace, steady(per_s, 10.0, start_s=30.0))

    assert sum(taken) == pytest.approx(1000, rel=0.02)


def test_what_a_sudden_load_teaches_beyond_the_pace_is_bounded() -> None:
    pace = Pace(most_per_s=250.0)

    taken = chosen(pace, steady(10_000.0, 10.0))

    assert sum(taken) < 250.0 * (10.0 + 6 * PACE_TAU_S)


@pytest.mark.parametrize("stride", [2, 3, 4, 5, 8, 13, 21])
def test_requests_that_come_in_a_pattern_are_chosen_evenly(stride: int) -> None:
    pace = Pace(most_per_s=1000.0 / stride)
    taken = chosen(pace, steady(1000.0, 60.0))[30_000:]

    shares = [sum(taken[first::stride]) / len(taken[first::stride]) for first in range(stride)]

    assert shares == pytest.approx([1 / stride] * stride, rel=0.15)


def test_a_clock_that_steps_back_does_no_harm() -> None:
    pace = Pace(most_per_s=10.0)
    rng = random.Random(1)

    taken = chosen(pace, [rng.uniform(0.0, 100.0) for _ in range(5000)])

    assert 0 < sum(taken) <= 5000
    assert pace.skipped == taken.count(False)


def slow_learner(physics: KnownPhysics) -> Scheduler:
    settings = SchedulerSettings(learned_requests_per_s=1.0)
    scheduler = make_scheduler(physics, [endpoint("a:1")], settings=settings)
    for number in range(200):  # 20 a second
        serve(scheduler, f"before-{number}", 0.05 * number)
    physics.learned.clear()
    return scheduler


def serve(scheduler: Scheduler, request_id: str, now: float) -> Dispatch:
    action = scheduler.route(request(request_id=request_id, streamed=True), now)
    assert isinstance(action, Dispatch)
    looks_after_s = scheduler.first_token(request_id, now + 0.01)
    record = scheduler.finished(request_id, DONE, now + 0.02)
    assert (record.observation is None) == (looks_after_s is None)
    assert record.upstream_ttft_s == pytest.approx(0.01)
    return action


def test_a_request_that_is_not_chosen_is_told_whole_and_teaches_nothing() -> None:
    physics = KnownPhysics()
    scheduler = slow_learner(physics)
    skipped = scheduler.fleets["m"].pace.skipped

    for number in range(40):
        serve(scheduler, f"r{number}", 10.0 + 0.05 * number)

    newly_skipped = scheduler.fleets["m"].pace.skipped - skipped
    assert 30 < newly_skipped < 40
    assert len(physics.learned) == 2 * (40 - newly_skipped)  # its TTFT, and the rest


def test_an_unanswered_request_that_is_not_chosen_is_no_miss() -> None:
    physics = KnownPhysics()
    scheduler = slow_learner(physics)
    fleet = scheduler.fleets["m"]

    waiting = [f"r{number}" for number in range(20)]
    skipped = fleet.pace.skipped
    for name in waiting:
        scheduler.route(request(request_id=name, streamed=True), 10.0)
    list(scheduler.tick(100.0))

    assert len(physics.learned) == len(waiting) - (fleet.pace.skipped - skipped)
