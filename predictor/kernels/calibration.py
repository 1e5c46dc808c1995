"""Conformal quantiles of recent log residuals, as :mod:`predictor.calibration` says."""

from math import ceil, exp, log
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from predictor.kernels.compiled import compiled
from predictor.kernels.terms import N_REGIMES
from predictor.types import LEVELS, P50, P90, FloatArray

N_LEVELS: Final = len(LEVELS)
EVERY: Final = N_REGIMES
"""Position of the window of all regimes, behind those of each."""
_BOUNDS: Final = ((0.3, 0.7), (0.6, 0.995), (0.9, 1.0))  # what each level may adapt to
_REGIME_ROWS: Final = 30.0
_CURVE_ROWS: Final = 400  # points that the empirical curve is read from
_LEAST_OFFSET: Final = 0.01
_LOG_NINE: Final = log(9.0)


class CalibrationState(NamedTuple):
    """Share the arrays of a :class:`predictor.calibration.Calibration`.

    Attributes:
        ordered: ``(N_REGIMES + 1, room)`` residuals of each window, rising.
        residuals: Likewise in the order they came, a ring.
        times: Likewise, when each was known.
        first: ``(N_REGIMES + 1,)`` where the ring starts.
        kept: ``(N_REGIMES + 1,)`` how many residuals there are.
        levels: ``(N_LEVELS, N_REGIMES)``, adapted.
        overall: ``(N_LEVELS,)`` distances of all regimes together.
        offsets: ``(N_LEVELS, N_REGIMES)`` log distances, not falling along the levels.
        log_width: ``(N_REGIMES,)`` by how much the 90 % quantile is widened, in log.
        default: ``(N_LEVELS,)`` distances before any data.
        window_rows: Residuals kept at least.
        window_s: How long they are kept at least.
        step: Of the levels, per label.
        stated_step: Of the width, per label.
        widest_log: Largest width.
        cap_log: Largest distance.
        default_rows: What the default weighs, in rows.
    """

    ordered: FloatArray
    residuals: FloatArray
    times: FloatArray
    first: NDArray[np.intp]
    kept: NDArray[np.intp]
    levels: FloatArray
    overall: FloatArray
    offsets: FloatArray
    log_width: FloatArray
    default: FloatArray
    window_rows: int
    window_s: float
    step: float
    stated_step: float
    widest_log: float
    cap_log: float
    default_rows: float


@compiled
def place_of(ordered: FloatArray, window: int, count: int, value: float) -> int:
    """Give how many residuals of a window lie below a value."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        if ordered[window, middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def drop_oldest(state: CalibrationState, window: int) -> None:
    """Forget the oldest residual of a window."""
    first, count = state.first[window], state.kept[window] - 1
    place = place_of(state.ordered, window, count + 1, state.residuals[window, first])
    for later in range(place, count):
        state.ordered[window, later] = state.ordered[window, later + 1]
    state.first[window] = (first + 1) % state.residuals.shape[1]
    state.kept[window] = count


@compiled
def keep(state: CalibrationState, window: int, residual: float, at_s: float) -> None:
    """Take a residual into a window, and forget what is too old or too much there."""
    room = state.residuals.shape[1]
    if state.kept[window] == room:
        drop_oldest(state, window)
    count = state.kept[window]
    place = place_of(state.ordered, window, count, residual)
    for later in range(count, place, -1):
        state.ordered[window, later] = state.ordered[window, later - 1]
    state.ordered[window, place] = residual
    end = (state.first[window] + count) % room
    state.residuals[window, end], state.times[window, end] = residual, at_s
    state.kept[window] = count + 1
    oldest_s = at_s - state.window_s
    while (
        state.kept[window] > state.window_rows
        and state.times[window, state.first[window]] <= oldest_s
    ):
        drop_oldest(state, window)


@compiled
def quantile(state: CalibrationState, window: int, level: float) -> float:
    """Give the conformal quantile: the order statistic at ``ceil(level * (n + 1))``."""
    count = state.kept[window]
    return float(state.ordered[window, min(ceil(level * (count + 1)), count) - 1])


@compiled
def held_within(state: CalibrationState, level: int, offset: float) -> float:
    """Hold a distance within its bounds: only the median may lie below the prediction."""
    lowest = -state.cap_log if level == P50 else 0.0
    return min(max(offset, lowest), state.cap_log)


@compiled
def adapt(state: CalibrationState, level: int, waits: int, step: float) -> None:
    """Move an adapted level."""
    lowest, highest = _BOUNDS[level]
    state.levels[level, waits] = min(max(state.levels[level, waits] + step, lowest), highest)


@compiled
def widen(state: CalibrationState, waits: int, share: float) -> None:
    """Widen a regime's 90 % quantile by what was stated and missed."""
    log_width = state.log_width[waits] + state.stated_step * share
    state.log_width[waits] = min(max(log_width, 0.0), state.widest_log)


@compiled
def set_overall(state: CalibrationState, level: int) -> None:
    """Write the distance of all regimes together, blended with the default."""
    count, weight = state.kept[EVERY], state.default_rows
    found = quantile(state, EVERY, LEVELS[level])
    blended = (count * found + weight * state.default[level]) / (count + weight)
    state.overall[level] = held_within(state, level, blended)


@compiled
def set_offset(state: CalibrationState, level: int, waits: int) -> None:
    """Write a regime's distance: of its own residuals, as far as there are enough."""
    count = state.kept[waits]
    share = count / (count + _REGIME_ROWS)
    own = quantile(state, waits, state.levels[level, waits])
    blended = share * own + (1.0 - share) * state.overall[level]
    widened = exp(state.log_width[waits]) if level == P90 else 1.0
    state.offsets[level, waits] = held_within(state, level, blended * widened)


@compiled
def let_rise(offsets: FloatArray) -> None:
    """Make distances not fall along the levels."""
    for level in range(1, N_LEVELS):
        for regime in range(N_REGIMES):
            offsets[level, regime] = max(offsets[level, regime], offsets[level - 1, regime])


@compiled
def learn(
    state: CalibrationState, waits: int, residual: float, at_s: float, covered: float, counted: bool
) -> None:
    """Take in one log residual.

    Args:
        state: Of the target.
        waits: Regime.
        residual: Log of actual over predicted.
        at_s: When it was known.
        covered: Whether the stated 90 % quantile held, 0 or 1; NaN where none was stated.
        counted: Its miss was counted before.
    """
    if not counted and covered == covered:  # noqa: PLR0124  # NaN is not itself
        widen(state, waits, LEVELS[P90] - covered)
    for level in range(N_LEVELS):
        if not (counted and level == P90):
            held = 1.0 if residual <= state.offsets[level, waits] else 0.0
            adapt(state, level, waits, state.step * (LEVELS[level] - held))
    keep(state, waits, residual, at_s)
    keep(state, EVERY, residual, at_s)
    for level in range(N_LEVELS):
        set_overall(state, level)
        set_offset(state, level, waits)
        for other in range(N_REGIMES):
            if state.kept[other] == 0:
                state.offsets[level, other] = state.overall[level]
    let_rise(state.offsets)


@compiled
def miss(state: CalibrationState, waits: int) -> None:
    """Count a request past its 90 % quantile whose label has yet to come."""
    widen(state, waits, LEVELS[P90])
    adapt(state, P90, waits, state.step * LEVELS[P90])
    if state.kept[waits]:
        set_offset(state, P90, waits)
        let_rise(state.offsets)


@compiled
def share_below(state: CalibrationState, value: float) -> float:
    """Give the share of all residuals, thinned out, at or below a value."""
    count = state.kept[EVERY]
    step = count // _CURVE_ROWS + 1
    points = (count + step - 1) // step
    low, high = 0, points
    while low < high:
        middle = (low + high) // 2
        if state.ordered[EVERY, middle * step] <= value:
            low = middle + 1
        else:
            high = middle
    return float(low / points)


@compiled
def chance(state: CalibrationState, log_ratio: float, offset: float) -> float:
    """Give the probability that actual over predicted stays below a ratio.

    Args:
        state: Of the target.
        log_ratio: Log of the ratio.
        offset: Log distance to the 90 % quantile there.
    """
    z = min(max(log_ratio / state.default[P90], -30.0), 30.0)
    wide = 1.0 / (1.0 + exp(-z * _LOG_NINE))  # a 90 % quantile's multiple, logistic
    count, weight = state.kept[EVERY], state.default_rows
    if count == 0:
        return wide
    usual = max(state.overall[P90], _LEAST_OFFSET)
    scaled = log_ratio * usual / max(offset, _LEAST_OFFSET)
    width = usual / 4.0  # smooths the steps of the empirical curve
    smooth = 0.0
    for shift in range(-1, 2):
        smooth += share_below(state, scaled + shift * width) / 3.0
    return float((count * smooth + weight * wide) / (count + weight))


@compiled
def chances(
    state: CalibrationState, log_ratios: FloatArray, offsets: FloatArray, said: FloatArray
) -> None:
    """Write ``(n,)`` probabilities that actual over predicted stays below a ratio."""
    for row in range(len(said)):
        said[row] = chance(state, log_ratios[row], offsets[row])
