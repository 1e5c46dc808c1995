"""The physics of one request: which quantities add seconds to TTFT and TPOT.

Decides the terms of the two linear models, their units and what each is worth on
day 0. TTFT is a constant (network, tokeniser, half a step), plus the prefill queued
ahead and its own, plus what the running decodes add to those steps. TPOT is the step
time: fixed, per sequence, per context held, stretched by the prefill that arrives.
Unknown scraped values count as nothing waiting. What each term is made of is in
:mod:`predictor.kernels.terms`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.hardware import profile_of
from predictor.kernels.terms import N_DESIGN, N_REGIMES, all_regimes, designs, rows_of
from predictor.types import FloatArray

__all__ = [
    "N_DESIGN", "N_REGIMES", "PARTS", "TPOT_TERMS", "TTFT_TERMS",
    "DayZero", "design_of", "regimes", "tpot_day_zero", "ttft_day_zero",
]  # fmt: skip

TTFT_TERMS: Final = (
    "constant [s]",
    "own uncached tokens [s/token]",
    "queued prefill tokens [s/token]",
    "prefill context [s/Mtok^2]",
    "decoding requests [s/request]",
    "context held [s/ktok]",
    "waiting requests [s/request]",
    "tokens loaded from CPU memory [s/token]",
    "tokens loaded from shared storage [s/token]",
)
TPOT_TERMS: Final = (
    "step [s]",
    "sequences in the batch [s/request]",
    "context held [s/ktok]",
    "prefill rate [s/(ktok/s)]",
    "share of the decode that the queue prefills [s]",
    "queued requests [s/request]",
)
PARTS: Final = (slice(0, len(TTFT_TERMS)), slice(len(TTFT_TERMS), N_DESIGN))
"""Columns of :func:`design_of` by target."""

_CHUNK_TOKENS: Final = 2048  # vLLM's default max_num_batched_tokens: each chunk pays a step
_LOAD_S: Final[tuple[float, ...]] = (
    6e-6,
    6e-5,
)  # 130 KB a token of an 8B model over PCIe, over a network share
_NETWORK_S: Final = 0.015  # 6 to 29 ms were measured between client and engine


@dataclass(frozen=True, slots=True)
class DayZero:
    """Give a model's starting point before any label.

    Attributes:
        unit: ``(n_terms,)`` seconds per unit of each term, all positive: the size a fit
            measures its coefficients in.
        factor: ``(n_terms,)`` multiples of ``unit`` on day 0: 1, or 0 for a term that
            nothing is known of.
    """

    unit: FloatArray
    factor: FloatArray


def ttft_day_zero(hardware: str | None) -> DayZero:
    """Start TTFT from the hardware label, or order by queued plus own tokens without one.

    >>> ttft_day_zero(None).factor
    array([1., 1., 1., 0., 0., 0., 0., 1., 1.])
    """
    profile = profile_of(hardware)
    if profile is None:  # an H100-like rate; only the order it gives matters
        unit = np.array([0.03, 5e-5, 5e-5, 2e-3, 5e-4, 1e-3, 0.5, *_LOAD_S])
        return DayZero(unit, np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]))
    token = profile.prefill_token_s + profile.step_s / _CHUNK_TOKENS
    constant = _NETWORK_S + 1.5 * profile.step_s  # half a step of waiting, one of its own
    attention, decode = profile.attention_mtok2_s, 1.5 * profile.decode_s
    context = 1.5 * profile.context_ktok_s
    unit = np.array([constant, token, token, attention, decode, context, 0.5, *_LOAD_S])
    return DayZero(unit, np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0]))


def tpot_day_zero(hardware: str | None) -> DayZero:
    """Start TPOT from the hardware label, or from a nominal step without one.

    >>> day = tpot_day_zero("h100_sxm/llama-3.1-8b")
    >>> float(day.unit[0]), day.factor
    (0.006218, array([1., 1., 1., 1., 1., 0.]))
    """
    profile = profile_of(hardware)
    if profile is None:  # the mean of the known step times is 12.8 ms
        unit = np.array([0.0125, 5e-5, 1e-4, 5e-4, 0.0125, 5e-5])
        return DayZero(unit, np.array([1.0, 1.0, 1.0, 0.0, 1.0, 0.0]))
    stretch = profile.step_s * profile.prefill_token_s * 1e3  # step / (1 - rate * token)
    unit = np.array(
        [
            profile.step_s,
            profile.decode_s,
            profile.context_ktok_s,
            stretch,
            profile.step_s,
            profile.decode_s,
        ]
    )
    return DayZero(unit, np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0]))


def design_of(features: FloatArray) -> FloatArray:
    """Lay out the terms of ``n`` rows, ``(n, N_DESIGN)``: those of TTFT, then those of TPOT.

    >>> from predictor.features import COLUMN, N_FEATURES
    >>> row = np.full((1, N_FEATURES), np.nan)
    >>> row[0, COLUMN["uncached_tokens"]] = 400
    >>> design_of(row)[0, :2]
    array([  1., 400.])
    """
    design = np.empty((len(features), N_DESIGN))
    designs(rows_of(features), design)
    return design


def regimes(features: FloatArray) -> NDArray[np.intp]:
    """Sort rows, ``(n,)``, by what waits there: 0 nothing, 1 some, 2 many (over eight).

    >>> from predictor.features import COLUMN, N_FEATURES
    >>> row = np.full((1, N_FEATURES), np.nan)
    >>> row[0, COLUMN["queued_requests"]] = 3
    >>> regimes(row)
    array([1])
    """
    found = np.empty(len(features), dtype=np.intp)
    all_regimes(rows_of(features), found)
    return found
