"""The rows of :mod:`predictor.feature_rows`: an endpoint's columns completed for a request."""

from math import exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.features import (
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
    UNKNOWN,
)
from predictor.kernels.compiled import compiled
from predictor.types import FloatArray

_MATCHED: Final = COLUMN["matched_gpu_tokens"]
_HITS: Final = COLUMN["cached_gpu_tokens"]
_CACHED: Final = COLUMN["cached_tokens"]
_UNCACHED: Final = COLUMN["uncached_tokens"]
_CONTEXT: Final = COLUMN["prefill_context"]
_FIRST_KEPT: Final = COLUMN["running_requests"]
_SCRAPE_AGE: Final = COLUMN["scrape_age_s"]
_OLDEST: Final = COLUMN["oldest_queued_s"]
_RATES: Final = (COLUMN["prefill_tokens_per_s"], COLUMN["dispatches_per_s"])
_REMAINING: Final = COLUMN["remaining_output_tokens"]
_N_TIERS: Final = len(TIERS)


@compiled
def complete(
    values: FloatArray,
    clocks: FloatArray,
    rows: NDArray[np.intp],
    request: tuple[float, float, float, float],
    matched: FloatArray,
    cached: FloatArray,
    share: FloatArray,
    now: float,
    stale_after_s: float,
    matrix: FloatArray,
) -> None:
    """Write the rows of a request; ``cached`` times ``share`` is expected to be found."""
    prompt = request[0]
    for place in range(len(rows)):
        row, hit = rows[place], 0.0
        for column in range(_FIRST_KEPT, N_FEATURES):
            matrix[place, column] = values[row, column]
        for column in range(len(request)):
            matrix[place, column] = request[column]
        for tier in range(_N_TIERS):
            found = cached[place, tier] * share[place]
            matrix[place, _MATCHED + tier] = matched[place, tier]
            matrix[place, _HITS + tier] = found
            hit += found
        hit = min(hit, prompt)
        matrix[place, _CACHED] = hit
        matrix[place, _UNCACHED] = prompt - hit
        matrix[place, _CONTEXT] = (prompt - hit) * (hit + (prompt - hit) / 2) / 1e6
        let_pass(clocks, row, now, stale_after_s, matrix, place)


@compiled
def let_pass(
    clocks: FloatArray, row: int, now: float, stale_after_s: float, matrix: FloatArray, place: int
) -> None:
    """Bring what changes with time in a row up to date, by the clocks of its endpoint."""
    age_s, queued_s = now - clocks[row, SCRAPED], now - clocks[row, OLDEST]
    matrix[place, _SCRAPE_AGE] = age_s
    matrix[place, _OLDEST] = max(0.0, queued_s)  # NaN is no queued request
    decay = exp((now - clocks[row, RATED]) / -RATE_TAU_S)
    for column in _RATES:
        matrix[place, column] *= decay
    left = matrix[place, _REMAINING] - (now - clocks[row, DECODING]) * clocks[row, DRAIN]
    matrix[place, _REMAINING] = max(left, 0.0)  # NaN stays
    if age_s > stale_after_s:
        forget(matrix, place)


@compiled
def forget(matrix: FloatArray, place: int) -> None:
    """Make unknown what a row holds of a scrape that is too old to go by."""
    for column in PASSING:
        matrix[place, column] = UNKNOWN
