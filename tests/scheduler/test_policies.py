"""One battery for every policy, and what tells each from the others."""

import random

import numpy as np
import pytest

from predictor.features import feature_matrix
from predictor.types import EndpointLoad, EndpointState
from scheduler import POLICIES, build_policy
from scheduler.candidates import Candidates, total
from tests.scheduler.known_physics import KnownPhysics, endpoint

EVERY_POLICY = sorted(POLICIES)


def candidates(
    loads: list[EndpointLoad],
    *,
    states: list[EndpointState] | None = None,
    matched: list[float] | None = None,
    draw: list[float] | None = None,
) -> Candidates:
    names = [f"e{i}:1" for i in range(len(loads))]
    states = states or [endpoint(name) for name in names]
    matched_tokens = np.array(matched or [0.0] * len(loads))
    features = feature_matrix(
        prompt_tokens=1000,
        cached_tokens=matched_tokens,
        max_tokens=None,
        expected_output_tokens=100.0,
        streamed=True,
        states=states,
        loads=loads,
        now=1.0,
    )
    rng = random.Random(0)
    return Candidates(
        states=tuple(states),
        loads=tuple(loads),
        features=features,
        matched_tokens=matched_tokens,
        prompt_tokens=1000,
        expected_output_tokens=100.0,
        predictions=KnownPhysics().predict(features, names, [None] * len(names)),
        draw=np.array(draw or [rng.random() for _ in loads]),
    )


def load(inflight: int = 0, **changes: float) -> EndpointLoad:
    return EndpointLoad(inflight_requests=inflight, **changes)  # type: ignore[arg-type]  # test shorthand


def cheapest(name: str, given: Candidates) -> int:
    return int(np.argmin(total(build_policy(POLICIES[name]).terms(given))))


@pytest.mark.parametrize("name", EVERY_POLICY)
def test_every_policy_scores_each_candidate_finitely(name: str) -> None:
    given = candidates([load(i, queued_prefill_tokens=100.0 * i) for i in range(5)])

    costs = total(build_policy(POLICIES[name]).terms(given))

    assert costs.shape == (5,)
    assert np.isfinite(costs).all()


@pytest.mark.parametrize("name", EVERY_POLICY)
def test_every_policy_ignores_the_order_of_candidates(name: str) -> None:
    loads = [load(i, queued_prefill_tokens=100.0 * i, last_dispatch=i + 1) for i in (2, 0, 1)]
    draw = [0.5, 0.1, 0.9]
    policy = build_policy(POLICIES[name])

    forward = total(policy.terms(candidates(loads, draw=draw)))
    backward = total(policy.terms(candidates(loads[::-1], draw=draw[::-1])))

    np.testing.assert_allclose(forward, backward[::-1])


@pytest.mark.parametrize("name", EVERY_POLICY)
def test_every_policy_survives_unknown_signals(name: str) -> None:
    blind = [EndpointState(endpoint=f"e{i}:1", url=f"http://e{i}:1") for i in range(3)]

    costs = total(build_policy(POLICIES[name]).terms(candidates([load()] * 3, states=blind)))

    assert np.isfinite(costs).all()


@pytest.mark.parametrize("name", EVERY_POLICY)
def test_every_policy_never_changes_its_input(name: str) -> None:
    given = candidates([load(i) for i in range(3)])
    before = given.features.copy()

    build_policy(POLICIES[name]).terms(given)

    np.testing.assert_array_equal(given.features, before)


@pytest.mark.parametrize(
    "name", [name for name in EVERY_POLICY if name not in {"random", "round_robin"}]
)
def test_every_policy_but_blind_ones_prefers_the_idle_endpoint(name: str) -> None:
    busy = load(
        8,
        queued_requests=4,
        queued_prefill_tokens=8000.0,
        decoding_requests=4,
        context_tokens=9000.0,
    )
    states = [
        endpoint("e0:1", waiting_requests=4.0, kv_cache_usage=0.9),
        endpoint("e1:1", waiting_requests=0.0, kv_cache_usage=0.1),
    ]

    assert cheapest(name, candidates([busy, load()], states=states)) == 1


def test_round_robin_takes_turns() -> None:
    given = candidates([load(last_dispatch=7), load(last_dispatch=5), load(last_dispatch=6)])

    assert cheapest("round_robin", given) == 1


def test_power_of_two_looks_at_two_only() -> None:
    given = candidates([load(0), load(5), load(3)], draw=[0.9, 0.1, 0.2])

    assert cheapest("power_of_two", given) == 2


def test_lmetric_multiplies_tokens_by_batch() -> None:
    short_queue = load(9, queued_prefill_tokens=0.0)
    small_batch = load(1, queued_prefill_tokens=3000.0)

    assert cheapest("lmetric", candidates([short_queue, small_batch])) == 1
    assert cheapest("queued_tokens", candidates([short_queue, small_batch])) == 0


def test_prefix_affinity_sticks_until_saturated() -> None:
    fresh, loaded = load(), load(4, queued_prefill_tokens=20_000.0)
    swamped = load(40, queued_prefill_tokens=200_000.0)

    assert cheapest("prefix_affinity", candidates([loaded, fresh], matched=[900.0, 0.0])) == 0
    assert cheapest("prefix_affinity", candidates([swamped, fresh], matched=[900.0, 0.0])) == 1


def test_predicted_latency_counts_what_the_others_pay() -> None:
    decoding = load(20, decoding_requests=20, context_tokens=20_000.0)
    queued = load(1, queued_requests=1, queued_prefill_tokens=1500.0)

    assert cheapest("predicted_latency", candidates([decoding, queued])) == 1
