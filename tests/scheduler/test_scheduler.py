"""The request state machine, event by event."""

import numpy as np
import pytest

from predictor.types import Measurement, Objective
from scheduler import (
    Dispatch,
    DuplicateRequest,
    ModelNotFound,
    SchedulerSettings,
    Shed,
    TierSettings,
    UnknownRequest,
    UnknownTier,
    Wait,
)
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

DONE = Measurement(outcome="completed", prompt_tokens=1000, output_tokens=11, cached_tokens=0)
SLOW_AND_FAST = {"slow:1": 1e-3, "fast:1": 1e-4}


def test_the_fastest_endpoint_is_chosen_and_booked_at_once() -> None:
    scheduler = make_scheduler(
        KnownPhysics(SLOW_AND_FAST), [endpoint("slow:1"), endpoint("fast:1")]
    )

    action = scheduler.route(request(), now=0.0)

    assert isinstance(action, Dispatch)
    assert action.endpoint == "fast:1"
    assert action.url == "http://fast:1"
    assert action.decision.reason == "predicted"
    assert scheduler.load("fast:1", now=0.0).queued_prefill_tokens == 1000


def test_simultaneous_requests_do_not_herd() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint(f"e{i}:1") for i in range(4)])

    actions = [scheduler.route(request(f"r{i}"), now=0.0) for i in range(8)]

    chosen = [action.endpoint for action in actions if isinstance(action, Dispatch)]
    assert sorted(chosen) == sorted([f"e{i}:1" for i in range(4)] * 2)


def test_a_prefix_goes_back_to_where_it_is_cached() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1"), endpoint("b:1")])
    hashes = tuple(range(15))
    first = scheduler.route(request("first", block_hashes=hashes), now=0.0)
    assert isinstance(first, Dispatch)
    scheduler.first_token("first", now=0.1)
    scheduler.finished("first", DONE, now=0.2)

    again = scheduler.route(request("again", block_hashes=hashes), now=1.0)

    assert isinstance(again, Dispatch)
    assert again.endpoint == first.endpoint
    assert again.decision.matched_tokens[again.decision.chosen] == pytest.approx(960)


def test_a_finished_request_releases_its_booking_and_tells_its_story() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")])
    scheduler.route(request(arrived_s=0.0, streamed=True), now=0.5)

    scheduler.first_token("r", now=1.0)
    record = scheduler.finished("r", DONE, now=2.0)

    assert scheduler.inflight_requests == 0
    assert record.upstream_ttft_s == pytest.approx(0.5)
    assert record.ttft_s == pytest.approx(1.0)
    assert record.tpot_s == pytest.approx(0.1)
    assert record.e2e_s == pytest.approx(2.0)
    assert [seen.upstream_ttft_s for seen in physics.learned] == [pytest.approx(0.5), None]
    assert [seen.tpot_s for seen in physics.learned] == [None, pytest.approx(0.1)]


def test_features_learned_are_the_features_decided_on() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1"), endpoint("b:1")])
    action = scheduler.route(request(streamed=True), now=0.0)
    assert isinstance(action, Dispatch)
    scheduler.route(request("other"), now=0.0)

    scheduler.first_token("r", now=1.0)
    scheduler.finished("r", DONE, now=2.0)

    row = action.decision.features[action.decision.chosen]
    assert len(physics.learned) == 2
    for seen in physics.learned:
        np.testing.assert_array_equal(seen.features, row)


def test_the_endpoints_own_metrics_teach_where_the_request_was_not_streamed() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")])
    scheduler.route(request(), now=0.0)
    measured = Measurement(
        outcome="completed", output_tokens=11, endpoint_ttft_s=0.3, endpoint_tpot_s=0.02
    )

    scheduler.finished("r", measured, now=5.0)

    (seen,) = physics.learned
    assert (seen.upstream_ttft_s, seen.tpot_s) == (0.3, 0.02)


def test_a_reload_without_a_requests_tier_strands_nobody() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)])
    scheduler.route(request("old", tier="batch"), now=0.0)
    scheduler.route(request("plain"), now=0.0)

    scheduler.configure(SchedulerSettings(tiers={"standard": TierSettings()}))
    scheduler.update([endpoint("a:1")])
    released = list(scheduler.tick(now=1.0))
    rerouted = scheduler.reroute("old", now=1.1)

    assert [action.request_id for action in released] == ["plain", "old"]
    assert isinstance(rerouted, Wait)
    with pytest.raises(UnknownTier):
        scheduler.route(request("new", tier="batch"), now=2.0)


def test_a_reload_changes_bounds_and_forgets_no_suspicion() -> None:
    first = SchedulerSettings(failure_backoff_s=60.0, prefix_blocks=100)
    scheduler = make_scheduler(
        KnownPhysics(SLOW_AND_FAST), [endpoint("slow:1"), endpoint("fast:1")], first
    )
    scheduler.route(request("one"), now=1.0)
    scheduler.reroute("one", now=1.0)

    scheduler.configure(SchedulerSettings(prefix_blocks=16))
    hashes = tuple(range(50))
    avoided = scheduler.route(request("two", block_hashes=hashes, prompt_bytes=20_000), now=2.0)
    bounded = scheduler.preview(request("three", block_hashes=hashes, prompt_bytes=20_000), now=2.0)

    assert isinstance(avoided, Dispatch)
    assert avoided.endpoint == "slow:1"
    assert bounded is not None
    assert bounded.matched_tokens.tolist() == [16 * 64]


def test_what_is_learned_bears_the_label_the_endpoint_had_at_dispatch() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1", hardware="l40s/llama-3.1-8b")])
    scheduler.route(request(streamed=True), now=0.0)
    scheduler.update([])

    scheduler.first_token("r", now=0.1)
    scheduler.finished("r", DONE, now=0.2)

    assert {seen.hardware for seen in physics.learned} == {"l40s/llama-3.1-8b"}


def test_the_fallback_decides_while_the_predictor_is_cold() -> None:
    scheduler = make_scheduler(KnownPhysics(layer="cold"), [endpoint("a:1"), endpoint("b:1")])

    action = scheduler.route(request(), now=0.0)

    assert isinstance(action, Dispatch)
    assert (action.decision.policy, action.decision.reason) == ("lmetric", "cold")


def test_the_kill_switch_and_shadow_mode_let_the_fallback_decide() -> None:
    scheduler = make_scheduler(
        KnownPhysics(SLOW_AND_FAST), [endpoint("slow:1"), endpoint("fast:1")]
    )
    scheduler.mode = "heuristic"
    killed = scheduler.route(request("one"), now=0.0)
    scheduler.mode = "shadow"
    shadowed = scheduler.route(request("two"), now=0.0)

    assert isinstance(killed, Dispatch)
    assert isinstance(shadowed, Dispatch)
    assert (killed.decision.reason, killed.decision.policy) == ("kill_switch", "lmetric")
    assert killed.decision.predictions is None
    assert (shadowed.decision.reason, shadowed.decision.policy) == ("shadow", "lmetric")
    assert shadowed.decision.shadow_chosen is not None
    assert shadowed.decision.endpoints[shadowed.decision.shadow_chosen] == "fast:1"


def test_an_objective_restricts_the_choice_to_endpoints_that_meet_it() -> None:
    scheduler = make_scheduler(
        KnownPhysics(SLOW_AND_FAST), [endpoint("slow:1"), endpoint("fast:1")]
    )

    met = scheduler.route(request("one", objective=Objective(ttft_s=0.5)), now=0.0)
    unmet = scheduler.route(request("two", objective=Objective(ttft_s=1e-6)), now=0.0)

    assert isinstance(met, Dispatch)
    assert isinstance(unmet, Dispatch)
    assert (met.endpoint, met.decision.reason) == ("fast:1", "objective_met")
    assert unmet.decision.reason == "objective_unmet"


def test_a_sheddable_tier_is_refused_when_its_objective_cannot_be_met() -> None:
    scheduler = make_scheduler(KnownPhysics({"a:1": 1e-2}), [endpoint("a:1")])

    action = scheduler.route(request(tier="batch", objective=Objective(ttft_s=2.0)), now=0.0)

    assert isinstance(action, Shed)
    assert action.reason == "objective_infeasible"
    assert action.retry_after_s == pytest.approx(8.01)


def test_models_have_fleets_of_their_own() -> None:
    scheduler = make_scheduler(
        KnownPhysics(),
        [endpoint("a:1", model="m"), endpoint("b:1", model="n", adapters=("n-lora",))],
    )

    base = scheduler.route(request("one", model="m"), now=0.0)
    adapter = scheduler.route(request("two", model="n-lora"), now=0.0)

    assert isinstance(base, Dispatch)
    assert isinstance(adapter, Dispatch)
    assert (base.endpoint, adapter.endpoint) == ("a:1", "b:1")
    assert scheduler.models() == ("m", "n", "n-lora")
    with pytest.raises(ModelNotFound) as raised:
        scheduler.route(request("three", model="absent"), now=0.0)
    assert raised.value.known == ("m", "n", "n-lora")


def test_an_unknown_model_is_not_found_only_once_every_endpoint_has_told() -> None:
    scheduler = make_scheduler(
        KnownPhysics(), [endpoint("a:1"), endpoint("b:1", model=None, up=False)]
    )

    action = scheduler.route(request(model="maybe"), now=0.0)

    assert isinstance(action, Shed)
    assert action.reason == "no_endpoint"


def test_draining_endpoints_and_those_outside_the_subset_get_nothing() -> None:
    scheduler = make_scheduler(
        KnownPhysics(), [endpoint("a:1", draining=True), endpoint("b:1"), endpoint("c:1")]
    )

    actions = [
        scheduler.route(request(f"r{i}", allowed_endpoints=frozenset({"a:1", "c:1"})), now=0.0)
        for i in range(3)
    ]

    assert {action.endpoint for action in actions if isinstance(action, Dispatch)} == {"c:1"}


def test_bad_names_are_refused_before_anything_is_booked() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])
    scheduler.route(request("r"), now=0.0)

    with pytest.raises(UnknownTier):
        scheduler.route(request("s", tier="gold"), now=0.0)
    with pytest.raises(DuplicateRequest):
        scheduler.route(request("r"), now=0.0)
    with pytest.raises(UnknownRequest):
        scheduler.first_token("nobody", now=0.0)

    assert scheduler.inflight_requests == 1


def test_a_mode_set_at_run_time_survives_a_reload_that_does_not_change_it() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])
    scheduler.mode = "heuristic"

    scheduler.configure(SchedulerSettings(max_attempts=1))
    kept = scheduler.mode
    scheduler.configure(SchedulerSettings(max_attempts=1, mode="shadow"))

    assert (kept, scheduler.mode) == ("heuristic", "shadow")


def test_a_subset_without_any_known_endpoint_is_refused_at_once() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])

    action = scheduler.route(request(allowed_endpoints=frozenset({"elsewhere:1"})), now=0.0)

    assert isinstance(action, Shed)
    assert action.reason == "no_endpoint"
