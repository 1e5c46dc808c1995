"""Corrections of the log residual, label by label, as :mod:`predictor.correction` says."""

from functools import lru_cache
from math import isfinite, log1p, sqrt
from typing import Final

import numpy as np

from predictor.features import COLUMN
from predictor.kernels.compiled import Numbers, Record, compiled
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


@lru_cache(maxsize=16)  # calls with the same one take half the time of calls with its equal
def bias_dtype(places: int, n_experts: int) -> np.dtype[np.void]:
    """Name the numbers of a :class:`predictor.correction.Bias`.

    By place (endpoint and regime), target and expert: ``mean`` log residual, ``labels`` it is
    a mean of, and what of it predictions are corrected by, ``shrunk``. ``rate`` is what a label
    moves the mean by at least, ``shrink`` the labels that halve it, ``cap_log`` its bound.
    """
    shape = (places, 2, n_experts)
    arrays = [(name, "f8", shape) for name in ("mean", "labels", "shrunk")]
    return np.dtype([*arrays, ("rate", "f8"), ("shrink", "f8"), ("cap_log", "f8")])


FLEET_BIAS: Final = np.dtype(
    [("mean", "f8", (2,)), ("labels", "f8", (2,)), ("rate", "f8"), ("cap_log", "f8")]
)
"""The numbers, by target, of a :class:`predictor.correction.FleetBias`."""

SHARED_BIAS: Final = np.dtype(
    [
        *[(name, "f8", (2,)) for name in ("mean", "gain", "given")],
        *[(name, "f8") for name in ("rate", "cap_log")],
    ]
)
"""The numbers, by target, of a :class:`predictor.correction.SharedBias`: ``gain`` is the error
without the correction minus that with it, decayed; ``given`` the correction, 0 while it
gains nothing."""

REGRESSION: Final = np.dtype(
    [
        *[(name, "f8", (2,)) for name in ("labels", "intercept")],
        *[(name, "f8", (2, N_INPUTS)) for name in ("mean", "variance", "weight")],
        ("slopes", "f8", (2, N_INPUTS + 1)),
        *[(name, "f8") for name in ("rate", "cap_log")],
    ]
)
"""The numbers, by target and input, of a :class:`predictor.correction.ResidualRegressor`:
``weight`` and ``intercept`` are of inputs in standard deviations, ``slopes`` of inputs as
they are, last the intercept."""


@compiled
def bounded(value: float, cap: float) -> float:
    """Hold a value between ``-cap`` and ``cap``.

    >>> bounded(2.0, 1.5), bounded(-2.0, 1.5)
    (1.5, -1.5)
    """
    return min(max(value, -cap), cap)


@compiled
def learn_bias(state: Numbers, place: int, target: int, expert: int, residual: float) -> None:
    """Take in one expert's log residual of one label; one that is not finite says nothing."""
    if not isfinite(residual):
        return
    count = state["labels"][place, target, expert] + 1.0
    mean = state["mean"][place, target, expert]
    mean += max(state["rate"], 1.0 / count) * (bounded(residual, 2 * state["cap_log"]) - mean)
    state["labels"][place, target, expert] = count
    state["mean"][place, target, expert] = mean
    shrunk = mean * count / (count + state["shrink"])
    state["shrunk"][place, target, expert] = bounded(shrunk, state["cap_log"])


@compiled
def learn_fleet_bias(state: Numbers, target: int, residual: float) -> None:
    """Take in one label's log residual; one that is not finite says nothing."""
    if not isfinite(residual):
        return
    state["labels"][target] += 1.0
    rate = max(state["rate"], 1.0 / state["labels"][target])
    state["mean"][target] += rate * (bounded(residual, state["cap_log"]) - state["mean"][target])


@compiled
def learn_shared_bias(state: Numbers, target: int, residual: float) -> None:
    """Take in one label's log residual of the smooth prediction, where finite."""
    if not isfinite(residual):
        return
    residual = bounded(residual, state["cap_log"])
    step = residual - state["mean"][target]
    gain = abs(residual) - abs(step)
    state["gain"][target] += state["rate"] * (gain - state["gain"][target])
    state["mean"][target] += state["rate"] * step
    state["given"][target] = state["mean"][target] if state["gain"][target] > 0 else 0.0


@compiled
def read_inputs(features: FloatArray, row: int, inputs: FloatArray) -> None:
    """Write the regression's inputs of one row, ``(N_INPUTS,)``."""
    for which in range(N_INPUTS):
        inputs[which] = log1p(known(features[row, _COLUMNS[which]]))


@compiled
def regressed(inputs: FloatArray, target: int, state: Numbers) -> float:
    """Give the regression's log correction."""
    total = state["slopes"][target, N_INPUTS]
    for which in range(N_INPUTS):
        total += state["slopes"][target, which] * inputs[which]
    return bounded(total, state["cap_log"])


@compiled
def regress(features: FloatArray, regression: Record, said: FloatArray) -> None:
    """Write ``(n, 2)`` log corrections of ``n`` rows."""
    inputs = np.empty(N_INPUTS)
    for row in range(len(features)):
        read_inputs(features, row, inputs)
        for target in range(2):
            said[row, target] = regressed(inputs, target, regression[0])


@compiled
def learn_regression(
    state: Numbers, features: FloatArray, row: int, target: int, residual: float
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
    state["labels"][target] += 1.0
    said = state["intercept"][target]
    for which in range(N_INPUTS):
        value, before = inputs[which], state["mean"][target, which]
        mean = before + (value - before) / state["labels"][target]
        variance = state["variance"][target, which]
        variance += ((value - before) * (value - mean) - variance) / state["labels"][target]
        state["mean"][target, which], state["variance"][target, which] = mean, variance
        unit = (value - mean) / sqrt(variance) if variance else 0.0
        inputs[which] = bounded(unit, _FURTHEST_UNIT)
        said += state["weight"][target, which] * inputs[which]
    step = state["rate"] * bounded(said - bounded(residual, 2 * state["cap_log"]), _HUBER)
    state["intercept"][target] -= step
    centre = 0.0
    for which in range(N_INPUTS):
        weight = state["weight"][target, which] - step * inputs[which]
        variance = state["variance"][target, which]
        slope = weight / sqrt(variance) if variance > _LEAST_VARIANCE else 0.0
        state["weight"][target, which], state["slopes"][target, which] = weight, slope
        centre += slope * state["mean"][target, which]
    state["slopes"][target, N_INPUTS] = state["intercept"][target] - centre
