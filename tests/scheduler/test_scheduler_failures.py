"""The request state machine when endpoints fail, requests wait, or clients leave."""

import pytest

from predictor.features import COLUMN
from predictor.types import Measurement, Objective
from scheduler import (
    Dispatch,
    SchedulerSettings,
    Shed,
    UnknownRequest,
    Wait,
)
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

DONE = Measurement(outcome="completed", prompt_tokens=1000, output_tokens=11, cached_tokens=0)
SLOW_AND_FAST = {"slow:1": 1e-3, "fast:1": 1e-4}


def test_a_failed_dispatch_moves_to_another_endpoint() -> None:
    scheduler = make_scheduler(
        KnownPhysics(SLOW_AND_FAST), [endpoint("slow:1"), endpoint("fast:1")]
    )
    scheduler.route(request(), now=0.0)

    action = scheduler.reroute("r", now=0.1)

    assert isinstance(action, Dispatch)
    assert (action.endpoint, action.attempt) == ("slow:1", 2)
    assert scheduler.load("fast:1", now=0.1).inflight_requests == 0
    assert scheduler.load("slow:1", now=0.1).inflight_requests == 1


def test_the_record_tells_of_every_dispatch_that_came_to_nothing() -> None:
    names = ("a:1", "b:1", "c:1", "d:1")
    scheduler = make_scheduler(
        KnownPhysics(), [endpoint(name) for name in names], SchedulerSettings(max_attempts=4)
    )
    first = scheduler.route(request(), now=0.0)
    second = scheduler.reroute("r", now=0.5)
    third = scheduler.turned_away("r", now=0.75)
    scheduler.move("r", now=2.0)

    record = scheduler.finished("r", DONE, now=3.0)

    actions = (first, second, third)
    assert [one.endpoint for one in record.failures] == [
        action.endpoint for action in actions if isinstance(action, Dispatch)
    ]
    assert [(one.dispatched_s, one.failed_s, one.cause) for one in record.failures] == [
        (0.0, 0.5, "unreachable"),
        (0.5, 0.75, "turned_away"),
        (0.75, 2.0, "stalled"),
    ]
    assert (record.attempts, record.dispatched_s) == (4, 2.0)


def test_a_failed_endpoint_is_avoided_until_a_scrape_sees_it_up() -> None:
    settings = SchedulerSettings(failure_backoff_s=60.0)
    scheduler = make_scheduler(
        KnownPhysics(SLOW_AND_FAST), [endpoint("slow:1"), endpoint("fast:1")], settings
    )
    scheduler.route(request("one"), now=1.0)
    scheduler.reroute("one", now=1.0)

    avoided = scheduler.route(request("two"), now=2.0)
    scheduler.update([endpoint("slow:1", scraped_s=3.0), endpoint("fast:1", scraped_s=3.0)])
    trusted = scheduler.route(request("three"), now=3.0)

    assert isinstance(avoided, Dispatch)
    assert isinstance(trusted, Dispatch)
    assert (avoided.endpoint, trusted.endpoint) == ("slow:1", "fast:1")


def test_attempts_are_bounded() -> None:
    scheduler = make_scheduler(
        KnownPhysics(),
        [endpoint(f"e{i}:1") for i in range(5)],
        SchedulerSettings(max_attempts=2),
    )
    scheduler.route(request(), now=0.0)
    scheduler.reroute("r", now=0.0)

    action = scheduler.reroute("r", now=0.0)

    assert isinstance(action, Shed)
    assert (action.reason, action.record.attempts) == ("retries_exhausted", 2)
    assert scheduler.inflight_requests == 0


def test_with_every_endpoint_down_a_request_waits_and_goes_when_one_is_up() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)])

    waits = scheduler.route(request(), now=0.0)
    nothing = list(scheduler.tick(now=1.0))
    scheduler.update([endpoint("a:1")])
    released = list(scheduler.tick(now=2.0))

    assert isinstance(waits, Wait)
    assert nothing == []
    assert [type(action) for action in released] == [Dispatch]
    assert scheduler.waiting_requests == 0


def test_a_request_that_waited_too_long_is_refused() -> None:
    scheduler = make_scheduler(
        KnownPhysics(), [endpoint("a:1", up=False)], SchedulerSettings(max_wait_s=5.0)
    )
    scheduler.route(request(), now=0.0)

    (shed,) = list(scheduler.tick(now=5.0))

    assert isinstance(shed, Shed)
    assert shed.reason == "queue_timeout"
    assert shed.record.measurement.outcome == "shed"
    assert scheduler.waiting_requests == 0


def test_a_full_queue_refuses() -> None:
    scheduler = make_scheduler(
        KnownPhysics(), [endpoint("a:1", up=False)], SchedulerSettings(max_waiting_requests=1)
    )
    scheduler.route(request("one"), now=0.0)

    action = scheduler.route(request("two"), now=0.0)

    assert isinstance(action, Shed)
    assert action.reason == "queue_full"


def test_higher_priority_leaves_the_queue_first() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)])
    scheduler.route(request("batch", tier="batch"), now=0.0)
    scheduler.route(request("person", tier="interactive"), now=0.1)
    scheduler.update([endpoint("a:1")])

    released = list(scheduler.tick(now=1.0))

    assert [action.request_id for action in released] == ["person", "batch"]


def test_a_client_that_leaves_while_waiting_leaves_the_queue() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)])
    scheduler.route(request(), now=0.0)

    record = scheduler.finished("r", Measurement(outcome="client_gone"), now=1.0)

    assert record.decision is None
    assert scheduler.waiting_requests == 0
    with pytest.raises(UnknownRequest):
        scheduler.finished("r", Measurement(outcome="client_gone"), now=1.0)


def test_a_failing_predictor_never_fails_a_request() -> None:
    scheduler = make_scheduler(KnownPhysics(broken=True), [endpoint("a:1")])

    action = scheduler.route(request(), now=0.0)

    assert isinstance(action, Dispatch)
    assert action.decision.reason == "prediction_failed"
    assert scheduler.finished("r", DONE, now=1.0).observation is not None


def test_time_already_waited_counts_against_the_ttft_objective() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])
    late = request(arrived_s=0.0, objective=Objective(ttft_s=1.0))

    action = scheduler.route(late, now=0.95)

    assert isinstance(action, Dispatch)
    assert action.decision.reason == "objective_unmet"


def test_an_endpoint_that_leaves_with_requests_in_flight_is_forgotten_with_the_last() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])
    for name in ("served", "failed"):
        scheduler.route(request(name, block_hashes=tuple(range(15))), now=0.0)
    scheduler.update([])

    scheduler.reroute("failed", now=0.5)
    held = scheduler.load("a:1", now=0.5).inflight_requests
    scheduler.finished("served", DONE, now=1.0)
    scheduler.update([endpoint("a:1", scraped_s=None)])
    again = scheduler.route(request("again"), now=1.0)

    assert held == 1
    assert isinstance(again, Dispatch)  # not suspect for what its predecessor did
    row = again.decision.features[0]
    assert row[COLUMN["prefill_tokens_per_s"]] == 0.0  # nor loaded by its requests


def test_an_endpoint_that_was_away_comes_back_with_an_empty_cache() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])
    scheduler.route(request("one", block_hashes=(1, 2, 3)), now=0.0)
    scheduler.finished("one", DONE, now=0.1)

    scheduler.update([endpoint("a:1", up=False)])
    scheduler.update([endpoint("a:1", up=True)])
    action = scheduler.route(request("two", block_hashes=(1, 2, 3)), now=1.0)

    assert isinstance(action, Dispatch)
    assert action.decision.matched_tokens.tolist() == [0.0]


def test_an_endpoint_that_answers_with_errors_draws_no_more_traffic() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("bad:1"), endpoint("good:1")])
    served = {"bad:1": 0, "good:1": 0}

    for number in range(100):
        action = scheduler.route(request(f"r{number}"), now=number * 0.01)
        assert isinstance(action, Dispatch)
        served[action.endpoint] += 1
        end = (
            Measurement(outcome="upstream_error", status=500)
            if action.endpoint == "bad:1"
            else DONE
        )
        scheduler.finished(f"r{number}", end, now=number * 0.01 + 0.001)
        scheduler.update([endpoint("bad:1", scraped_s=number), endpoint("good:1")])

    assert served["bad:1"] < 10


def test_errors_of_the_only_endpoint_do_not_stop_it_from_being_asked() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])
    scheduler.route(request("one"), now=0.0)
    scheduler.finished("one", Measurement(outcome="upstream_error", status=500), now=0.1)

    assert isinstance(scheduler.route(request("two"), now=0.2), Dispatch)


def test_client_errors_never_make_an_endpoint_suspect() -> None:
    scheduler = make_scheduler(
        KnownPhysics(SLOW_AND_FAST), [endpoint("slow:1"), endpoint("fast:1")]
    )

    for number in range(5):
        action = scheduler.route(request(f"r{number}"), now=0.0)
        assert isinstance(action, Dispatch)
        assert action.endpoint == "fast:1"
        scheduler.finished(f"r{number}", Measurement(outcome="client_error", status=404), now=0.0)


def test_an_endpoint_that_stopped_answering_scrapes_is_left_alone_where_there_is_another() -> None:
    scheduler = make_scheduler(
        KnownPhysics(SLOW_AND_FAST),
        [endpoint("slow:1", scraped_s=10.0), endpoint("fast:1", scraped_s=7.0)],
    )

    action = scheduler.route(request("one"), now=10.0)
    scheduler.update([endpoint("fast:1", scraped_s=7.0)])
    alone = scheduler.route(request("two"), now=10.0)

    assert isinstance(action, Dispatch)
    assert isinstance(alone, Dispatch)
    assert (action.endpoint, alone.endpoint) == ("slow:1", "fast:1")


def test_absurd_counts_and_times_of_an_endpoint_teach_nothing() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")])
    ratio = scheduler.fleets["m"].token_ratio
    before = ratio.bytes_per_token
    scheduler.route(request(), now=0.0)
    absurd = Measurement(
        outcome="completed",
        prompt_tokens=2**53,
        output_tokens=10,
        endpoint_ttft_s=1e9,
        endpoint_tpot_s=1e9,
    )

    record = scheduler.finished("r", absurd, now=1.0)

    assert ratio.bytes_per_token == before
    assert record.upstream_ttft_s is None
    assert record.tpot_s is None


def test_counters_that_begin_anew_tell_a_restart_and_others_that_it_was_only_slow() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", prefix_queries_total=500.0)])
    hashes = (1, 2, 3)
    scheduler.route(request("one", block_hashes=hashes), now=0.0)
    scheduler.finished("one", DONE, now=0.1)

    def matched(name: str) -> float:
        action = scheduler.route(request(name, block_hashes=hashes), now=1.0)
        assert isinstance(action, Dispatch)
        scheduler.finished(name, Measurement(outcome="client_gone"), now=1.0)
        return float(action.decision.matched_tokens[0])

    scheduler.update([endpoint("a:1", up=False, prefix_queries_total=500.0)])
    scheduler.update([endpoint("a:1", prefix_queries_total=900.0)])
    slow = matched("two")
    scheduler.update([endpoint("a:1", prefix_queries_total=20.0)])
    restarted = matched("three")

    assert slow > 0
    assert restarted == 0
