"""A whole prediction: every expert at every endpoint, mixed, with quantiles and costs."""

from math import exp, isfinite, log, nan
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from predictor.experts import (
    FLEET_BIAS,
    PRIOR,
    PRIOR_BIAS,
    PRIOR_RIVER,
    RATIO,
    RATIO_BIAS,
    SMOOTH,
)
from predictor.kernels.compiled import compiled
from predictor.kernels.corrections import N_INPUTS, read_inputs, regressed
from predictor.kernels.mixture import mixed
from predictor.kernels.physics import decode_step_s, log_seconds, prefill_s, prefill_token_s
from predictor.kernels.terms import N_DESIGN, lay_out, regime
from predictor.types import LEVELS, FloatArray

RANKS, PREFILL, DECODE_STEP, PREFILL_TOKEN, QUANTILES = 2, 4, 5, 6, 7
"""Rows of what :func:`predict` writes, means by target first, quantiles by target and level."""
N_LEVELS: Final = len(LEVELS)
N_ROWS: Final = QUANTILES + 2 * N_LEVELS

_MAX_LOG: Final = log(7200.0)


class Beliefs(NamedTuple):
    """Share the arrays that what was learned is read from, as their owners write them.

    Attributes:
        weights: ``(2, N_REGIMES, N_EXPERTS)`` of the mixture, by target.
        biases: ``(places, 2, 2)`` log corrections by endpoint and regime, target, expert.
        fleet: ``(2,)`` log correction of the whole fleet's last labels.
        shared: ``(2,)`` log correction all candidates share in ranking.
        slopes: ``(2, N_INPUTS + 1)`` of the regression on the residual.
        cap_log: Largest correction by it.
        ttft_offsets: ``(len(LEVELS), N_REGIMES)`` log distances to the quantiles.
        tpot_offsets: Likewise.
    """

    weights: FloatArray
    biases: FloatArray
    fleet: FloatArray
    shared: FloatArray
    slopes: FloatArray
    cap_log: float
    ttft_offsets: FloatArray
    tpot_offsets: FloatArray


@compiled
def consult(
    experts: FloatArray, row: int, target: int, prior: float, smooth: float, biased: int,
    beliefs: Beliefs,
) -> None:  # fmt: skip
    """Complete one target's experts, of which the boosted ones are there."""
    ratio = experts[row, target, RATIO]
    best = ratio if isfinite(ratio) else prior
    experts[row, target, SMOOTH] = smooth
    experts[row, target, PRIOR] = prior
    experts[row, target, PRIOR_BIAS] = prior + beliefs.biases[biased, target, 0]
    experts[row, target, RATIO_BIAS] = ratio + beliefs.biases[biased, target, 1]
    experts[row, target, FLEET_BIAS] = best + beliefs.fleet[target]


@compiled
def state(
    mean: float, target: int, regime_: int, offsets: FloatArray, row: int, seconds: FloatArray
) -> None:
    """Write one target's expectation and quantiles."""
    seconds[target, row] = exp(min(mean, _MAX_LOG))
    for level in range(N_LEVELS):
        quantile = exp(min(mean + offsets[level, regime_], _MAX_LOG))
        seconds[QUANTILES + target * N_LEVELS + level, row] = quantile


@compiled
def predict(
    features: FloatArray,
    boosted: FloatArray,
    coefficients: FloatArray,
    places: NDArray[np.intp],
    bias_rows: NDArray[np.intp],
    beliefs: Beliefs,
    experts: FloatArray,
    seconds: FloatArray,
) -> None:
    """Predict for ``n`` rows.

    Args:
        features: ``(n, N_FEATURES)``.
        boosted: ``(n, 4)`` log seconds by the trained models, of TTFT first, or none.
        coefficients: ``(n_places, 3, N_DESIGN)`` of physics.
        places: ``(n,)`` where the endpoints are in these.
        bias_rows: ``(n,)`` where they are in the biases, of the first regime.
        beliefs: What was learned.
        experts: Gets ``(n, 2, N_EXPERTS)`` log seconds.
        seconds: Gets ``(N_ROWS, n)``.
    """
    design, inputs = np.empty(N_DESIGN), np.empty(N_INPUTS)
    for row in range(len(features)):
        lay_out(features, row, design)
        read_inputs(features, row, inputs)
        waits, place = regime(features, row), places[row]
        for target in range(2):
            prior, smooth = log_seconds(design, coefficients, place, target)
            for model in range(2):
                said = boosted[row, 2 * target + model] if len(boosted) else nan
                experts[row, target, RATIO + model] = said
            consult(experts, row, target, prior, smooth, bias_rows[row] + waits, beliefs)
            correction = regressed(inputs, target, beliefs.slopes, beliefs.cap_log)
            experts[row, target, PRIOR_RIVER] = prior + correction
            mean = mixed(experts, row, target, beliefs.weights, waits)
            if target == 0:
                state(mean, target, waits, beliefs.ttft_offsets, row, seconds)
            else:
                state(mean, target, waits, beliefs.tpot_offsets, row, seconds)
            ranked = exp(min(smooth + beliefs.shared[target], _MAX_LOG))
            seconds[RANKS + target, row] = ranked
        seconds[PREFILL, row] = prefill_s(features, row, coefficients, place)
        seconds[DECODE_STEP, row] = decode_step_s(features, row, coefficients, place)
        seconds[PREFILL_TOKEN, row] = prefill_token_s(coefficients, place)
