"""What one label moves besides quantiles and physics: whom to follow, and corrections."""

from math import isfinite

import numpy as np

from predictor.experts import N_EXPERTS, PRIOR, RATIO, SMOOTH
from predictor.kernels import mixture
from predictor.kernels.compiled import compiled
from predictor.kernels.corrections import (
    BiasState,
    FleetBiasState,
    RegressionState,
    SharedBiasState,
    learn_bias,
    learn_fleet_bias,
    learn_regression,
    learn_shared_bias,
)
from predictor.kernels.mixture import MixtureState
from predictor.types import FloatArray


@compiled
def correct(
    features: FloatArray,
    waits: int,
    target: int,
    log_actual: float,
    experts: FloatArray,
    bias_place: int,
    mixture_state: MixtureState,
    bias: BiasState,
    fleet_bias: FleetBiasState,
    shared_bias: SharedBiasState,
    regression: RegressionState,
) -> None:
    """Learn from one label.

    Args:
        features: ``(1, N_FEATURES)`` at dispatch.
        waits: Regime.
        target: Which.
        log_actual: Log seconds measured.
        experts: ``(2, N_EXPERTS)`` log seconds said at dispatch.
        bias_place: Of the endpoint and regime.
        mixture_state: Whom to follow.
        bias: Of the endpoint.
        fleet_bias: Of all.
        shared_bias: Of ranking.
        regression: On the residual of physics.
    """
    residuals, errors = np.empty(N_EXPERTS), np.empty(N_EXPERTS)
    for expert in range(N_EXPERTS):
        residuals[expert] = log_actual - experts[target, expert]
        errors[expert] = abs(residuals[expert])
    mixture.learn(mixture_state, target, waits, errors)
    ratio, prior = residuals[RATIO], residuals[PRIOR]
    learn_bias(bias, bias_place, target, 0, prior)
    learn_bias(bias, bias_place, target, 1, ratio)
    learn_fleet_bias(fleet_bias, target, ratio if isfinite(ratio) else prior)
    learn_shared_bias(shared_bias, target, residuals[SMOOTH])
    learn_regression(regression, features, 0, target, prior)
