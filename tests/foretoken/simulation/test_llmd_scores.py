"""How llm-d spreads traffic, against the figures measured of it."""

import numpy as np
import pytest

from foretoken.simulation.llmd_scores import composite_weights, headroom_weights, lots, stick
from predictor.types import FloatArray


def weigh(
    ttft_ms: FloatArray,
    tpot_ms: FloatArray | None = None,
    *,
    ttft_objective_ms: float = 0.0,
    tpot_objective_ms: float = 0.0,
    inflight: FloatArray | None = None,
) -> FloatArray:
    n = len(ttft_ms)
    tpot_ms = np.full(n, 20.0) if tpot_ms is None else tpot_ms
    return headroom_weights(
        np.ones(n, dtype=bool),
        ttft_objective_ms - ttft_ms,
        tpot_objective_ms - tpot_ms,
        np.ones(n) if inflight is None else inflight,
    )


def test_the_best_of_eight_evenly_spread_endpoints_gets_a_quarter_of_the_traffic() -> None:
    weights = weigh(np.arange(100.0, 801.0, 100.0))

    assert weights.tolist() == [101, 86, 72, 58, 43, 29, 15, 1]
    assert weights[0] / weights.sum() == pytest.approx(0.249, abs=5e-4)


@pytest.mark.parametrize(("endpoints", "expected_ms"), [(4, 134), (8, 201), (16, 335)])
def test_what_is_picked_is_far_from_the_best(endpoints: int, expected_ms: float) -> None:
    ttft_ms = 100.0 + 50.0 * np.arange(endpoints)

    weights = weigh(ttft_ms)

    assert ttft_ms @ weights / weights.sum() == pytest.approx(expected_ms, abs=1)


def test_one_outlier_makes_the_choice_among_the_others_uniform() -> None:
    weights = weigh(np.array([100.0, 200, 300, 400, 500, 600, 700, 20_000]))

    shares = weights / weights.sum()
    assert shares[0] == pytest.approx(0.146, abs=1e-3)
    assert shares[6] == pytest.approx(0.140, abs=1e-3)
    assert shares[7] < 0.002


def test_equal_predictions_weigh_the_same() -> None:
    assert weigh(np.full(5, 10.0), np.full(5, 10.0)).tolist() == [51.0] * 5


def test_tpot_counts_a_fifth() -> None:
    weights = weigh(np.array([100.0, 200.0]), np.array([30.0, 20.0]))

    # 100 x (1 - 0.8) is a hair below 20, and cut off.
    assert weights.tolist() == [81.0, 20.0]


def test_idle_endpoints_are_all_that_counts_where_objectives_are_missed() -> None:
    weights = weigh(np.array([100.0, 900.0, 400.0]), inflight=np.array([1.0, 0.0, 0.0]))

    assert weights.tolist() == [0.0, 1.0, 101.0]


def test_of_endpoints_that_meet_the_objective_the_tightest_weighs_most() -> None:
    weights = weigh(
        np.array([100.0, 450.0, 900.0]), ttft_objective_ms=500.0, tpot_objective_ms=50.0
    )

    assert weights.tolist() == [1.0, 101.0, 0.0]


def test_missing_the_tpot_objective_is_better_than_missing_the_other() -> None:
    weights = weigh(
        np.array([100.0, 900.0]),
        np.array([80.0, 20.0]),
        ttft_objective_ms=500.0,
        tpot_objective_ms=50.0,
    )

    assert weights.tolist() == [51.0, 0.0]


def test_a_request_with_only_one_objective_meets_neither() -> None:
    one = weigh(np.array([100.0, 900.0]), ttft_objective_ms=500.0)

    # Both miss the absent TPOT objective of 0 ms; the first misses nothing else.
    assert one.tolist() == [51.0, 0.0]


def test_a_sticky_endpoint_is_left_when_it_is_too_slow_and_nothing_else_is_narrowed() -> None:
    held, every = np.array([0.85, 0.2, 0.9]), np.ones(3, dtype=bool)

    def left(ttft_ms: list[float], ratio: float) -> list[bool]:
        return stick(
            every, held, np.array(ttft_ms), affinity_ratio=ratio, max_penalty_ms=5000.0
        ).tolist()

    assert left([9000.0, 100.0, 5000.0], 0.8) == [True, False, True]
    assert left([9000.0, 100.0, 5200.0], 0.8) == [True, True, True]
    assert left([0.0, 0.0, 0.0], 0.99) == [True, True, True]


def test_lots_fall_in_proportion_to_weight() -> None:
    weights, rng = np.array([101.0, 51.0, 1.0, 0.0]), np.random.default_rng(0)

    picked = [int(np.argmin(lots(weights, rng.random(4)))) for _ in range(20_000)]

    shares = np.bincount(picked, minlength=4) / 20_000
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.01)
    assert shares[3] == 0.0


def test_lots_have_the_order_of_the_published_keys() -> None:
    rng = np.random.default_rng(1)
    weights, draw = rng.integers(1, 102, 20).astype(float), rng.random(20)

    order = np.argsort(lots(weights, draw))

    keys = (1.0 - draw) ** (1.0 / weights)
    assert order.tolist() == np.argsort(-keys).tolist()


def test_no_weight_at_all_makes_the_choice_uniform() -> None:
    drawn = lots(np.zeros(3), np.array([0.5, 0.1, 0.9]))

    assert np.argsort(drawn).tolist() == [1, 0, 2]


def test_without_predictions_free_kv_queue_and_prefix_weigh_alike() -> None:
    weights = composite_weights(
        np.ones(3, dtype=bool),
        np.array([0.0, 1.0, 0.5]),
        np.array([0.0, 4.0, 2.0]),
        np.array([1.0, 0.0, 0.0]),
    )

    assert weights.tolist() == [100.0, 0.0, 33.0]
