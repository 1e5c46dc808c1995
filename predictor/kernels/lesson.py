"""What one label moves besides quantiles and physics: whom to follow, and corrections."""

from math import isfinite

import numpy as np

from predictor.experts import N_EXPERTS, PRIOR, RATIO, SMOOTH
from predictor.kernels.compiled import Record, compiled
from predictor.kernels.corrections import (
    learn_bias,
    learn_fleet_bias,
    learn_regression,
    learn_shared_bias,
)
from predictor.kernels.mixture import learn as learn_errors
from predictor.types import FloatArray


@compiled
def correct(
    features: FloatArray,
    row: int,
    waits: int,
    target: int,
    log_actual: float,
    experts: FloatArray,
    bias_place: int,
    mixture: Record,
    bias: Record,
    fleet_bias: Record,
    shared_bias: Record,
    regression: Record,
) -> None:
    """Learn from one label.

    Args:
        features: ``(n, N_FEATURES)`` at dispatch.
        row: Which of them. (A constant would be compiled for.)
        waits: Regime.
        target: Which.
        log_actual: Log seconds measured.
        experts: ``(2, N_EXPERTS)`` log seconds said at dispatch.
        bias_place: Of the endpoint and regime.
        mixture: Whom to follow.
        bias: Of the endpoint.
        fleet_bias: Of all.
        shared_bias: Of ranking.
        regression: On the residual of physics.
    """
    residuals, errors = np.empty(N_EXPERTS), np.empty(N_EXPERTS)
    for expert in range(N_EXPERTS):
        residuals[expert] = log_actual - experts[target, expert]
        errors[expert] = abs(residuals[expert])
    learn_errors(mixture[0], target, waits, errors)
    ratio, prior = residuals[RATIO], residuals[PRIOR]
    for which in range(2):
        learn_bias(bias[0], bias_place, target, which, residuals[PRIOR + which])
    learn_fleet_bias(fleet_bias[0], target, ratio if isfinite(ratio) else prior)
    learn_shared_bias(shared_bias[0], target, residuals[SMOOTH])
    learn_regression(regression[0], features, row, target, prior)
