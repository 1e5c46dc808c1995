"""Conformal quantiles of recent log residuals, as :mod:`predictor.calibration` says."""

from math import ceil, exp, inf, log
from typing import Final

import numpy as np

from predictor.kernels.compiled import Numbers, Record, compiled
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


ORDERED, RESIDUALS, TIMES = range(3)
"""Of ``(3, N_REGIMES + 1, room)`` windows: residuals rising; as they came, a ring; when."""

CALIBRATION: Final = np.dtype(
    [
        ("first", "i8", (N_REGIMES + 1,)),
        ("kept", "i8", (N_REGIMES + 1,)),
        ("levels", "f8", (N_LEVELS, N_REGIMES)),
        ("overall", "f8", (N_LEVELS,)),
        ("offsets", "f8", (N_LEVELS, N_REGIMES)),
        ("log_width", "f8", (N_REGIMES,)),
        ("default", "f8", (N_LEVELS,)),
        ("window_rows", "i8"),
        *[(name, "f8") for name in ("window_s", "step", "stated_step", "widest_log")],
        *[(name, "f8") for name in ("cap_log", "default_rows")],
    ]
)
"""The numbers of a :class:`predictor.calibration.Calibration`, named as in its settings, and:

``first`` and ``kept``: where the ring of each window starts, how many residuals it has;
``levels``, adapted; ``overall``: log distances of all regimes together; ``offsets``: those of
each, not falling along the levels; ``log_width``: by how much the 90 % quantile is widened;
``default``: distances before any data."""


@compiled
def place_of(windows: FloatArray, window: int, kept: int, value: float) -> int:
    """Give how many residuals of a window lie below a value."""
    low, high = 0, kept
    while low < high:
        middle = (low + high) // 2
        if windows[ORDERED, window, middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@compiled
def exchange(windows: FloatArray, window: int, kept: int, old: float, new: float) -> None:
    """Put a residual in place of another; only those between the two move."""
    place = place_of(windows, window, kept, old)
    while place + 1 < kept and windows[ORDERED, window, place + 1] < new:
        windows[ORDERED, window, place] = windows[ORDERED, window, place + 1]
        place += 1
    while place > 0 and windows[ORDERED, window, place - 1] > new:
        windows[ORDERED, window, place] = windows[ORDERED, window, place - 1]
        place -= 1
    windows[ORDERED, window, place] = new


@compiled
def has_old(state: Numbers, windows: FloatArray, window: int, kept: int, at_s: float) -> bool:
    """Tell whether a window that holds so many has one too many, or too old."""
    if kept > windows.shape[2]:
        return True
    oldest_s = windows[TIMES, window, state["first"][window]]
    return bool(kept > state["window_rows"] and oldest_s <= at_s - state["window_s"])


@compiled
def keep(state: Numbers, windows: FloatArray, window: int, residual: float, at_s: float) -> None:
    """Take a residual into a window, and forget what is too old or too much there."""
    room, first, kept = windows.shape[2], state["first"][window], state["kept"][window]
    end = (first + kept) % room
    if kept and has_old(state, windows, window, kept + 1, at_s):
        exchange(windows, window, kept, windows[RESIDUALS, window, first], residual)
        state["first"][window] = (first + 1) % room
    else:
        windows[ORDERED, window, kept] = inf
        exchange(windows, window, kept + 1, inf, residual)
        state["kept"][window] = kept + 1
    windows[RESIDUALS, window, end], windows[TIMES, window, end] = residual, at_s
    while has_old(state, windows, window, state["kept"][window], at_s):
        drop_oldest(state, windows, window)


@compiled
def drop_oldest(state: Numbers, windows: FloatArray, window: int) -> None:
    """Forget the oldest residual of a window."""
    first, kept = state["first"][window], state["kept"][window]
    exchange(windows, window, kept, windows[RESIDUALS, window, first], inf)
    state["first"][window] = (first + 1) % windows.shape[2]
    state["kept"][window] = kept - 1


@compiled
def quantile(state: Numbers, windows: FloatArray, window: int, level: float) -> float:
    """Give the conformal quantile: the order statistic at ``ceil(level * (n + 1))``."""
    kept = state["kept"][window]
    return float(windows[ORDERED, window, min(ceil(level * (kept + 1)), kept) - 1])


@compiled
def held_within(state: Numbers, level: int, offset: float) -> float:
    """Hold a distance within its bounds: only the median may lie below the prediction."""
    lowest = -state["cap_log"] if level == P50 else 0.0
    return float(min(max(offset, lowest), state["cap_log"]))


@compiled
def adapt(state: Numbers, level: int, waits: int, step: float) -> None:
    """Move an adapted level."""
    lowest, highest = _BOUNDS[level]
    state["levels"][level, waits] = min(max(state["levels"][level, waits] + step, lowest), highest)


@compiled
def widen(state: Numbers, waits: int, share: float) -> None:
    """Widen a regime's 90 % quantile by what was stated and missed."""
    log_width = state["log_width"][waits] + state["stated_step"] * share
    state["log_width"][waits] = min(max(log_width, 0.0), state["widest_log"])


@compiled
def set_overall(state: Numbers, windows: FloatArray, level: int) -> None:
    """Write the distance of all regimes together, blended with the default."""
    count, weight = state["kept"][EVERY], state["default_rows"]
    found = quantile(state, windows, EVERY, LEVELS[level])
    blended = (count * found + weight * state["default"][level]) / (count + weight)
    state["overall"][level] = held_within(state, level, blended)


@compiled
def set_offset(state: Numbers, windows: FloatArray, level: int, waits: int) -> None:
    """Write a regime's distance: of its own residuals, as far as there are enough."""
    count = state["kept"][waits]
    share = count / (count + _REGIME_ROWS)
    own = quantile(state, windows, waits, state["levels"][level, waits])
    blended = share * own + (1.0 - share) * state["overall"][level]
    widened = exp(state["log_width"][waits]) if level == P90 else 1.0
    state["offsets"][level, waits] = held_within(state, level, blended * widened)


@compiled
def let_rise(offsets: FloatArray) -> None:
    """Make distances not fall along the levels."""
    for level in range(1, N_LEVELS):
        for regime in range(N_REGIMES):
            offsets[level, regime] = max(offsets[level, regime], offsets[level - 1, regime])


@compiled
def learn(
    calibration: Record,
    windows: FloatArray,
    waits: int,
    residual: float,
    at_s: float,
    covered: float,
    counted: bool,
) -> None:
    """Take in one log residual.

    Args:
        calibration: Of the target.
        windows: Of it.
        waits: Regime.
        residual: Log of actual over predicted.
        at_s: When it was known.
        covered: Whether the stated 90 % quantile held, 0 or 1; NaN where none was stated.
        counted: Its miss was counted before.
    """
    state = calibration[0]
    if not counted and covered == covered:  # noqa: PLR0124  # NaN is not itself
        widen(state, waits, LEVELS[P90] - covered)
    for level in range(N_LEVELS):
        if not (counted and level == P90):
            held = 1.0 if residual <= state["offsets"][level, waits] else 0.0
            adapt(state, level, waits, state["step"] * (LEVELS[level] - held))
    for window in (waits, EVERY):
        keep(state, windows, window, residual, at_s)
    for level in range(N_LEVELS):
        set_overall(state, windows, level)
        set_offset(state, windows, level, waits)
        for other in range(N_REGIMES):
            if state["kept"][other] == 0:
                state["offsets"][level, other] = state["overall"][level]
    let_rise(state["offsets"])


@compiled
def miss(calibration: Record, windows: FloatArray, waits: int) -> None:
    """Count a request past its 90 % quantile whose label has yet to come."""
    state = calibration[0]
    widen(state, waits, LEVELS[P90])
    adapt(state, P90, waits, state["step"] * LEVELS[P90])
    if state["kept"][waits]:
        set_offset(state, windows, P90, waits)
        let_rise(state["offsets"])


@compiled
def share_below(state: Numbers, windows: FloatArray, value: float) -> float:
    """Give the share of all residuals, thinned out, at or below a value."""
    count = state["kept"][EVERY]
    step = count // _CURVE_ROWS + 1
    points = (count + step - 1) // step
    low, high = 0, points
    while low < high:
        middle = (low + high) // 2
        if windows[ORDERED, EVERY, middle * step] <= value:
            low = middle + 1
        else:
            high = middle
    return float(low / points)


@compiled
def chance(state: Numbers, windows: FloatArray, log_ratio: float, offset: float) -> float:
    """Give the probability that actual over predicted stays below a ratio.

    Args:
        state: Of the target.
        windows: Of it.
        log_ratio: Log of the ratio.
        offset: Log distance to the 90 % quantile there.
    """
    z = min(max(log_ratio / state["default"][P90], -30.0), 30.0)
    wide = 1.0 / (1.0 + exp(-z * _LOG_NINE))  # a 90 % quantile's multiple, logistic
    count, weight = state["kept"][EVERY], state["default_rows"]
    if count == 0:
        return wide
    usual = max(state["overall"][P90], _LEAST_OFFSET)
    scaled = log_ratio * usual / max(offset, _LEAST_OFFSET)
    width = usual / 4.0  # smooths the steps of the empirical curve
    smooth = 0.0
    for shift in range(-1, 2):
        smooth += share_below(state, windows, scaled + shift * width) / 3.0
    return float((count * smooth + weight * wide) / (count + weight))


@compiled
def chances(
    calibration: Record,
    windows: FloatArray,
    log_ratios: FloatArray,
    offsets: FloatArray,
    said: FloatArray,
) -> None:
    """Write ``(n,)`` probabilities that actual over predicted stays below a ratio."""
    for row in range(len(said)):
        said[row] = chance(calibration[0], windows, log_ratios[row], offsets[row])
