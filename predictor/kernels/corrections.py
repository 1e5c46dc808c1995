"""Corrections of the log residual, label by label, as :mod:`predictor.correction` says."""

from math import isfinite, log1p, sqrt
from typing import Final, NamedTuple

import numpy as np

from predictor.features import COLUMN
from predictor.kernels.compiled import compiled
from predictor.kernels.terms import known
from predictor.types import FloatArray

REGRESSION_INPUTS: Final = (
    "prompt_tokens",
    "uncached_tokens",
    "queued_requests",
    "queued_prefill_tokens",
    "decoding_requests",
    "context_ktok",
    "waiting_requests",
    "prefill_tokens_per_s",
)
"""What the regression on the residual of physics reads, each as log(1 + value)."""
N_INPUTS: Final = len(REGRESSION_INPUTS)
_COLUMNS: Final = tuple(COLUMN[name] for name in REGRESSION_INPUTS)
_FURTHEST_UNIT: Final = 4.0  # standard deviations a regression's input counts at most
_HUBER: Final = 0.3  # log seconds beyond which a residual pulls no harder
_LEAST_VARIANCE: Final = 1e-12


class BiasState(NamedTuple):
    """Share the arrays of a :class:`predictor.correction.Bias`.

    Attributes:
        mean: ``(places, 2, n_experts)`` mean log residual by endpoint and regime, target.
        labels: Likewise, how many it is a mean of.
        shrunk: Likewise, what predictions are corrected by.
        rate: What a label moves the mean by, at least.
        shrink: Labels that halve the correction.
        cap_log: Largest correction.
    """

    mean: FloatArray
    labels: FloatArray
    shrunk: FloatArray
    rate: float
    shrink: float
    cap_log: float


class FleetBiasState(NamedTuple):
    """Share the arrays, ``(2,)`` each, of a :class:`predictor.correction.FleetBias`."""

    mean: FloatArray
    labels: FloatArray
    rate: float
    cap_log: float


class SharedBiasState(NamedTuple):
    """Share the arrays, ``(2,)`` each, of a :class:`predictor.correction.SharedBias`.

    Attributes:
        mean: Mean log residual.
        gain: Error without the correction minus error with it, decayed.
        given: The correction, 0 while it gains nothing.
        rate: What a label moves them by.
        cap_log: Largest correction.
    """

    mean: FloatArray
    gain: FloatArray
    given: FloatArray
    rate: float
    cap_log: float


class RegressionState(NamedTuple):
    """Share the arrays of a :class:`predictor.correction.ResidualRegressor`.

    Attributes:
        labels: ``(2,)`` learned.
        mean: ``(2, N_INPUTS)`` of the inputs.
        variance: Likewise.
        weight: Likewise, of the inputs in standard deviations.
        intercept: ``(2,)`` with these.
        slopes: ``(2, N_INPUTS + 1)`` of the inputs as they are, last the intercept.
        rate: Step of the gradient.
        cap_log: Largest correction.
    """

    labels: FloatArray
    mean: FloatArray
    variance: FloatArray
    weight: FloatArray
    intercept: FloatArray
    slopes: FloatArray
    rate: float
    cap_log: float


@compiled
def bounded(value: float, cap: float) -> float:
    """Hold a value between ``-cap`` and ``cap``.

    >>> bounded(2.0, 1.5), bounded(-2.0, 1.5)
    (1.5, -1.5)
    """
    return min(max(value, -cap), cap)


@compiled
def learn_bias(state: BiasState, place: int, target: int, expert: int, residual: float) -> None:
    """Take in one expert's log residual of one label; one that is not finite says nothing."""
    if not isfinite(residual):
        return
    count = state.labels[place, target, expert] + 1.0
    mean = state.mean[place, target, expert]
    mean += max(state.rate, 1.0 / count) * (bounded(residual, 2 * state.cap_log) - mean)
    state.labels[place, target, expert] = count
    state.mean[place, target, expert] = mean
    shrunk = mean * count / (count + state.shrink)
    state.shrunk[place, target, expert] = bounded(shrunk, state.cap_log)


@compiled
def learn_fleet_bias(state: FleetBiasState, target: int, residual: float) -> None:
    """Take in one label's log residual; one that is not finite says nothing."""
    if not isfinite(residual):
        return
    state.labels[target] += 1.0
    rate = max(state.rate, 1.0 / state.labels[target])
    state.mean[target] += rate * (bounded(residual, state.cap_log) - state.mean[target])


@compiled
def learn_shared_bias(state: SharedBiasState, target: int, residual: float) -> None:
    """Take in one label's log residual of the smooth prediction, where finite."""
    if not isfinite(residual):
        return
    residual = bounded(residual, state.cap_log)
    step = residual - state.mean[target]
    gain = abs(residual) - abs(step)
    state.gain[target] += state.rate * (gain - state.gain[target])
    state.mean[target] += state.rate * step
    state.given[target] = state.mean[target] if state.gain[target] > 0 else 0.0


@compiled
def read_inputs(features: FloatArray, row: int, inputs: FloatArray) -> None:
    """Write the regression's inputs of one row, ``(N_INPUTS,)``."""
    for which in range(N_INPUTS):
        inputs[which] = log1p(known(features[row, _COLUMNS[which]]))


@compiled
def regressed(inputs: FloatArray, target: int, slopes: FloatArray, cap_log: float) -> float:
    """Give the regression's log correction."""
    total = slopes[target, N_INPUTS]
    for which in range(N_INPUTS):
        total += slopes[target, which] * inputs[which]
    return bounded(total, cap_log)


@compiled
def regress(features: FloatArray, slopes: FloatArray, cap_log: float, said: FloatArray) -> None:
    """Write ``(n, 2)`` log corrections of ``n`` rows."""
    inputs = np.empty(N_INPUTS)
    for row in range(len(features)):
        read_inputs(features, row, inputs)
        for target in range(2):
            said[row, target] = regressed(inputs, target, slopes, cap_log)


@compiled
def learn_regression(
    state: RegressionState, features: FloatArray, row: int, target: int, residual: float
) -> None:
    """Take in one row and its log residual; one that is not finite says nothing.

    Inputs are scaled by their running mean and variance (Welford), then one step of
    stochastic gradient on the Huber loss: what river's ``StandardScaler`` and
    ``LinearRegression`` do.
    """
    if not isfinite(residual):
        return
    inputs = np.empty(N_INPUTS)
    read_inputs(features, row, inputs)
    state.labels[target] += 1.0
    said = state.intercept[target]
    for which in range(N_INPUTS):
        value, before = inputs[which], state.mean[target, which]
        mean = before + (value - before) / state.labels[target]
        variance = state.variance[target, which]
        variance += ((value - before) * (value - mean) - variance) / state.labels[target]
        state.mean[target, which], state.variance[target, which] = mean, variance
        unit = (value - mean) / sqrt(variance) if variance else 0.0
        inputs[which] = bounded(unit, _FURTHEST_UNIT)
        said += state.weight[target, which] * inputs[which]
    step = state.rate * bounded(said - bounded(residual, 2 * state.cap_log), _HUBER)
    state.intercept[target] -= step
    centre = 0.0
    for which in range(N_INPUTS):
        weight = state.weight[target, which] - step * inputs[which]
        variance = state.variance[target, which]
        slope = weight / sqrt(variance) if variance > _LEAST_VARIANCE else 0.0
        state.weight[target, which], state.slopes[target, which] = weight, slope
        centre += slope * state.mean[target, which]
    state.slopes[target, N_INPUTS] = state.intercept[target] - centre
