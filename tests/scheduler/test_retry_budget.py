"""Retries are a share of the recent requests, or a few, whichever is more."""

from hypothesis import given
from hypothesis import strategies as st

from predictor.types import Measurement
from scheduler import Dispatch, SchedulerSettings, Shed
from scheduler.retry_budget import RetryBudget
from scheduler.settings import RetrySettings
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request


def granted(budget: RetryBudget, wanted: int, now: float) -> int:
    return sum(budget.take(now) for _ in range(wanted))


def test_a_share_of_the_requests_of_the_window_may_go_again() -> None:
    budget = RetryBudget(RetrySettings(max_ratio=0.2, window_s=10.0, floor_per_s=0.0))
    for second in range(10):
        for _ in range(10):
            budget.requested(float(second))

    assert granted(budget, 100, now=9.5) == 20


def test_a_quiet_service_may_retry_up_to_the_floor() -> None:
    budget = RetryBudget(RetrySettings(window_s=10.0, floor_per_s=0.3))
    budget.requested(0.0)

    assert granted(budget, 100, now=0.0) == 3


def test_what_is_older_than_the_window_counts_no_more() -> None:
    budget = RetryBudget(RetrySettings(max_ratio=0.5, window_s=10.0, floor_per_s=0.0))
    for _ in range(10):
        budget.requested(0.0)
    first = granted(budget, 100, now=0.0)
    budget.requested(11.0)
    budget.requested(11.0)

    assert first == 5
    assert granted(budget, 100, now=11.0) == 1


@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), max_size=200),
    st.sampled_from([0.0, 0.2, 1.0]),
    st.sampled_from([0.0, 0.5]),
)
def test_no_window_holds_more_retries_than_allowed(
    steps: list[tuple[float, bool]], ratio: float, floor_per_s: float
) -> None:
    window_s = 2.0
    budget = RetryBudget(RetrySettings(max_ratio=ratio, window_s=window_s, floor_per_s=floor_per_s))
    now, requests, retries = 0.0, [], []
    for wait_s, wants_retry in steps:
        now += wait_s
        if not wants_retry:
            budget.requested(now)
            requests.append(now)
        elif budget.take(now):
            retries.append(now)
            # The budget forgets by tenths of the window, so it looks back at least 9 of 10.
            seen = sum(at > now - window_s for at in requests)
            within = sum(at > now - 0.9 * window_s for at in retries)
            assert within <= max(ratio * seen, floor_per_s * window_s)


def test_an_outage_is_not_multiplied() -> None:
    settings = SchedulerSettings(retries=RetrySettings(max_ratio=0.1, floor_per_s=0.1))
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1"), endpoint("b:1")], settings)
    dispatches, reasons = 0, []
    for number in range(100):
        action = scheduler.route(request(f"r{number}"), now=number / 100)
        while isinstance(action, Dispatch):
            dispatches += 1
            action = scheduler.turned_away(f"r{number}", now=number / 100)
        reasons.append(action.reason if isinstance(action, Shed) else "waits")

    assert dispatches <= 111
    assert reasons.count("retry_budget_exhausted") >= 85
    assert scheduler.inflight_requests == 0


def test_other_settings_count_at_once() -> None:
    settings = SchedulerSettings(retries=RetrySettings(max_ratio=0.0, floor_per_s=0.0))
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1"), endpoint("b:1")])

    scheduler.configure(settings)
    scheduler.route(request("one"), now=0.0)
    action = scheduler.reroute("one", now=0.0)

    assert isinstance(action, Shed)
    assert (action.reason, action.retry_after_s) == ("retry_budget_exhausted", 1.0)
    assert action.record.measurement == Measurement(outcome="shed")
