"""Policies on trial: in shadow, for a canary's share, per model, without a restart."""

import pytest

from predictor.types import Decision, Measurement
from scheduler import Dispatch, Scheduler, SchedulerSettings
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

SLOW_AND_FAST = {"slow:1": 1e-3, "fast:1": 1e-4}


def scheduler_of(settings: dict[str, object], **physics: object) -> Scheduler:
    return make_scheduler(
        KnownPhysics(SLOW_AND_FAST, **physics),  # type: ignore[arg-type]  # test shorthand
        [endpoint("slow:1"), endpoint("fast:1")],
        SchedulerSettings.model_validate(settings),
    )


def decide(scheduler: Scheduler, request_id: str = "r", **asked: object) -> Decision:
    action = scheduler.route(request(request_id, **asked), now=0.0)
    assert isinstance(action, Dispatch)
    scheduler.finished(request_id, Measurement(outcome="client_gone"), now=0.0)
    return action.decision


def test_beside_predictions_the_fallback_is_scored_unless_another_is_named() -> None:
    usual = decide(scheduler_of({}))
    named = decide(scheduler_of({"shadow": "round_robin"}))

    assert (usual.policy, usual.shadow_policy) == ("predicted_latency", "lmetric")
    assert (named.policy, named.shadow_policy) == ("predicted_latency", "round_robin")
    assert named.endpoint == "fast:1"
    assert named.shadow_chosen is not None


def test_the_decision_carries_what_both_picks_were_predicted_to_take() -> None:
    # Both idle: the blend has no preference, and one that draws the slow one is told apart.
    decisions = [
        decide(scheduler_of({"shadow": "round_robin"}), allowed_endpoints=None),
        *(decide(scheduler_of({"policy": "round_robin", "shadow": "predicted_latency"})),),
    ]

    for decision in decisions:
        said = decision.predictions
        assert said is not None
        expected = said.ttft_s + 250.0 * said.tpot_s
        assert decision.shadow_chosen is not None
        assert decision.predicted_s is not None
        assert decision.shadow_predicted_s is not None
        ratio = decision.predicted_s / decision.shadow_predicted_s
        assert (ratio > 1.0) == (expected[decision.chosen] > expected[decision.shadow_chosen])


def test_any_policy_can_be_in_shadow_of_a_heuristic() -> None:
    decision = decide(scheduler_of({"policy": "least_request", "shadow": "predicted_latency"}))

    assert (decision.policy, decision.reason) == ("least_request", "policy")
    assert decision.shadow_policy == "predicted_latency"
    assert decision.shadow_chosen is not None
    assert decision.endpoints[decision.shadow_chosen] == "fast:1"


def test_a_shadow_that_needs_predictions_is_left_out_while_there_are_none() -> None:
    settings: dict[str, object] = {"policy": "least_request", "shadow": "predicted_latency"}

    decision = decide(scheduler_of(settings, layer="cold"))

    assert (decision.shadow_policy, decision.shadow_chosen) == (None, None)


def test_without_predictions_nothing_is_said_about_seconds() -> None:
    scheduler = scheduler_of({"shadow": "round_robin"})
    scheduler.mode = "heuristic"

    decision = decide(scheduler)

    assert (decision.predicted_s, decision.shadow_predicted_s) == (None, None)
    assert decision.shadow_policy is None


def test_a_canary_decides_for_its_share_and_the_usual_policy_is_recorded_beside() -> None:
    scheduler = scheduler_of({"canary": {"policy": "least_request", "share": 0.25}})

    decisions = [decide(scheduler, f"r{i}") for i in range(400)]

    canaried = [decision for decision in decisions if decision.reason == "canary"]
    assert 60 < len(canaried) < 140
    assert {decision.policy for decision in canaried} == {"least_request"}
    assert {decision.shadow_policy for decision in canaried} == {"predicted_latency"}
    assert {decision.reason for decision in decisions} == {"canary", "predicted"}


def test_a_conversation_stays_in_or_out_of_the_canary() -> None:
    scheduler = scheduler_of({"canary": {"policy": "least_request", "share": 0.5}})

    reasons = [
        {decide(scheduler, f"{talk}-{turn}", session_id=f"s{talk}").reason for turn in range(5)}
        for talk in range(20)
    ]

    assert all(len(of_one) == 1 for of_one in reasons)
    assert set.union(*reasons) == {"canary", "predicted"}


@pytest.mark.parametrize("mode", ["predicted", "shadow"])
def test_predictions_can_be_tried_on_a_share_of_a_heuristics_requests(mode: str) -> None:
    canary = {"policy": "predicted_latency", "share": 1.0}

    decision = decide(scheduler_of({"policy": "lmetric", "mode": mode, "canary": canary}))

    assert (decision.policy, decision.reason) == ("predicted_latency", "canary")
    assert decision.endpoint == "fast:1"


def test_neither_a_cold_predictor_nor_the_kill_switch_leaves_a_canary_in_charge() -> None:
    canary = {"policy": "predicted_latency", "share": 1.0}
    cold = scheduler_of({"policy": "least_request", "canary": canary}, layer="cold")
    killed = scheduler_of({"canary": {"policy": "round_robin", "share": 1.0}})
    killed.mode = "heuristic"

    assert decide(cold).reason == "policy"
    assert decide(killed).reason == "kill_switch"


def test_trials_are_set_per_model_and_without_a_restart() -> None:
    scheduler = scheduler_of({})
    before = decide(scheduler, "before")
    models = {
        "m": {"canary": {"policy": "least_request", "share": 1.0}},
        "other": {"shadow": "random"},
    }

    scheduler.configure(SchedulerSettings.model_validate({"models": models}))
    during = decide(scheduler, "during")
    none = {"m": {"canary": {"policy": "random", "share": 0.0}}}
    scheduler.configure(
        SchedulerSettings.model_validate(
            {"canary": {"policy": "least_request", "share": 1.0}, "models": none}
        )
    )
    after = decide(scheduler, "after")

    assert [each.reason for each in (before, during, after)] == ["predicted", "canary", "predicted"]
