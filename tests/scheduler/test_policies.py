"""One battery for every policy."""

import numpy as np
import pytest

from predictor.types import EndpointState, Measurement, RequestFeatures
from scheduler import POLICIES, Dispatch, SchedulerSettings, build_policy
from scheduler.candidates import total
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request
from tests.scheduler.policy_cases import candidates, cheapest, load, terms

EVERY_POLICY = sorted(POLICIES)

REQUESTS = {
    "blocks": request(block_hashes=(11, 12, 13, 14, 15, 16)),
    "session": request(session_id="s1"),
    "neither": request(),
}


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("name", EVERY_POLICY)
def test_every_policy_scores_each_candidate_finitely(name: str, asked: RequestFeatures) -> None:
    loads = [load(i, queued_prefill_tokens=100.0 * i) for i in range(5)]
    given = candidates(loads, matched=[0.0, 900.0, 900.0, 10.0, 0.0], asked=asked)

    costs = total(terms(name, given))

    assert costs.shape == (5,)
    assert np.isfinite(costs).all()


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("name", EVERY_POLICY)
def test_every_policy_ignores_the_order_of_candidates(name: str, asked: RequestFeatures) -> None:
    loads = [load(i, queued_prefill_tokens=100.0 * i, last_dispatch=i + 1) for i in (2, 0, 1)]
    states = [endpoint("a:1"), endpoint("b:1"), endpoint("c:1")]
    draw, matched = [0.5, 0.1, 0.9], [0.0, 900.0, 400.0]
    policy = build_policy(POLICIES[name])

    forward = policy.terms(
        candidates(loads, states=states, draw=draw, matched=matched, asked=asked)
    )
    backward = policy.terms(
        candidates(
            loads[::-1], states=states[::-1], draw=draw[::-1], matched=matched[::-1], asked=asked
        )
    )

    np.testing.assert_allclose(total(forward), total(backward)[::-1])


@pytest.mark.parametrize(
    "name",
    [name for name in EVERY_POLICY if name not in {"random", "power_of_two", "bounded_load_hash"}],
)
def test_every_policy_leaves_equal_candidates_to_the_draw(name: str) -> None:
    given = candidates([load(3)] * 4, matched=[500.0] * 4)

    costs = total(terms(name, given))

    assert (costs == costs[0]).all()


@pytest.mark.parametrize("name", EVERY_POLICY)
def test_every_policy_places_a_request_on_the_only_endpoint(name: str) -> None:
    only = candidates([load(2)], matched=[900.0], asked=REQUESTS["blocks"])

    assert np.isfinite(total(terms(name, only))).all()


@pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize("name", EVERY_POLICY)
def test_every_policy_survives_unknown_signals(name: str, asked: RequestFeatures) -> None:
    blind = [EndpointState(endpoint=f"e{i}:1", url=f"http://e{i}:1") for i in range(3)]

    costs = total(terms(name, candidates([load()] * 3, states=blind, asked=asked, predictor=None)))

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


@pytest.mark.parametrize("name", EVERY_POLICY)
def test_every_policy_decides_a_stream_of_conversations_in_the_scheduler(name: str) -> None:
    settings = SchedulerSettings.model_validate({"policy": name})
    states = [endpoint(f"e{i}:1") for i in range(4)]
    scheduler = make_scheduler(KnownPhysics(), states, settings)

    found: dict[str, int] = {}
    for turn in range(60):
        talk = turn % 12
        asked = request(f"r{turn}", session_id=f"s{talk}", block_hashes=(0, 100 + talk, 200 + turn))
        action = scheduler.route(asked, now=float(turn))
        assert isinstance(action, Dispatch)
        assert action.decision.policy == build_policy(POLICIES[name]).name
        found[action.endpoint] = found.get(action.endpoint, 0) + 1
        if turn >= 6:
            scheduler.first_token(f"r{turn - 6}", now=turn + 0.5)
            scheduler.finished(f"r{turn - 6}", Measurement(outcome="completed"), now=turn + 0.6)

    assert len(found) == 4
    assert max(found.values()) <= 30


@pytest.mark.parametrize("name", EVERY_POLICY)
def test_a_policy_may_be_configured_by_its_name_alone(name: str) -> None:
    settings = SchedulerSettings.model_validate({"policy": name})

    assert settings.policy == POLICIES[name]
    assert SchedulerSettings.model_validate_json(settings.model_dump_json()) == settings


def test_an_unknown_policy_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"there are: bounded_load_hash, .*round_robin"):
        SchedulerSettings.model_validate({"policy": "best"})


def test_predicted_latency_counts_what_the_others_pay() -> None:
    decoding = load(20, decoding_requests=20, context_tokens=20_000.0)
    queued = load(1, queued_requests=1, queued_prefill_tokens=1500.0)

    assert cheapest("predicted_latency", candidates([decoding, queued])) == 1
