"""A data plane may send a request elsewhere than decided: it counts where it runs."""

import pytest

from predictor.features import COLUMN
from predictor.types import Measurement
from scheduler import Dispatch, Scheduler, UnknownRequest
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

DONE = Measurement(outcome="completed", prompt_tokens=1000, output_tokens=11)


def _pair() -> tuple[Scheduler, KnownPhysics]:
    physics = KnownPhysics({"fast:1": 1e-4, "slow:1": 1e-3})
    return make_scheduler(physics, [endpoint("fast:1"), endpoint("slow:1")]), physics


def _routed(scheduler: Scheduler) -> Dispatch:
    action = scheduler.route(request(), now=0.0)
    assert isinstance(action, Dispatch)
    assert action.endpoint == "fast:1"
    return action


def test_a_moved_request_is_booked_and_learned_where_it_runs() -> None:
    scheduler, physics = _pair()
    before = _routed(scheduler).decision

    decision = scheduler.moved("r", "slow:1", now=0.5, failed=True)

    assert decision is not None
    assert decision.endpoint == "slow:1"
    assert scheduler.load("fast:1", now=0.5).inflight_requests == 0
    assert scheduler.load("slow:1", now=0.5).inflight_requests == 1
    scheduler.first_token("r", now=1.0)
    record = scheduler.finished("r", DONE, now=2.0)
    assert record.endpoint == "slow:1"
    assert record.upstream_ttft_s == pytest.approx(1.0)  # from the dispatch, not from the move
    assert record.attempts == 1  # the other dispatch was not ours
    learned = physics.learned[-1]
    assert learned.endpoint == "slow:1"
    row = before.features[before.endpoints.index("slow:1")]
    assert learned.features[COLUMN["prompt_tokens"]] == row[COLUMN["prompt_tokens"]]
    assert scheduler.inflight_requests == 0


def test_the_endpoint_that_could_not_be_reached_is_suspect_and_one_passed_by_is_not() -> None:
    failed, _ = _pair()
    _routed(failed)
    passed_by, _ = _pair()
    _routed(passed_by)

    failed.moved("r", "slow:1", now=0.5, failed=True)
    passed_by.moved("r", "slow:1", now=0.5, failed=False)

    assert failed.suspicion("fast:1", now=0.6) == "unreachable"
    assert passed_by.suspicion("fast:1", now=0.6) is None


@pytest.mark.parametrize("where", [None, "stranger:1"])
def test_a_request_that_runs_nobody_knows_where_is_booked_nowhere_and_teaches_nothing(
    where: str | None,
) -> None:
    scheduler, physics = _pair()
    _routed(scheduler)

    decision = scheduler.moved("r", where, now=0.5, failed=False)

    assert decision is None
    assert scheduler.inflight_requests == 0
    assert scheduler.first_token("r", now=1.0) is None
    record = scheduler.finished("r", DONE, now=2.0)
    assert record.endpoint is None
    assert record.observation is None
    assert record.decision is not None
    assert record.decision.endpoint == "fast:1"
    assert record.decision.predictions is None
    assert record.decision.predicted_s is None
    assert record.attempts == 1
    assert physics.learned == []


def test_only_a_request_in_flight_can_move() -> None:
    scheduler, _ = _pair()

    with pytest.raises(UnknownRequest):
        scheduler.moved("r", "slow:1", now=0.0, failed=True)
