"""llm-d's predictor behind our interfaces: what it learns, when it serves it, how it picks."""

import random

import numpy as np
import pytest

from foretoken.simulation.llmd_predictor import LlmdLatencyPolicy, LlmdPredictor
from foretoken.simulation.llmd_rows import KV_CACHE, WAITING, Buckets, prefix_score
from predictor.features import COLUMN, N_FEATURES
from predictor.types import FloatArray, Objective, Observation
from scheduler import Policy
from scheduler.candidates import Candidates, total
from tests.scheduler.known_physics import request
from tests.scheduler.policy_cases import candidates, load


def rows(n: int, seed: int = 0, *, queued: float = 0.5) -> FloatArray:
    """Random rows of our feature table in which a share of endpoints has a queue."""
    rng = np.random.default_rng(seed)
    out = np.full((n, N_FEATURES), np.nan)
    waiting = np.where(rng.random(n) < queued, rng.integers(1, 15, n), 0)
    prompt = rng.integers(200, 12_000, n)
    cached = np.floor(prompt * rng.choice([0.0, 0.3, 0.6, 0.95], n) / 64) * 64
    values = {
        "prompt_tokens": prompt,
        "cached_tokens": cached,
        "uncached_tokens": prompt - cached,
        "waiting_requests": waiting,
        "kv_cache_usage": rng.random(n),
        "inflight_requests": waiting + rng.integers(0, 80, n),
        "queued_prefill_tokens": waiting * rng.integers(500, 4000, n),
    }
    for name, value in values.items():
        out[:, COLUMN[name]] = value
    return out


def latencies(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Give a TTFT and a TPOT that depend on what the predictor can see, in seconds."""
    tokens = features[:, COLUMN["uncached_tokens"]] + features[:, COLUMN["queued_prefill_tokens"]]
    inflight = features[:, COLUMN["inflight_requests"]]
    return 0.03 + 6e-5 * tokens, 0.015 + 2e-4 * inflight


def observed(row: FloatArray, **changes: float) -> Observation:
    values: dict[str, float] = {"observed_s": 0.0} | changes
    return Observation(endpoint="a:1", model="m", hardware=None, features=row, **values)  # type: ignore[arg-type]  # test shorthand


def taught(n: int, *, queued: float = 0.5, **arguments: float) -> LlmdPredictor:
    predictor = LlmdPredictor(**arguments)  # type: ignore[arg-type]  # test shorthand
    features = rows(n, queued=queued)
    for row, ttft_s, tpot_s in zip(features, *latencies(features), strict=True):
        predictor.predict(row[None], ["a:1"], [None])
        predictor.learn(observed(row, upstream_ttft_s=ttft_s))
        predictor.learn(observed(row, tpot_s=tpot_s, output_tokens=101))
    return predictor


def ask(predictor: LlmdPredictor, features: FloatArray) -> tuple[FloatArray, FloatArray]:
    names = [f"e{i}" for i in range(len(features))]
    said = predictor.predict(features, names, [None] * len(names))
    return said.ttft_s, said.tpot_s


def error(said_s: FloatArray, true_s: FloatArray) -> float:
    return float(np.mean(np.abs(said_s / true_s - 1)))


def test_everything_is_ten_milliseconds_until_a_model_is_served() -> None:
    predictor = taught(50)

    ttft_s, tpot_s = ask(predictor, rows(6, seed=1))

    assert set(ttft_s) == set(tpot_s) == {0.01}


def test_a_model_is_served_only_when_it_has_been_synchronised() -> None:
    predictor = taught(300, sync_s=10.0)

    predictor.train(10.0)
    before, _ = ask(predictor, rows(6, seed=1))
    predictor.train(20.0)
    after, _ = ask(predictor, rows(6, seed=1))

    assert set(before) == {0.01}
    assert len(set(after)) > 1


def test_ten_rows_are_enough_and_nine_are_not() -> None:
    predictor, row = LlmdPredictor(sync_s=0.0), rows(1)[0]
    labels = iter(range(100, 200))

    def remember_until(count: int) -> None:
        while len(predictor._ttft) < count:
            predictor.learn(observed(row, upstream_ttft_s=next(labels) / 1e3))

    remember_until(9)
    predictor.train(10.0)
    predictor.train(20.0)
    with_nine = predictor.predict(row[None], ["a:1"], [None])
    remember_until(10)
    predictor.train(30.0)
    predictor.train(40.0)
    with_ten = predictor.predict(row[None], ["a:1"], [None])

    assert with_nine.layer == "cold"
    assert with_nine.ttft_s[0] == 0.01
    assert with_ten.layer == "mixture"
    assert 0.1 < with_ten.ttft_s[0] < 0.12
    assert with_ten.tpot_s[0] == 0.01


def test_it_learns_what_it_can_see() -> None:
    predictor = taught(2500, sync_s=0.0)
    predictor.train(10.0)
    predictor.train(20.0)

    fresh = rows(500, seed=1)
    ttft_s, tpot_s = ask(predictor, fresh)

    true_ttft_s, true_tpot_s = latencies(fresh)
    assert error(ttft_s, true_ttft_s) < 0.12
    assert error(tpot_s, true_tpot_s) < 0.05


@pytest.mark.parametrize(("queued", "gated"), [(0.5, True), (0.02, False)])
def test_queued_and_idle_endpoints_get_models_of_their_own_once_both_have_rows(
    queued: float, *, gated: bool
) -> None:
    predictor = taught(900, queued=queued, sync_s=0.0)
    predictor.train(10.0)
    predictor.train(20.0)

    kind = type(predictor._served.ttft).__name__

    assert (kind == "QueueGated") is gated


def test_training_again_on_the_same_rows_gives_the_same_model() -> None:
    first, second = taught(600, sync_s=0.0), taught(600, sync_s=0.0)
    for predictor in (first, second):
        predictor.train(10.0)
        predictor.train(20.0)

    fresh = rows(20, seed=2)
    assert ask(first, fresh)[0].tolist() == ask(second, fresh)[0].tolist()


def test_labels_are_cut_to_whole_milliseconds_and_zeros_dropped() -> None:
    predictor, row = LlmdPredictor(), rows(1)[0]
    for index in range(50):
        predictor.learn(observed(row, upstream_ttft_s=0.1239 + index))
        predictor.learn(observed(row, upstream_ttft_s=0.0009))
        predictor.learn(observed(row, tpot_s=0.0005, output_tokens=2))

    _, labels, _ = predictor._ttft.rows()

    assert 0 < len(labels) < 50
    assert all(label % 1000 == 123 for label in labels)
    assert len(predictor._tpot) == 0


def test_tpot_is_learned_with_the_queue_and_kv_usage_of_the_end() -> None:
    predictor, row = LlmdPredictor(), rows(1, queued=0.0)[0]
    later = row.copy()
    later[COLUMN["waiting_requests"]], later[COLUMN["kv_cache_usage"]] = 9.0, 0.75
    predictor.predict(row[None], ["a:1"], [None])
    predictor.predict(later[None], ["a:1"], [None])
    for tokens in range(2, 60):
        predictor.learn(observed(row, upstream_ttft_s=tokens / 10))
        predictor.learn(observed(row, tpot_s=0.02, output_tokens=tokens))

    ttft, _, ttft_queued = predictor._ttft.rows()
    tpot, _, tpot_queued = predictor._tpot.rows()

    assert not ttft_queued.any()
    assert tpot_queued.all()
    assert set(ttft[:, WAITING]) == {0.0}
    assert set(tpot[:, WAITING]) == {9.0}
    assert set(tpot[:, KV_CACHE]) == {0.75}


def test_a_metric_never_scraped_counts_as_zero() -> None:
    row = rows(1)[0]
    row[[COLUMN["waiting_requests"], COLUMN["kv_cache_usage"]]] = np.nan
    predictor = taught(300, sync_s=0.0)
    predictor.train(10.0)
    predictor.train(20.0)
    zeros = row.copy()
    zeros[[COLUMN["waiting_requests"], COLUMN["kv_cache_usage"]]] = 0.0

    unknown, known = ask(predictor, row[None]), ask(predictor, zeros[None])

    assert unknown[0].tolist() == known[0].tolist()


def test_a_bucket_keeps_its_latest_five_hundred_rows_and_a_tenth_is_held_out() -> None:
    buckets, row = Buckets(), np.zeros(13)
    for label in range(1, 2001):
        buckets.add(row, float(label), prefix=0.0)

    _, labels, _ = buckets.rows()

    assert len(labels) == 500
    assert labels.min() > 2000 - 500 / 0.85
    assert 140 < buckets.held_out < 260


def test_rows_of_other_situations_have_buckets_of_their_own() -> None:
    buckets = Buckets()
    for waiting in (0, 1, 3, 6, 11, 40):
        row = np.zeros(13)
        row[WAITING] = waiting
        for label in range(1, 1001):
            buckets.add(row, float(label), prefix=0.0)

    _, _, queued = buckets.rows()

    assert len(buckets) == 5 * 500  # 11 and 40 share one
    assert queued.sum() == 4 * 500


def test_the_prefix_score_is_over_full_blocks() -> None:
    score = prefix_score(np.array([256.0, 128.0]), 300.0)

    assert score.tolist() == [1.0, 0.5]


def case(
    policy: LlmdLatencyPolicy,
    predictor: LlmdPredictor,
    inflight: list[int],
    matched: list[float],
    asked: Objective | None = None,
) -> FloatArray:
    given = candidates(
        [load(n) for n in inflight],
        matched=matched,
        asked=request(objective=asked) if asked else None,
        predictor=predictor,  # type: ignore[arg-type]  # any predictor will do
    )
    return policy.weights(given)


def test_an_untrained_predictor_makes_the_choice_uniform_among_the_idle_or_all() -> None:
    policy, predictor = LlmdLatencyPolicy(), LlmdPredictor()

    busy = case(policy, predictor, [3, 9, 1], [0.0] * 3)
    some_idle = case(policy, predictor, [3, 0, 0], [0.0] * 3)

    assert busy.tolist() == [51.0] * 3
    assert some_idle.tolist() == [0.0, 51.0, 51.0]


def test_the_loose_filter_narrows_to_endpoints_that_hold_most_of_the_prompt() -> None:
    weights = case(LlmdLatencyPolicy(), LlmdPredictor(), [3, 3, 3], [900.0, 0.0, 768.0])

    assert weights.tolist() == [51.0, 0.0, 51.0]


def test_the_charts_strict_filter_comes_first() -> None:
    policy = LlmdLatencyPolicy(affinity_ratios=(0.99, 0.80))

    weights = case(policy, LlmdPredictor(), [3, 3, 3], [960.0, 0.0, 832.0])

    assert weights.tolist() == [51.0, 0.0, 0.0]


def test_the_requests_objective_is_what_headroom_is_measured_from() -> None:
    met = Objective(ttft_s=0.5, tpot_s=0.05)

    weights = case(LlmdLatencyPolicy(), LlmdPredictor(), [3, 0], [0.0, 0.0], met)

    assert weights.tolist() == [51.0, 51.0]  # headroom left: the idle one has no precedence


def test_without_predictions_the_composite_decides() -> None:
    policy: Policy = LlmdLatencyPolicy()
    given = candidates([load(3), load(3)], matched=[960.0, 0.0], predictor=None)

    costs = total(policy.terms(given))

    assert costs.shape == (2,)
    assert np.isfinite(costs).all()
    assert LlmdLatencyPolicy().weights(given).tolist() == [100.0, 0.0]


def test_the_pick_follows_the_draw() -> None:
    rng, policy = random.Random(3), LlmdLatencyPolicy()

    def pick() -> int:
        given: Candidates = candidates(
            [load(2)] * 4,
            draw=[rng.random() for _ in range(4)],
            predictor=LlmdPredictor(),  # type: ignore[arg-type]  # any predictor will do
        )
        return int(np.argmin(total(policy.terms(given))))

    counts = np.bincount([pick() for _ in range(2000)], minlength=4)

    assert counts.min() > 400
