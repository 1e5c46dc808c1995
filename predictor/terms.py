"""The physics of one request: which quantities add seconds to TTFT and TPOT.

Decides the terms of the two linear models, their units and what each is worth on
day 0. TTFT is a constant (network, tokeniser, half a step), plus the prefill queued
ahead and its own, plus what the running decodes add to those steps. TPOT is the step
time: fixed, per sequence, per context held, stretched by the prefill that arrives.
Unknown scraped values count as nothing waiting.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.features import COLUMN
from predictor.hardware import profile_of
from predictor.types import FloatArray

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
PARTS: Final = (
    slice(0, len(TTFT_TERMS)),
    slice(len(TTFT_TERMS), len(TTFT_TERMS) + len(TPOT_TERMS)),
)
"""Columns of :attr:`Terms.design` by target."""

OWN_TOKEN: Final = 1
OWN_CONTEXT: Final = 3
SEQUENCE: Final = 1
HELD_CONTEXT: Final = 2

_CHUNK_TOKENS: Final = 2048  # vLLM's default max_num_batched_tokens: each chunk pays a step
_STEP_KTOK: Final = 0.1  # thousand tokens prefilled beside one decode step while a queue lasts
_BUSY_KTOK_PER_S: Final = 40.0  # of the order of what a GPU prefills: more cannot arrive for long
_LOAD_S: Final = (6e-6, 6e-5)  # 130 KB a token of an 8B model over PCIe, over a network share
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


def known_rows(features: FloatArray) -> FloatArray:
    """Copy feature rows with unknown, infinite and negative values as 0."""
    return np.where(np.isfinite(features), np.maximum(features, 0.0), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Lay out ``n`` rows, once for all that read them.

    Attributes:
        known: ``(n, n_features)``, as :func:`known_rows` gives them.
        design: ``(n, n_terms)``: the terms of TTFT, then those of TPOT.
        regimes: ``(n,)``, as :func:`regimes` gives them.
    """

    known: FloatArray
    design: FloatArray
    regimes: NDArray[np.intp]

    @classmethod
    def of(cls, features: FloatArray) -> "Terms":
        """Lay out feature rows.

        >>> row = np.full((1, len(COLUMN)), np.nan)
        >>> row[0, COLUMN["uncached_tokens"]] = 400
        >>> Terms.of(row).design[0, :2]
        array([  1., 400.])
        """
        known = known_rows(features)
        design = known.take(_DESIGN_COLUMNS, axis=1)
        tpot = design[:, PARTS[1]]
        design[:, 0] = tpot[:, 0] = 1.0
        tpot[:, 1] += 1.0  # this request is part of the batch, its context of what is held
        tpot[:, 2] += known[:, COLUMN["prompt_tokens"]] / 1e3
        # Both prefill terms saturate: no more than every step can carry a chunk.
        rate, queued = tpot[:, 3], tpot[:, 4]
        rate /= 1e3 + rate / _BUSY_KTOK_PER_S
        lasts = 1e3 * _STEP_KTOK * np.maximum(known[:, COLUMN["expected_output_tokens"]], 1.0)
        queued /= queued + lasts
        return cls(known=known, design=design, regimes=regimes(features))


def regimes(features: FloatArray) -> NDArray[np.intp]:
    """Sort rows, ``(n,)``, by what waits there: 0 nothing, 1 some, 2 many (over eight).

    >>> row = np.full((1, len(COLUMN)), np.nan)
    >>> row[0, COLUMN["queued_requests"]] = 3
    >>> regimes(row)
    array([1])
    """
    queued = features[:, COLUMN["queued_requests"]]
    waiting = np.fmax(queued, features[:, COLUMN["waiting_requests"]])
    some, many = _REGIME_EDGES
    return np.add(waiting > some, waiting > many, dtype=np.intp)


N_REGIMES: Final = 3
_REGIME_EDGES: Final = (0.5, 8.5)
_DESIGN_COLUMNS: Final = [
    COLUMN[name]
    for name in (
        "prompt_tokens",  # in place of the constant
        "uncached_tokens",
        "queued_prefill_tokens",
        "prefill_context",
        "decoding_requests",
        "context_ktok",
        "waiting_requests",
        "loaded_cpu_tokens",
        "loaded_shared_tokens",
        "prompt_tokens",  # in place of the step
        "decoding_requests",
        "context_ktok",
        "prefill_tokens_per_s",
        "queued_prefill_tokens",
        "queued_requests",
    )
]
"""What each term is made of."""
