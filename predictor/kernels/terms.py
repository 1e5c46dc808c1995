"""The terms of :mod:`predictor.terms` for one row: what the linear models add up."""

from math import isfinite, isnan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.features import COLUMN, N_FEATURES
from predictor.kernels.compiled import compiled, plain
from predictor.types import FloatArray

N_DESIGN: Final = 15
"""Terms of TTFT, then those of TPOT."""
TPOT_START: Final = 9
N_REGIMES: Final = 3

BUSY_KTOK_PER_S: Final = 40.0  # of the order of what a GPU prefills: more cannot arrive for long
STEP_KTOK: Final = 0.1  # thousand tokens prefilled beside one decode step while a queue lasts
SOME_WAIT, MANY_WAIT = 0.5, 8.5  # edges of the regimes, in requests

PROMPT: Final = COLUMN["prompt_tokens"]
EXPECTED: Final = COLUMN["expected_output_tokens"]
UNCACHED: Final = COLUMN["uncached_tokens"]
CONTEXT: Final = COLUMN["prefill_context"]
_QUEUED_TOKENS: Final = COLUMN["queued_prefill_tokens"]
_DECODING: Final = COLUMN["decoding_requests"]
_HELD: Final = COLUMN["context_ktok"]
_WAITING: Final = COLUMN["waiting_requests"]
_LOADED_CPU: Final = COLUMN["loaded_cpu_tokens"]
_LOADED_SHARED: Final = COLUMN["loaded_shared_tokens"]
_RATE: Final = COLUMN["prefill_tokens_per_s"]
_QUEUED: Final = COLUMN["queued_requests"]


def rows_of(features: FloatArray) -> FloatArray:
    """Give feature rows as kernels take them, which check no bounds.

    Raises:
        ValueError: They are not ``(n, N_FEATURES)``.
    """
    if features.ndim != 2 or features.shape[1] != N_FEATURES:
        raise ValueError(f"feature rows of shape {features.shape}")
    return plain(features)


@compiled
def known(value: float) -> float:
    """Give a feature's value; unknown, infinite and negative count as 0.

    >>> known(float("nan")), known(-1.0), known(2.0)
    (0.0, 0.0, 2.0)
    """
    return value if isfinite(value) and value > 0.0 else 0.0


@compiled
def regime(features: FloatArray, row: int) -> int:
    """Sort a row by what waits there: 0 nothing, 1 some, 2 many."""
    waiting = features[row, _QUEUED]
    scraped = features[row, _WAITING]
    if isnan(waiting) or scraped > waiting:
        waiting = scraped
    return int(waiting > SOME_WAIT) + int(waiting > MANY_WAIT)


@compiled
def lay_out(features: FloatArray, row: int, design: FloatArray) -> None:
    """Write the terms of one row into ``design``, ``(N_DESIGN,)``."""
    prompt = known(features[row, PROMPT])
    queued_tokens = known(features[row, _QUEUED_TOKENS])
    decoding = known(features[row, _DECODING])
    held_ktok = known(features[row, _HELD])
    rate = known(features[row, _RATE])
    design[0] = 1.0
    design[1] = known(features[row, UNCACHED])
    design[2] = queued_tokens
    design[3] = known(features[row, CONTEXT])
    design[4] = decoding
    design[5] = held_ktok
    design[6] = known(features[row, _WAITING])
    design[7] = known(features[row, _LOADED_CPU])
    design[8] = known(features[row, _LOADED_SHARED])
    design[9] = 1.0
    design[10] = decoding + 1.0  # this request is part of the batch,
    design[11] = held_ktok + prompt / 1e3  # its context of what is held
    # Both prefill terms saturate: no more than every step can carry a chunk.
    design[12] = rate / (1e3 + rate / BUSY_KTOK_PER_S)
    lasts = 1e3 * STEP_KTOK * max(known(features[row, EXPECTED]), 1.0)
    design[13] = queued_tokens / (queued_tokens + lasts)
    design[14] = known(features[row, _QUEUED])


@compiled
def remember(
    features: FloatArray,
    row: int,
    first: int,
    at: int,
    target_s: float,
    observed_s: float,
    weight: float,
    design: FloatArray,
    meta: FloatArray,
) -> None:
    """Write one row of what physics is fitted to: its terms from ``first`` on, and its label.

    Args:
        features: ``(n, N_FEATURES)``.
        row: Which of them.
        first: Term.
        at: Where to write.
        target_s: Label.
        observed_s: When it was known.
        weight: Of it.
        design: ``(room, n_terms)``.
        meta: ``(3, room)``: labels, times, weights.
    """
    terms = np.empty(N_DESIGN)
    lay_out(features, row, terms)
    for term in range(design.shape[1]):
        design[at, term] = terms[first + term]
    meta[0, at], meta[1, at], meta[2, at] = target_s, observed_s, weight


@compiled
def designs(features: FloatArray, design: FloatArray) -> None:
    """Write the terms of ``n`` rows into ``(n, N_DESIGN)``."""
    terms = np.empty(N_DESIGN)
    for row in range(len(features)):
        lay_out(features, row, terms)
        for term in range(N_DESIGN):
            design[row, term] = terms[term]


@compiled
def all_regimes(features: FloatArray, regimes: NDArray[np.intp]) -> None:
    """Write the regimes of ``n`` rows."""
    for row in range(len(features)):
        regimes[row] = regime(features, row)
