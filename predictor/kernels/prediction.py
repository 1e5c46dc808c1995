"""A whole prediction: every expert at every endpoint, mixed, with quantiles and costs."""

from math import exp, isfinite, log, nan
from typing import Final

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
from predictor.kernels.compiled import Numbers, Record, compiled
from predictor.kernels.corrections import N_INPUTS, read_inputs, regressed
from predictor.kernels.mixture import mixed
from predictor.kernels.physics import log_seconds, marginal_costs
from predictor.kernels.terms import N_DESIGN, lay_out, regime
from predictor.types import LEVELS, FloatArray

RANKS, PREFILL, PREFILL_TOKEN, DECODE_STEP, QUANTILES = 2, 4, 5, 6, 7
"""Rows of what :func:`predict` writes, means by target first, quantiles by target and level."""
N_LEVELS: Final = len(LEVELS)
N_ROWS: Final = QUANTILES + 2 * N_LEVELS

_MAX_LOG: Final = log(7200.0)


@compiled
def consult(
    experts: FloatArray, row: int, target: int, prior: float, smooth: float, bias: Numbers,
    bias_place: int, fleet_bias: Numbers,
) -> None:  # fmt: skip
    """Complete one target's experts, of which the boosted ones are there."""
    ratio = experts[row, target, RATIO]
    best = ratio if isfinite(ratio) else prior
    experts[row, target, SMOOTH] = smooth
    experts[row, target, PRIOR] = prior
    experts[row, target, PRIOR_BIAS] = prior + bias["shrunk"][bias_place, target, 0]
    experts[row, target, RATIO_BIAS] = ratio + bias["shrunk"][bias_place, target, 1]
    experts[row, target, FLEET_BIAS] = best + fleet_bias["mean"][target]


@compiled
def state(
    mean: float, target: int, waits: int, calibration: Numbers, row: int, seconds: FloatArray
) -> None:
    """Write one target's expectation and quantiles."""
    seconds[target, row] = exp(min(mean, _MAX_LOG))
    for level in range(N_LEVELS):
        quantile = exp(min(mean + calibration["offsets"][level, waits], _MAX_LOG))
        seconds[QUANTILES + target * N_LEVELS + level, row] = quantile


@compiled
def predict(
    features: FloatArray,
    boosted: FloatArray,
    coefficients: FloatArray,
    places: NDArray[np.intp],
    bias_places: NDArray[np.intp],
    mixture: Record,
    bias: Record,
    fleet_bias: Record,
    shared_bias: Record,
    regression: Record,
    ttft_calibration: Record,
    tpot_calibration: Record,
    experts: FloatArray,
    seconds: FloatArray,
) -> None:
    """Predict for ``n`` rows.

    Args:
        features: ``(n, N_FEATURES)``.
        boosted: ``(n, 4)`` log seconds by the trained models, of TTFT first, or none.
        coefficients: ``(n_places, 3, N_DESIGN)`` of physics.
        places: ``(n,)`` where the endpoints are in these.
        bias_places: ``(n,)`` where they are in the biases, of the first regime.
        mixture: Whom to follow.
        bias: Of the endpoints.
        fleet_bias: Of all.
        shared_bias: Of ranking.
        regression: On the residual of physics.
        ttft_calibration: Has the quantiles' distances.
        tpot_calibration: Likewise.
        experts: Gets ``(n, 2, N_EXPERTS)`` log seconds.
        seconds: Gets ``(N_ROWS, n)``.
    """
    design, inputs, costs = np.empty(N_DESIGN), np.empty(N_INPUTS), np.empty(3)
    for row in range(len(features)):
        lay_out(features, row, design)
        read_inputs(features, row, inputs)
        waits, place = regime(features, row), places[row]
        biased = bias_places[row] + waits
        for target in range(2):
            prior, smooth = log_seconds(design, coefficients, place, target)
            for model in range(2):
                said = boosted[row, 2 * target + model] if len(boosted) else nan
                experts[row, target, RATIO + model] = said
            consult(experts, row, target, prior, smooth, bias[0], biased, fleet_bias[0])
            experts[row, target, PRIOR_RIVER] = prior + regressed(inputs, target, regression[0])
            mean = mixed(experts, row, target, mixture[0], waits)
            calibration = ttft_calibration if target == 0 else tpot_calibration
            state(mean, target, waits, calibration[0], row, seconds)
            ranked = exp(min(smooth + shared_bias[0]["given"][target], _MAX_LOG))
            seconds[RANKS + target, row] = ranked
        marginal_costs(features, row, coefficients, place, costs)
        for which in range(len(costs)):
            seconds[PREFILL + which, row] = costs[which]
