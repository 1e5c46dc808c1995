"""What tells the policies that look for a prefix or a session from each other."""

import numpy as np
import pytest

from predictor.types import Measurement, RequestFeatures
from scheduler import Dispatch, SchedulerSettings
from scheduler.candidates import total
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request
from tests.scheduler.policy_cases import candidates, cheapest, load, terms


def test_prefix_affinity_sticks_until_saturated() -> None:
    fresh, loaded = load(), load(4, queued_prefill_tokens=20_000.0)
    swamped = load(40, queued_prefill_tokens=200_000.0)

    assert cheapest("prefix_affinity_5s", candidates([loaded, fresh], matched=[900.0, 0.0])) == 0
    assert cheapest("prefix_affinity_5s", candidates([swamped, fresh], matched=[900.0, 0.0])) == 1


@pytest.mark.parametrize(
    ("name", "queued_tokens", "chosen"),
    [
        ("prefix_affinity_5s", 79_000.0, 0),  # 5 s x 15,928 tokens/s = 79,640
        ("prefix_affinity_5s", 80_000.0, 1),
        ("prefix_affinity", 286_000.0, 0),  # 18 s: 286,704
        ("prefix_affinity", 287_000.0, 1),
        ("prefix_affinity_requests", 286_000.0, 0),
        ("prefix_affinity_requests", 287_000.0, 1),
    ],
)
def test_prefix_affinity_lets_go_at_its_penalty_in_queued_tokens(
    name: str, queued_tokens: float, chosen: int
) -> None:
    holder = load(9, queued_requests=9, queued_prefill_tokens=queued_tokens)

    assert cheapest(name, candidates([holder, load()], matched=[900.0, 0.0])) == chosen


def test_prefix_affinity_ranks_holders_by_the_load_it_is_set_to() -> None:
    many_short = load(9, queued_prefill_tokens=100.0)
    few_long = load(1, queued_prefill_tokens=9000.0)
    given = candidates([many_short, few_long, load()], matched=[900.0, 900.0, 0.0])

    assert cheapest("prefix_affinity", given) == 0
    assert cheapest("prefix_affinity_requests", given) == 1


def test_weighted_blend_trades_a_match_for_a_short_queue_by_its_weights() -> None:
    states = [
        endpoint("e0:1", waiting_requests=4.0, kv_cache_usage=0.5),
        endpoint("e1:1", waiting_requests=0.0, kv_cache_usage=0.5),
    ]
    given = candidates([load(), load()], states=states, matched=[800.0, 0.0])

    assert cheapest("weighted_blend", given) == 0  # 3 x 0.8 above 2
    assert cheapest("weighted_blend_111", given) == 1  # 0.8 below 1


def test_the_fourth_weight_sends_what_nobody_holds_to_the_longest_unused() -> None:
    loads = [load(last_dispatch=7), load(last_dispatch=5), load(last_dispatch=0)]

    cold = terms("weighted_blend_3222", candidates(loads))
    warm = terms("weighted_blend_3222", candidates(loads, matched=[0.0, 100.0, 0.0]))

    assert cold["cold_turn"].tolist() == [0.0, -1.0, -2.0]
    assert "cold_turn" not in warm


def test_weighted_blend_reads_the_scraped_queue_and_its_own_where_none_is_known() -> None:
    states = [endpoint("e0:1", waiting_requests=0.0), endpoint("e1:1")]
    loads = [load(3, queued_requests=3), load(2, queued_requests=2)]

    queue = terms("weighted_blend", candidates(loads, states=states))["queue"]

    assert queue.tolist() == [-2.0, 0.0]


def test_radix_cache_aware_follows_the_longest_match_above_its_share() -> None:
    given = [load(5), load(3), load(0)]

    assert cheapest("radix_cache_aware", candidates(given, matched=[900.0, 400.0, 0.0])) == 0
    assert cheapest("radix_cache_aware", candidates(given, matched=[900.0, 900.0, 0.0])) == 1
    assert cheapest("radix_cache_aware", candidates(given, matched=[300.0, 0.0, 0.0])) == 2


@pytest.mark.parametrize(
    ("most", "least", "chosen"),
    [
        (64, 0, 0),  # the gap is not above 64
        (65, 0, 1),
        (230, 160, 0),  # 70 more, but less than half as many again
        (250, 160, 1),
    ],
)
def test_radix_cache_aware_gives_up_the_match_past_both_thresholds(
    most: int, least: int, chosen: int
) -> None:
    given = candidates([load(most), load(least)], matched=[900.0, 0.0])

    assert cheapest("radix_cache_aware", given) == chosen


def homes(name: str, fleet: list[str], asked: list[RequestFeatures]) -> list[str]:
    states = [endpoint(each) for each in fleet]
    loads = [load(1)] * len(fleet)
    given = (candidates(loads, states=states, asked=each) for each in asked)
    return [fleet[cheapest(name, each)] for each in given]


HASHED = {
    "bounded_load_hash": [request(block_hashes=(key,)) for key in range(400)],
    "session_affinity": [request(session_id=f"s{key}") for key in range(400)],
}


@pytest.mark.parametrize("name", HASHED)
def test_hashing_spreads_keys_over_all_endpoints(name: str) -> None:
    fleet = ["a:1", "b:1", "c:1", "d:1"]

    found = homes(name, fleet, HASHED[name])

    assert all(70 <= found.count(each) <= 130 for each in fleet)


@pytest.mark.parametrize("name", HASHED)
def test_an_endpoint_that_leaves_moves_only_its_own_keys(name: str) -> None:
    before = homes(name, ["a:1", "b:1", "c:1", "d:1"], HASHED[name])
    after = homes(name, ["d:1", "b:1", "a:1"], HASHED[name])

    moved = [old for old, new in zip(before, after, strict=True) if old != new]

    assert set(moved) == {"c:1"}


def test_bounded_load_hash_passes_over_the_overloaded_to_the_next_in_the_prompts_order() -> None:
    asked = request(block_hashes=(1, 2))
    idle = candidates([load(1)] * 4, asked=asked)
    order = np.argsort(total(terms("bounded_load_hash", idle))).tolist()
    loads = [load(1)] * 4

    loads[order[0]] = load(3)  # the mean with this request is 7/4, and 1.25 of it is 2.2

    assert cheapest("bounded_load_hash", candidates(loads, asked=asked)) == order[1]


def test_bounded_load_hash_keys_by_the_first_blocks_alone() -> None:
    start = (1, 2, 3, 4)
    short = terms("bounded_load_hash", candidates([load(1)] * 5, asked=request(block_hashes=start)))
    long = terms(
        "bounded_load_hash",
        candidates([load(1)] * 5, asked=request(block_hashes=(*start, 5, 6))),
    )

    np.testing.assert_array_equal(short["place"], long["place"])


def test_affinity_without_a_key_goes_to_the_fewest_requests() -> None:
    given = candidates([load(4), load(2), load(3)], asked=request())

    assert cheapest("session_affinity", given) == 1
    assert cheapest("bounded_load_hash", given) == 1


def test_a_session_stays_however_loaded_its_endpoint_is() -> None:
    asked = request(session_id="s1")
    home = cheapest("session_affinity", candidates([load()] * 3, asked=asked))
    loads = [load(100) if each == home else load() for each in range(3)]

    assert cheapest("session_affinity", candidates(loads, asked=asked)) == home


@pytest.mark.parametrize("name", HASHED)
def test_the_scheduler_keeps_a_key_where_it_was(name: str) -> None:
    settings = SchedulerSettings.model_validate({"policy": name})
    states = [endpoint(f"e{i}:1") for i in range(8)]
    scheduler = make_scheduler(KnownPhysics(), states, settings)

    found = set()
    for turn in range(5):
        asked = request(f"r{turn}", session_id="s1", block_hashes=(1, 2, 3))
        action = scheduler.route(asked, now=float(turn))
        assert isinstance(action, Dispatch)
        found.add(action.endpoint)
        scheduler.finished(f"r{turn}", Measurement(outcome="completed"), now=turn + 0.5)

    assert len(found) == 1
