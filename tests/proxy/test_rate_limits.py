"""What each key may ask for in a minute."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.access import Caller
from proxy.errors import RateLimited, to_response
from proxy.rate_limits import WINDOW_S, RateLimits, WindowCounts
from proxy.settings import AccessSettings

A, B = Caller(name="a"), Caller(name="b")


class Bench:
    def __init__(self, **settings: int) -> None:
        self.now = 0.0
        self.limits = RateLimits(AccessSettings.model_validate(settings), lambda: self.now)

    def admitted(self, caller: Caller = A, *, tokens: int = 1, times: int = 1) -> int:
        count = 0
        for _ in range(times):
            try:
                self.limits.admit(caller, tokens)
            except RateLimited:
                continue
            count += 1
        return count

    def refusal(self, caller: Caller = A, tokens: int = 1) -> RateLimited:
        with pytest.raises(RateLimited) as caught:
            self.limits.admit(caller, tokens)
        return caught.value


def test_without_limits_nothing_is_counted() -> None:
    bench = Bench()

    assert bench.admitted(tokens=10**9, times=1000) == 1000
    assert bench.limits.admit(A, 5) == 0


def test_each_key_has_its_own_minute() -> None:
    bench = Bench(requests_per_minute=3)

    assert bench.admitted(A, times=5) == 3
    assert bench.admitted(B, times=5) == 3


def test_a_keys_own_limit_counts_before_everyones() -> None:
    bench = Bench(requests_per_minute=3)

    assert bench.admitted(Caller(name="c", requests_per_minute=7), times=10) == 7


def test_the_refusal_says_when_to_come_back_and_that_is_right() -> None:
    bench = Bench(requests_per_minute=60)
    bench.now = 30.0
    bench.admitted(times=60)
    bench.now = 75.0  # the 60 weigh three quarters
    bench.admitted(times=60)

    refused = bench.refusal()
    wait_s = refused.retry_after_s
    assert wait_s is not None
    bench.now += wait_s - 1.5  # one request of 60 weighs a second
    too_early = bench.admitted()
    bench.now += 1.5

    assert too_early == 0
    assert bench.admitted() == 1


def test_the_refusal_in_openais_form() -> None:
    bench = Bench(requests_per_minute=1)
    bench.admitted()

    answer = to_response(bench.refusal())

    assert (answer.status, answer.type, answer.code) == (429, "requests", "rate_limit_exceeded")
    headers = dict(answer.headers)
    assert headers[b"x-ratelimit-limit-requests"] == b"1"
    assert 60 <= int(headers[b"retry-after"]) <= 120


def test_tokens_of_the_prompt_count_at_once_and_the_rest_at_the_end() -> None:
    bench = Bench(tokens_per_minute=100)

    counted = bench.limits.admit(A, 40)
    bench.limits.settle(A, counted, used=90)

    assert bench.admitted(tokens=20) == 0
    assert bench.admitted(tokens=10) == 1


def test_a_prompt_estimated_too_long_is_given_back() -> None:
    bench = Bench(tokens_per_minute=100)

    counted = bench.limits.admit(A, 80)
    bench.limits.settle(A, counted, used=10)

    assert bench.admitted(tokens=90) == 1


def test_a_request_that_tells_no_usage_keeps_its_estimate() -> None:
    bench = Bench(tokens_per_minute=100)

    counted = bench.limits.admit(A, 80)
    bench.limits.settle(A, counted, used=None)

    assert bench.admitted(tokens=21) == 0


def test_a_prompt_longer_than_the_limit_uses_up_a_whole_minute() -> None:
    bench = Bench(tokens_per_minute=100)

    assert bench.admitted(tokens=1000) == 1
    assert bench.refusal(tokens=1).what == "tokens"


def test_a_request_refused_for_its_tokens_is_no_request() -> None:
    bench = Bench(requests_per_minute=2, tokens_per_minute=100)
    bench.admitted(tokens=100)

    refused = bench.admitted(tokens=100, times=50)
    bench.now = 2 * WINDOW_S + 1.0

    assert refused == 0
    assert bench.admitted(tokens=1, times=5) == 2


@given(
    st.lists(st.tuples(st.floats(0.0, 40.0), st.integers(1, 5)), min_size=1, max_size=100),
    st.integers(1, 10),
)
def test_no_clock_minute_takes_more_than_the_limit_and_waits_are_enough(
    steps: list[tuple[float, int]], limit: int
) -> None:
    now = 0.0

    def clock() -> float:
        return now

    counts, taken = WindowCounts(clock), dict[int, int]()
    for wait_s, amount in steps:
        now += wait_s
        if counts.acquire_sliding_window_entry("k", limit, WINDOW_S, amount):
            minute = int(now / WINDOW_S)
            taken[minute] = taken.get(minute, 0) + amount
            assert taken[minute] <= limit
        else:
            _waits_are_enough(counts, limit, amount, now, clock)


def _waits_are_enough(
    counts: WindowCounts, limit: int, amount: int, now: float, clock: Callable[[], float]
) -> None:
    wait_s = counts.wait_s("k", limit, WINDOW_S, amount)
    assert (wait_s is None) == (amount > limit)
    if wait_s is not None:
        later = WindowCounts(lambda: now + wait_s + 1e-6)
        later._windows = dict(counts._windows)
        assert later.acquire_sliding_window_entry("k", limit, WINDOW_S, amount)
