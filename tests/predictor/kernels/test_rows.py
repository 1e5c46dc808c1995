"""Rows completed for a request are what the feature table says, column by column."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from predictor.feature_rows import EndpointRows, request_rows
from predictor.features import (
    CLOCKS,
    COLUMN,
    DECODING,
    DRAIN,
    N_FEATURES,
    OLDEST,
    PASSING,
    RATE_TAU_S,
    RATED,
    SCRAPED,
    TIERS,
)
from predictor.types import FloatArray

NOW, PROMPT = 1000.0, 900.0


def expected_rows(table: EndpointRows, matched: FloatArray, cached: FloatArray) -> FloatArray:
    rows, clocks = table.values.copy(), table.clocks
    hit = np.minimum(cached.sum(axis=1), PROMPT)
    first = COLUMN["matched_gpu_tokens"]
    rows[:, :4] = PROMPT, 64.0, 30.0, 1.0
    rows[:, first : first + 3], rows[:, first + 3 : first + 6] = matched, cached
    rows[:, COLUMN["cached_tokens"]], rows[:, COLUMN["uncached_tokens"]] = hit, PROMPT - hit
    rows[:, COLUMN["prefill_context"]] = (PROMPT - hit) * (hit + (PROMPT - hit) / 2) / 1e6
    rows[:, COLUMN["scrape_age_s"]] = NOW - clocks[:, SCRAPED]
    rows[:, COLUMN["oldest_queued_s"]] = np.fmax(NOW - clocks[:, OLDEST], 0.0)
    for name in ("prefill_tokens_per_s", "dispatches_per_s"):
        rows[:, COLUMN[name]] *= np.exp((clocks[:, RATED] - NOW) / RATE_TAU_S)
    left = rows[:, COLUMN["remaining_output_tokens"]]
    left -= (NOW - clocks[:, DECODING]) * clocks[:, DRAIN]
    np.maximum(left, 0.0, out=left)
    return rows


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 6))
def test_rows_are_completed_and_stale_scrapes_forgotten(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    table = EndpointRows(
        values=np.where(
            rng.random((8, N_FEATURES)) < 0.2, np.nan, rng.uniform(0, 500, (8, N_FEATURES))
        ),
        clocks=np.where(rng.random((8, CLOCKS)) < 0.1, np.nan, rng.uniform(980, 1001, (8, CLOCKS))),
    )
    rows, trust = rng.permutation(8)[:n].astype(np.intp), rng.random(n)
    matched = rng.uniform(0, 600, (n, len(TIERS)))
    asked = {"prompt_tokens": PROMPT, "max_tokens": 64, "expected_output_tokens": 30.0}

    fresh, served = (
        request_rows(
            table, rows, matched_tokens=matched, effectiveness=trust, streamed=True, now=NOW,
            stale_after_s=stale_after_s, **asked,
        )
        for stale_after_s in (float("inf"), 10.0)
    )  # fmt: skip

    chosen = EndpointRows(values=table.values[rows], clocks=table.clocks[rows])
    expected = expected_rows(chosen, matched, matched * trust[:, None])
    np.testing.assert_allclose(fresh, expected, rtol=1e-14)
    stale = expected[:, COLUMN["scrape_age_s"]] > 10.0
    expected[np.ix_(stale, PASSING)] = np.nan
    np.testing.assert_allclose(served, expected, rtol=1e-14)
