"""The circuit breaker of each endpoint: what opens it, who tries it, what closes it."""

import pytest

from predictor.types import EndpointState, Measurement
from scheduler import Dispatch, Scheduler, gets_on
from scheduler.suspects import TRIAL_S, Suspects
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

FAST, SLOW = "fast:1", "slow:1"
FAILED = Measurement(outcome="upstream_error", status=500)
SERVED = Measurement(outcome="completed", status=200, output_tokens=2)


class Bench:
    """Requests to two endpoints; the fast one would get all of them."""

    def __init__(self) -> None:
        self.scheduler: Scheduler = make_scheduler(
            KnownPhysics({FAST: 1e-5, SLOW: 1e-4}), self.states(0.0)
        )
        self.count = 0

    @staticmethod
    def states(now: float, **fast: object) -> list[EndpointState]:
        return [endpoint(FAST, scraped_s=now, **fast), endpoint(SLOW, scraped_s=now)]

    def scrape(self, now: float, **fast: object) -> None:
        self.scheduler.update(self.states(now, **fast))

    def ask(self, now: float) -> tuple[str, str]:
        self.count += 1
        action = self.scheduler.route(request(f"r{self.count}"), now)
        assert isinstance(action, Dispatch)
        return action.request_id, action.endpoint

    def end(self, request_id: str, measurement: Measurement, now: float) -> None:
        self.scheduler.finished(request_id, measurement, now)


def failed_once() -> Bench:
    bench = Bench()
    request_id, where = bench.ask(now=0.0)
    assert where == FAST
    bench.end(request_id, FAILED, now=0.0)
    return bench


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_client_errors_never_open_it(status: int) -> None:
    bench = Bench()

    for _ in range(4):
        request_id, _ = bench.ask(now=0.0)
        bench.end(request_id, Measurement(outcome="client_error", status=status), now=0.0)

    assert bench.scheduler.suspicion(FAST, 0.0) is None


def test_when_the_time_is_up_one_request_at_a_time_tries_it() -> None:
    bench = failed_once()

    meanwhile = bench.ask(now=0.4)[1]
    tries = [bench.ask(now=0.6)[1] for _ in range(3)]

    assert meanwhile == SLOW
    assert tries == [FAST, SLOW, SLOW]


def test_a_trial_that_is_served_closes_it() -> None:
    bench = failed_once()
    trial, _ = bench.ask(now=0.6)

    bench.end(trial, SERVED, now=0.7)

    assert [bench.ask(now=0.8)[1] for _ in range(2)] == [FAST, FAST]


def test_the_first_token_of_a_trial_closes_it() -> None:
    bench = failed_once()
    trial, _ = bench.ask(now=0.6)

    bench.scheduler.first_token(trial, now=0.7)

    assert bench.ask(now=0.8)[1] == FAST


def test_a_trial_that_fails_opens_it_again_for_longer() -> None:
    bench = failed_once()
    trial, _ = bench.ask(now=0.6)

    bench.end(trial, FAILED, now=0.7)

    assert bench.ask(now=1.6)[1] == SLOW
    assert bench.ask(now=1.8)[1] == FAST


def test_a_trial_whose_client_leaves_lets_another_one_go() -> None:
    bench = failed_once()
    trial, _ = bench.ask(now=0.6)

    bench.end(trial, Measurement(outcome="client_gone"), now=0.7)

    assert [bench.ask(now=0.8)[1] for _ in range(2)] == [FAST, SLOW]


def test_a_trial_that_says_nothing_does_not_keep_the_others_for_ever() -> None:
    bench = failed_once()
    bench.ask(now=0.6)

    assert bench.ask(now=0.5 + TRIAL_S)[1] == SLOW
    assert bench.ask(now=0.7 + TRIAL_S)[1] == FAST


def test_however_long_it_failed_a_recovered_endpoint_is_tried_within_three_seconds() -> None:
    bench = Bench()
    now = 0.0
    for _ in range(10):
        while (asked := bench.ask(now))[1] == SLOW:
            bench.end(asked[0], SERVED, now)
            now += 0.1
        bench.end(asked[0], FAILED, now)
    failed_s = now

    while bench.ask(now)[1] == SLOW:
        now += 0.1

    assert now - failed_s < 3.0


def test_an_engine_that_stands_still_is_left_alone_until_it_moves() -> None:
    bench = Bench()

    bench.scrape(10.0, moved_s=4.0, still_since_s=4.2)
    while_still = bench.ask(now=10.1)[1], bench.scheduler.suspicion(FAST, 10.1)
    bench.scrape(10.2, moved_s=10.2)
    after = bench.ask(now=10.3)[1]

    assert while_still == (SLOW, "stalled")
    assert after == FAST


def test_an_engine_that_paused_for_a_moment_is_not() -> None:
    bench = Bench()

    bench.scrape(10.0, moved_s=7.0, still_since_s=7.2)

    assert bench.ask(now=10.1)[1] == FAST


def test_a_silent_request_goes_elsewhere() -> None:
    bench = Bench()
    request_id, _ = bench.ask(now=0.0)

    bench.scheduler.stalled(FAST, now=5.0)
    action = bench.scheduler.move(request_id, now=5.0)

    assert isinstance(action, Dispatch)
    assert (action.endpoint, action.attempt) == (SLOW, 2)
    assert bench.scheduler.suspicion(FAST, 5.0) == "stalled"
    assert bench.scheduler.load(FAST, 5.0).inflight_requests == 0


def test_where_nobody_is_better_a_silent_request_waits_on() -> None:
    alone, suspect = Bench(), Bench()
    alone.scheduler.update([endpoint(FAST)])
    suspect.scheduler.stalled(SLOW, now=5.0)

    for bench in (alone, suspect):
        request_id, _ = bench.ask(now=0.0)
        bench.scheduler.stalled(FAST, now=5.0)

        assert bench.scheduler.move(request_id, now=5.0) is None
        assert bench.scheduler.load(FAST, 5.0).inflight_requests == 1


def test_many_silent_requests_are_one_failure() -> None:
    bench = Bench()

    for _ in range(9):
        bench.scheduler.stalled(FAST, now=5.0)

    assert bench.scheduler.suspicion(FAST, 5.4) == "stalled"
    assert bench.scheduler.suspicion(FAST, 5.6) is None


def test_what_is_not_there_is_neither_doubted_nor_moved() -> None:
    bench = Bench()

    bench.scheduler.stalled("gone:1", now=5.0)

    assert bench.scheduler.suspicion("gone:1", 5.0) is None
    assert bench.scheduler.move("unknown", now=5.0) is None


@pytest.mark.parametrize(("moved_s", "expected"), [(None, False), (2.4, False), (2.6, True)])
def test_an_endpoint_gets_on_that_moved_in_the_later_half_of_a_silence(
    moved_s: float | None, expected: bool
) -> None:
    assert gets_on(endpoint(FAST, moved_s=moved_s), since_s=0.0, now=5.0) is expected


def test_what_others_say_keeps_us_away_for_one_wait_however_often() -> None:
    suspects = Suspects(backoff_s=0.5)

    for tenth in range(4):
        suspects.hear("a:1", "failing", now=10.0 + tenth / 10)

    assert suspects.reason("a:1", now=10.4) == "failing"
    assert suspects.reason("a:1", now=10.6) is None


def test_what_others_say_does_not_count_as_seen_and_is_not_told_on() -> None:
    suspects, told = Suspects(backoff_s=0.5), list[tuple[str, str]]()
    suspects.on_suspect = lambda endpoint, reason: told.append((endpoint, reason))

    suspects.hear("a:1", "stalled", now=10.0)
    suspects.failed("b:1", now=10.0)

    assert told == [("b:1", "unreachable")]
    assert dict(suspects.times) == {("b:1", "unreachable"): 1}


def test_our_own_scrape_outweighs_what_another_could_not_reach() -> None:
    suspects = Suspects(backoff_s=0.5)
    suspects.hear("a:1", "unreachable", now=10.0)

    suspects.seen_up("a:1", 10.1)

    assert suspects.reason("a:1", now=10.2) is None
