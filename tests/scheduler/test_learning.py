"""What a request teaches, when, and that no label counts twice."""

from typing import Final

import pytest

from predictor.features import COLUMN
from predictor.labels import split_total
from predictor.types import Measurement, Observation
from predictor.values import replace
from scheduler import Dispatch, Scheduler, UnknownRequest
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

DONE: Final = Measurement(outcome="completed", prompt_tokens=1000, output_tokens=101)


def streaming(physics: KnownPhysics, *more: str) -> Scheduler:
    """Give a scheduler with one stream under way: sent at 0, first token at 1."""
    scheduler = make_scheduler(physics, [endpoint(name) for name in ("a:1", *more)])
    scheduler.route(request(streamed=True), now=0.0)
    scheduler.first_token("r", now=1.0)
    physics.learned.clear()
    return scheduler


def finish(scheduler: Scheduler, now: float, **changes: int) -> None:
    scheduler.finished("r", replace(DONE, **changes), now=now)  # type: ignore[arg-type]  # counts only


def only(physics: KnownPhysics) -> Observation:
    (seen,) = physics.learned
    return seen


# Early TPOT labels


def test_the_tpot_of_the_first_seconds_teaches_before_the_end() -> None:
    physics = KnownPhysics()
    scheduler = streaming(physics)

    assert scheduler.progress("r", 31, now=4.0)

    seen = only(physics)
    assert seen.tpot_s == pytest.approx(0.1)
    assert (seen.upstream_ttft_s, seen.output_tokens, seen.use) == (None, 31, "teaching")


def test_too_few_tokens_make_no_label_yet() -> None:
    physics = KnownPhysics()
    scheduler = streaming(physics)

    assert not scheduler.progress("r", 7, now=4.0)
    assert physics.learned == []
    assert scheduler.progress("r", 8, now=4.5)


def test_a_second_look_teaches_nothing_more() -> None:
    physics = KnownPhysics()
    scheduler = streaming(physics)
    scheduler.progress("r", 31, now=4.0)

    assert scheduler.progress("r", 61, now=7.0)
    assert len(physics.learned) == 1


@pytest.mark.parametrize(("ended_s", "use"), [(6.0, "scoring"), (7.5, "fully")])
def test_the_whole_answer_teaches_again_only_where_it_went_on_for_long(
    ended_s: float, use: str
) -> None:
    physics = KnownPhysics()
    scheduler = streaming(physics)
    scheduler.progress("r", 31, now=4.0)
    physics.learned.clear()

    finish(scheduler, now=ended_s)

    assert only(physics).use == use
    assert only(physics).tpot_s == pytest.approx((ended_s - 1.0) / 100)


def test_an_answer_without_an_early_label_counts_fully() -> None:
    physics = KnownPhysics()
    scheduler = streaming(physics)

    finish(scheduler, now=3.0)

    assert only(physics).use == "fully"


def test_events_of_several_tokens_are_counted_as_such() -> None:
    physics = KnownPhysics()
    scheduler = streaming(physics)
    finish(scheduler, now=3.0, output_tokens=100, token_events=25)
    physics.learned.clear()
    scheduler.route(request("next", streamed=True), now=10.0)
    scheduler.first_token("next", now=11.0)

    scheduler.progress("next", 31, now=14.0)

    assert physics.learned[-1].output_tokens == 124
    assert physics.learned[-1].tpot_s == pytest.approx(3.0 / 123)


def test_what_was_dispatched_again_has_no_progress_of_its_former_life() -> None:
    physics = KnownPhysics()
    scheduler = streaming(physics, "b:1")
    scheduler.progress("r", 31, now=4.0)
    scheduler.reroute("r", now=5.0)
    physics.learned.clear()

    scheduler.first_token("r", now=6.0)
    scheduler.progress("r", 11, now=9.0)

    assert [seen.tpot_s for seen in physics.learned] == [None, pytest.approx(0.3)]


def test_progress_of_an_unknown_request_is_refused() -> None:
    with pytest.raises(UnknownRequest):
        make_scheduler(KnownPhysics(), [endpoint("a:1")]).progress("r", 9, now=1.0)


# Requests past their 90 % quantile


def p90_s(scheduler: Scheduler, request_id: str, **changes: object) -> float:
    action = scheduler.route(request(request_id, streamed=True, **changes), now=0.0)
    assert isinstance(action, Dispatch)
    assert action.decision.predictions is not None
    return float(action.decision.predictions.ttft_p90_s[action.decision.chosen])


def test_a_request_past_its_p90_counts_as_a_miss_before_the_next_decision() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")])
    due_s = p90_s(scheduler, "late")

    scheduler.route(request("soon"), now=due_s * 0.99)
    assert physics.learned == []
    scheduler.route(request("next"), now=due_s * 1.5)
    scheduler.route(request("after"), now=due_s * 2.0)

    seen = only(physics)
    assert seen.waited_s == pytest.approx(due_s * 1.5)
    assert (seen.upstream_ttft_s, seen.tpot_s, seen.total_s) == (None, None, None)


def test_a_tick_finds_the_overdue_too() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")])
    due_s = p90_s(scheduler, "late")

    list(scheduler.tick(due_s + 0.1))

    assert only(physics).waited_s == pytest.approx(due_s + 0.1)


def test_the_label_of_an_overdue_request_says_that_its_miss_has_counted() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")])
    due_s = p90_s(scheduler, "late")
    list(scheduler.tick(due_s + 0.1))

    scheduler.first_token("late", now=9.0)

    assert physics.learned[-1].upstream_ttft_s == pytest.approx(9.0)
    assert physics.learned[-1].waited_s == pytest.approx(due_s + 0.1)


def test_a_request_that_ended_or_answered_in_time_is_not_overdue() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")])
    due_s = max(p90_s(scheduler, name) for name in ("ended", "answered"))
    scheduler.finished("ended", Measurement(outcome="client_gone"), now=0.0)
    scheduler.first_token("answered", now=0.0)
    physics.learned.clear()

    list(scheduler.tick(due_s + 1.0))

    assert physics.learned == []


def test_a_request_that_shows_no_first_token_is_never_overdue() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")])
    scheduler.route(request(), now=0.0)

    list(scheduler.tick(1e6))

    assert physics.learned == []


def test_a_request_sent_elsewhere_is_overdue_by_its_last_dispatch() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1"), endpoint("b:1")])
    due_s = p90_s(scheduler, "moved")
    scheduler.reroute("moved", now=due_s * 0.9)

    list(scheduler.tick(due_s * 1.1))
    assert physics.learned == []
    list(scheduler.tick(due_s * 2.0))

    assert only(physics).waited_s == pytest.approx(due_s * 1.1)


# Requests that were not streamed


def test_the_total_of_a_request_that_was_not_streamed_is_its_label() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")])
    action = scheduler.route(request(), now=0.0)
    assert isinstance(action, Dispatch)
    assert action.decision.predictions is not None
    ttft_s, tpot_s = action.decision.predictions.ttft_s[0], action.decision.predictions.tpot_s[0]

    finish(scheduler, now=2 * (ttft_s + 100 * tpot_s))

    seen = only(physics)
    assert (seen.upstream_ttft_s, seen.tpot_s, seen.output_tokens) == (None, None, 101)
    assert seen.total_s == pytest.approx(2 * (ttft_s + 100 * tpot_s))
    split = split_total(seen)
    assert split.upstream_ttft_s == pytest.approx(2 * ttft_s)
    assert split.tpot_s == pytest.approx(2 * tpot_s)


def test_an_answer_without_output_tokens_teaches_its_total_as_ttft() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")])
    scheduler.route(request(), now=0.0)

    finish(scheduler, now=0.7, output_tokens=0)

    split = split_total(only(physics))
    assert (split.upstream_ttft_s, split.tpot_s) == (pytest.approx(0.7), None)


def test_the_endpoints_own_metrics_leave_no_total_to_guess_from() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")])
    scheduler.route(request(), now=0.0)
    measured = replace(DONE, endpoint_ttft_s=0.3, endpoint_tpot_s=0.02)

    scheduler.finished("r", measured, now=5.0)

    seen = only(physics)
    assert (seen.upstream_ttft_s, seen.tpot_s, seen.total_s) == (0.3, 0.02, None)


# Output lengths


def expected_tokens(scheduler: Scheduler, request_id: str, session_id: str | None) -> float:
    action = scheduler.route(request(request_id, session_id=session_id), now=100.0)
    assert isinstance(action, Dispatch)
    return float(action.decision.features[0, COLUMN["expected_output_tokens"]])


def test_the_next_request_of_a_session_is_expected_to_answer_as_the_last_ones() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])
    for number in range(40):
        for session_id, tokens in (("long", 900), ("short", 10)):
            name = f"{session_id}-{number}"
            scheduler.route(request(name, session_id=session_id), now=float(number))
            done = replace(DONE, output_tokens=tokens)
            scheduler.finished(name, done, now=number + 0.5)

    assert expected_tokens(scheduler, "one", "long") > 700
    assert expected_tokens(scheduler, "two", "short") < 150
    assert 300 < expected_tokens(scheduler, "three", None) < 600
