"""The compiled loops say what the same formulas say over arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from predictor.features import COLUMN, N_FEATURES
from predictor.types import FloatArray
from scheduler import kernels

NAMES = (
    *("cached_tokens", "uncached_tokens", "queued_prefill_tokens", "inflight_requests"),
    *("running_requests", "max_seqs", "kv_capacity_tokens", "kv_cache_usage"),
)
UNKNOWN_AT_TIMES = ("running_requests", "max_seqs", "kv_capacity_tokens", "kv_cache_usage")


def endpoints(n: int, rng: np.random.Generator) -> FloatArray:
    """Make rows of which each scraped value may be unknown."""
    rows = np.full((n, N_FEATURES), np.nan)

    def put(name: str, values: FloatArray) -> None:
        rows[:, COLUMN[name]] = values

    put("cached_tokens", rng.integers(0, 3, n) * 500.0)
    put("uncached_tokens", rng.uniform(1, 2000, n))
    put("queued_prefill_tokens", rng.uniform(0, 5000, n))
    put("inflight_requests", rng.integers(0, 12, n))
    put("running_requests", rng.integers(0, 12, n))
    put("max_seqs", rng.integers(1, 12, n))
    put("kv_capacity_tokens", rng.uniform(1e3, 1e5, n))
    put("kv_cache_usage", rng.uniform(0.5, 1.0, n))
    for name in UNKNOWN_AT_TIMES:
        rows[rng.random(n) < 0.3, COLUMN[name]] = np.nan
    put(
        "kv_free_tokens",
        (1.0 - rows[:, COLUMN["kv_cache_usage"]]) * rows[:, COLUMN["kv_capacity_tokens"]],
    )
    return rows


def column(rows: FloatArray, name: str) -> FloatArray:
    values: FloatArray = rows[:, COLUMN[name]]
    return values


def over_arrays(
    rows: FloatArray, said: FloatArray, leanings: FloatArray, tokens: float
) -> FloatArray:
    """Give the terms of the cost by the formulas of ``PredictedLatency``, ``(8, n)``."""
    ttft, tpot, prefill, step, token = said * leanings[[0, 1, 0, 1, 0]]
    inflight, most = column(rows, "inflight_requests"), column(rows, "max_seqs")
    capacity, free = column(rows, "kv_capacity_tokens"), column(rows, "kv_free_tokens")
    cached = column(rows, "cached_tokens")
    decode = tokens * tpot
    seats = np.where(np.isnan(most), np.inf, most - inflight)
    needed = column(rows, "queued_prefill_tokens") + column(rows, "uncached_tokens")
    lacking = np.fmax(needed + 0.02 * capacity - free, 0.0) / np.maximum(capacity - free, 1.0)
    room = decode * np.fmax(np.fmax(np.maximum(1.0 - seats, 0.0) / most, lacking), 0.0)
    terms = np.array(
        [
            3.0 * ttft,
            3.0 * room,
            decode,
            inflight * prefill,
            inflight * tokens * step,
            20.0 * token * (cached.max() - cached),
            np.where(seats < 1, 3.0 * decode, 0.0),
            np.zeros(len(rows)),
        ]
    )
    first = ttft + room
    terms[-1] = terms.sum(axis=0) * ((first / first.min()) ** 0.3 - 1.0)
    return terms


@given(n=st.integers(1, 40), seed=st.integers(0, 2**32), tokens=st.floats(1.0, 5000.0))
@settings(max_examples=200, deadline=None)
def test_the_cost_is_the_sum_of_the_terms_as_documented(n: int, seed: int, tokens: float) -> None:
    rng = np.random.default_rng(seed)
    rows, said = endpoints(n, rng), rng.uniform(1e-4, 2.0, (5, n))
    leanings, values = rng.uniform(0.5, 2.0, (2, n)), np.empty((kernels.TOTAL + 1, n))

    kernels.latency_cost(rows, *said, leanings, tokens, 3.0, 20.0, 0.3, values)

    expected = over_arrays(rows, said, leanings, tokens)
    np.testing.assert_allclose(values[:-1], expected, rtol=1e-12)
    np.testing.assert_allclose(values[-1], expected.sum(axis=0), rtol=1e-12)


FEW = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.004, 1.02])


@given(
    keys=st.integers(1, 60).flatmap(lambda n: arrays(np.float64, (5, n), elements=FEW)),
    indifferent=st.booleans(),
)
@settings(deadline=None)
def test_near_ties_are_sorted_as_by_lexsort(keys: FloatArray, indifferent: bool) -> None:
    costs, preference, cached, inflight, draw = keys
    rows, order = np.zeros((len(costs), N_FEATURES)), np.empty(len(costs), np.intp)
    rows[:, COLUMN["cached_tokens"]], rows[:, COLUMN["inflight_requests"]] = cached, inflight
    best = costs.min()
    close = costs <= best + 0.01 * abs(best)
    levels = [np.where(close, key, 0.0) for key in (inflight, -cached, -preference)]
    wanted = np.lexsort((
        *(draw, *levels[: 2 if indifferent else 3]),
        np.where(close, best, costs),
    ))  # fmt: skip

    kernels.sort_near_ties(
        rows, costs, np.empty(0) if indifferent else preference, draw, 0.01, order
    )

    assert order.tolist() == wanted.tolist()


@given(keys=st.integers(1, 60).flatmap(lambda n: arrays(np.float64, (2, n), elements=FEW)))
@settings(deadline=None)
def test_costs_are_sorted_as_by_lexsort(keys: FloatArray) -> None:
    costs, draw = keys
    order = np.empty(len(costs), np.intp)

    kernels.sort_by_cost(costs, draw, order)

    assert order.tolist() == np.lexsort((draw, costs)).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_full_is_where_seats_or_blocks_are_taken(seed: int) -> None:
    rows = endpoints(30, np.random.default_rng(seed))
    found = np.empty(30, np.bool_)
    most = column(rows, "max_seqs")

    count = kernels.closed(rows, 0.97, found)

    wanted = (
        (column(rows, "inflight_requests") >= most)
        | (column(rows, "running_requests") >= most)
        | (column(rows, "kv_cache_usage") >= 0.97)
    )
    assert found.tolist() == wanted.tolist()
    assert count == wanted.sum()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_costs_that_are_no_numbers_have_no_order(bad: float) -> None:
    costs, draw, order = np.array([1.0, bad, 2.0]), np.zeros(3), np.empty(3, np.intp)
    rows = np.zeros((3, N_FEATURES))

    assert not kernels.sort_by_cost(costs, draw, order)
    assert not kernels.sort_near_ties(rows, costs, np.empty(0), draw, 0.01, order)
