"""Standby endpoints: who goes there, why, and when requests return."""

from dataclasses import replace

import numpy as np
import pytest

from predictor import values
from predictor.types import (
    Decision,
    EndpointState,
    FloatArray,
    Measurement,
    Objective,
    Predictions,
)
from scheduler import POLICIES, Dispatch, Scheduler, SchedulerSettings, Shed, Wait
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

FIRST, STANDBY = endpoint("a:1"), endpoint("z:1", priority_class=1)
DONE = Measurement(outcome="completed", prompt_tokens=1000, output_tokens=11, cached_tokens=0)
EVERY_POLICY = sorted(POLICIES)


def scheduler_of(*states: EndpointState, **standby: object) -> Scheduler:
    settings = SchedulerSettings.model_validate({"standby": standby})
    return make_scheduler(KnownPhysics(), states or (FIRST, STANDBY), settings)


def sent(scheduler: Scheduler, name: str, now: float = 0.0, **asked: object) -> Decision:
    action = scheduler.route(request(name, arrived_s=now, **asked), now=now)
    assert isinstance(action, Dispatch)
    return action.decision


def end(scheduler: Scheduler, name: str, now: float) -> None:
    scheduler.first_token(name, now)
    scheduler.finished(name, DONE, now)


# KnownPhysics: 10 ms and 10 ms for each request in flight between two tokens.
TIGHT = Objective(tpot_s=0.035)


@pytest.mark.parametrize("name", EVERY_POLICY)
def test_every_policy_leaves_standby_alone_while_the_lowest_class_serves(name: str) -> None:
    settings = SchedulerSettings.model_validate({"policy": name, "session": "prefer"})
    states = [endpoint("z:1", priority_class=2), endpoint("a:1"), endpoint("b:1")]
    scheduler = make_scheduler(KnownPhysics(), states, settings)

    for turn in range(40):
        decision = sent(scheduler, f"r{turn}", float(turn), session_id=f"s{turn % 5}")
        end(scheduler, f"r{turn}", turn + 0.5)

        assert decision.endpoint != "z:1"
        assert (decision.priority_class, decision.spilled) == (0, None)
        assert set(decision.endpoints) == {"a:1", "b:1"}


@pytest.mark.parametrize("name", EVERY_POLICY)
def test_every_policy_spills_what_the_lowest_class_cannot_serve(name: str) -> None:
    settings = SchedulerSettings.model_validate({"policy": name})
    scheduler = make_scheduler(KnownPhysics(), [FIRST, STANDBY], settings)

    found = [sent(scheduler, str(number), objective=TIGHT) for number in range(4)]

    assert [one.endpoint for one in found] == ["a:1", "a:1", "a:1", "z:1"]
    assert (found[-1].priority_class, found[-1].spilled) == (1, "objective")


def test_without_an_objective_the_bound_on_ttft_decides() -> None:
    scheduler = scheduler_of(ttft_s=0.25)

    found = [sent(scheduler, str(number)) for number in range(3)]  # 0.1 s of prefill each

    assert [one.spilled for one in found] == [None, None, "predicted_ttft"]


def test_without_a_bound_only_full_endpoints_spill() -> None:
    scheduler = scheduler_of(endpoint("a:1", max_seqs=30), STANDBY, ttft_s=None)

    found = [sent(scheduler, str(number)) for number in range(31)]

    assert [one.spilled for one in found] == [None] * 30 + ["endpoints_full"]


def test_a_cold_predictor_spills_by_backlog_alone() -> None:
    scheduler = make_scheduler(KnownPhysics(layer="cold"), [FIRST, STANDBY])

    found = [sent(scheduler, str(number), objective=TIGHT).spilled for number in range(5)]

    assert found == [None] * 4 + ["endpoints_full"]


def test_what_standby_serves_no_better_stays() -> None:
    scheduler = scheduler_of()

    found = sent(scheduler, "long", prompt_tokens=100_000)  # 10 s of prefill anywhere

    assert (found.endpoint, found.spilled) == ("a:1", None)


def test_requests_return_only_once_there_is_room_to_spare() -> None:
    scheduler = scheduler_of(spill_ratio=1.0, return_ratio=0.8, dwell_s=30.0)
    for number in range(4):
        sent(scheduler, str(number), objective=TIGHT)

    end(scheduler, "2", 1.0)  # 30 ms are within 35, but not within 28
    strained = sent(scheduler, "strained", 1.0, objective=TIGHT)
    end(scheduler, "1", 2.0)
    end(scheduler, "0", 2.0)
    relaxed = sent(scheduler, "relaxed", 2.0, objective=TIGHT)

    assert (strained.endpoint, relaxed.endpoint) == ("z:1", "a:1")


def test_once_nobody_needed_it_for_a_while_the_first_bound_holds_again() -> None:
    scheduler = scheduler_of(dwell_s=30.0)
    standby = scheduler.fleets["m"].standby
    for number in range(4):
        sent(scheduler, str(number), objective=TIGHT)
    end(scheduler, "2", 1.0)

    assert standby.is_open(1, now=29.0)
    assert sent(scheduler, "later", 40.0, objective=TIGHT).endpoint == "a:1"
    assert not standby.is_open(1, now=40.0)
    assert standby.openings_total == {1: 1}


def test_neither_conversation_nor_cache_brings_a_request_back_to_standby() -> None:
    scheduler = scheduler_of(FIRST, STANDBY)
    blocks = tuple(range(100, 112))
    for number in range(3):
        sent(scheduler, str(number), objective=TIGHT)
    spilled = sent(scheduler, "turn-1", session_id="s", block_hashes=blocks, objective=TIGHT)
    for name in ("0", "1", "2", "turn-1"):
        end(scheduler, name, 1.0)

    returned = sent(scheduler, "turn-2", 2.0, session_id="s", block_hashes=blocks)

    assert (spilled.endpoint, returned.endpoint) == ("z:1", "a:1")


def test_a_strict_session_stays_where_it_is_in_the_class_that_serves() -> None:
    settings = SchedulerSettings.model_validate({"session": "strict"})
    scheduler = make_scheduler(KnownPhysics(), [FIRST, STANDBY], settings)
    sent(scheduler, "turn-1", session_id="s")
    for number in range(3):
        sent(scheduler, str(number), objective=TIGHT)

    assert sent(scheduler, "turn-2", session_id="s", objective=TIGHT).endpoint == "a:1"


@pytest.mark.parametrize("gone", [{"up": False}, {"draining": True}])
def test_a_class_that_is_down_or_drains_is_passed_over(gone: dict[str, bool]) -> None:
    scheduler = scheduler_of(replace(FIRST, **gone), STANDBY)

    down = sent(scheduler, "r")
    scheduler.update([FIRST, STANDBY])
    back = sent(scheduler, "s", 1.0)

    assert (down.endpoint, down.spilled) == ("z:1", "lower_down")
    assert (back.endpoint, back.spilled) == ("a:1", None)


def test_a_failed_dispatch_goes_on_to_standby() -> None:
    scheduler = scheduler_of()
    sent(scheduler, "r")

    action = scheduler.reroute("r", now=0.1)

    assert isinstance(action, Dispatch)
    assert (action.endpoint, action.decision.spilled) == ("z:1", "lower_down")


def test_who_names_a_standby_endpoint_gets_it_and_opens_nothing() -> None:
    scheduler = scheduler_of()

    found = sent(scheduler, "r", allowed_endpoints=frozenset({"z:1"}))

    standby = scheduler.fleets["m"].standby
    assert found.spilled == "asked_for"
    assert standby.requests_total == {(1, "asked_for"): 1}
    assert not standby.openings_total


def test_three_classes_are_tried_in_their_order() -> None:
    scheduler = scheduler_of(FIRST, STANDBY, endpoint("y:1", priority_class=2))

    found = [sent(scheduler, str(number), objective=TIGHT) for number in range(7)]

    assert [one.priority_class for one in found] == [0, 0, 0, 1, 1, 1, 2]


def test_a_tier_without_standby_waits_or_is_refused_instead() -> None:
    tiers = {
        "plain": {"standby": False},
        "strict": {"standby": False, "sheddable": True, "tpot_s": 0.015},
    }
    settings = SchedulerSettings.model_validate({"tiers": tiers, "default_tier": "plain"})
    states = [endpoint("a:1", max_seqs=1), STANDBY]
    scheduler = make_scheduler(KnownPhysics(), states, settings)
    sent(scheduler, "r")

    assert isinstance(scheduler.route(request("waits"), now=0.0), Wait)
    refused = scheduler.route(request("refused", tier="strict"), now=0.0)
    assert isinstance(refused, Shed | Wait)
    scheduler.update([replace(states[0], up=False), STANDBY])
    assert [one.endpoint for one in scheduler.tick(1.0) if isinstance(one, Dispatch)]


def test_those_that_wait_go_to_standby_when_it_comes() -> None:
    scheduler = scheduler_of(endpoint("a:1", max_seqs=1))
    sent(scheduler, "r")
    waiting = scheduler.route(request("w"), now=0.0)

    scheduler.update([endpoint("a:1", max_seqs=1), STANDBY])
    (action,) = scheduler.tick(1.0)

    assert isinstance(waiting, Wait)
    assert isinstance(action, Dispatch)
    assert (action.endpoint, action.decision.spilled) == ("z:1", "endpoints_full")


def test_a_preview_opens_and_counts_nothing() -> None:
    scheduler = scheduler_of(replace(FIRST, up=False), STANDBY)

    seen = scheduler.preview(request("r"), now=0.0)

    assert seen is not None
    assert seen.spilled == "lower_down"
    assert not scheduler.fleets["m"].standby.requests_total


def test_a_fleet_without_standby_is_decided_as_one() -> None:
    scheduler = scheduler_of(FIRST, endpoint("b:1"))

    assert set(sent(scheduler, "r").endpoints) == {"a:1", "b:1"}


def test_a_return_ratio_above_the_spill_ratio_is_refused() -> None:
    with pytest.raises(ValueError, match=r"return_ratio = 1.5 must not be more than spill_ratio"):
        SchedulerSettings.model_validate({"standby": {"return_ratio": 1.5}})


class HeavySteps(KnownPhysics):
    """Say of each further sequence what it really adds to a step there."""

    def predict(self, features: FloatArray, endpoints: object, hardware: object) -> Predictions:
        said = super().predict(features, endpoints, hardware)  # type: ignore[arg-type]  # passed on
        return values.replace(said, decode_step_s=np.full(len(features), 0.01))


def test_what_would_break_promises_of_others_goes_to_standby() -> None:
    tiers = {"tight": {"tpot_s": 0.035, "priority": 10}, "loose": {"tpot_s": 1.0}}
    settings = SchedulerSettings.model_validate({"tiers": tiers, "default_tier": "loose"})
    scheduler = make_scheduler(HeavySteps(), [FIRST, STANDBY], settings)
    for number in range(3):  # as many as 35 ms a token allow
        assert sent(scheduler, f"tight-{number}", tier="tight").endpoint == "a:1"

    found = sent(scheduler, "loose")

    assert (found.endpoint, found.spilled, found.broken) == ("z:1", "promises", None)
