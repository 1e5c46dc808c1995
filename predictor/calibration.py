"""Honest quantiles: how far from the prediction the 50th, 90th and 99th of 100 labels lie.

Adaptive conformal inference on the log residuals (actual over predicted) of recent
labels, per regime. Source: I. Gibbs and E. Candes, Adaptive Conformal Inference Under
Distribution Shift (2021), equation 2.
"""

from bisect import bisect_left, insort
from collections import deque
from math import ceil, exp
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.settings import CalibrationSettings
from predictor.terms import N_REGIMES
from predictor.types import LEVELS, P50, P90, FloatArray

_BOUNDS: Final = ((0.3, 0.7), (0.6, 0.995), (0.9, 1.0))  # what each level may adapt to
_DEFAULTS: Final = (0.0, 1.0, 2.0)  # multiples of the distance before any data
_REGIME_ROWS: Final = 30.0
_CURVE_ROWS: Final = 400  # points that the empirical curve is read from


class _Residuals:
    """Keep the residuals of the last ``window_s``, ``window_rows`` at least, by value too."""

    __slots__ = ("_arrived", "_settings", "_sorted")

    def __init__(self, settings: CalibrationSettings) -> None:
        self._settings = settings
        self._arrived: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def append(self, residual: float, at_s: float) -> None:
        settings, arrived = self._settings, self._arrived
        arrived.append((at_s, residual))
        insort(self._sorted, residual)
        oldest_s = at_s - settings.window_s
        while len(arrived) > settings.most_rows or (
            len(arrived) > settings.window_rows and arrived[0][0] <= oldest_s
        ):
            del self._sorted[bisect_left(self._sorted, arrived.popleft()[1])]

    def quantile(self, level: float) -> float:
        """Give the conformal quantile: the order statistic at ``ceil(level * (n + 1))``."""
        n = len(self._sorted)
        return self._sorted[min(ceil(level * (n + 1)), n) - 1]

    def below(self, values: FloatArray) -> FloatArray:
        """Give the share of residuals at or below each value, between 0 and 1."""
        ordered = np.array(self._sorted[:: len(self._sorted) // _CURVE_ROWS + 1])
        share: FloatArray = np.searchsorted(ordered, values, side="right") / len(ordered)
        return share


class Calibration:
    """Turn one target's prediction into its quantiles and into probabilities.

    Before data the 90 % quantile is a factor of two above the prediction, the 99 % one a
    factor of four; the first labels pull them in. Distances are capped, and those above the
    median are not below 0: an interval is no alarm.

    >>> calibration = Calibration()
    >>> calibration.offsets(np.array([0]))[:, 0].round(2)
    array([0. , 0.7, 1.4])
    >>> for step in range(400):
    ...     calibration.learn(0, (step % 10) / 100)
    >>> bool(0.07 < calibration.offsets(np.array([0]))[1, 0] < 0.12)
    True
    """

    def __init__(self, settings: CalibrationSettings | None = None) -> None:
        self._settings = settings or CalibrationSettings()
        self._by_regime = [_Residuals(self._settings) for _ in range(N_REGIMES)]
        self._all = _Residuals(self._settings)
        self._levels = np.repeat(np.array(LEVELS)[:, None], N_REGIMES, axis=1)
        self._log_width = [0.0] * N_REGIMES
        self._default = self._settings.default_log * np.array(_DEFAULTS)
        self._overall = self._default.copy()
        self._offsets = np.repeat(self._default[:, None], N_REGIMES, axis=1)

    def offsets(self, regimes: NDArray[np.intp]) -> FloatArray:
        """Give ``(len(LEVELS), n)`` log distances from the prediction to its quantiles."""
        offsets: FloatArray = self._offsets.take(regimes, axis=1)
        return offsets

    def learn(
        self,
        regime: int,
        residual: float,
        *,
        at_s: float = 0.0,
        covered: bool | None = None,
        counted: bool = False,
    ) -> None:
        """Take in one log residual, known at ``at_s``, of the prediction made at dispatch.

        Levels follow whether today's quantiles would have held it: what was stated at
        dispatch is old by the time its label comes, and feedback that late swings. Where
        what was stated, ``covered``, holds too seldom all the same, as labels are late and
        the load grows, the 90 % quantile is slowly widened. ``counted``: the miss of the 90 %
        quantile was reported to :meth:`miss` before.
        """
        held = residual <= self._offsets[:, regime]
        if covered is not None and not counted:
            self._widen(regime, LEVELS[P90] - covered)
        self._by_regime[regime].append(residual, at_s)
        self._all.append(residual, at_s)
        for index, level in enumerate(LEVELS):
            if not (counted and index == P90):
                self._adapt(index, regime, self._settings.step * (level - held[index]))
            self._overall[index] = self._blend(index)
            self._offsets[index, regime] = self._offset(index, regime)
            for other in range(N_REGIMES):
                if len(self._by_regime[other]) == 0:
                    self._offsets[index, other] = self._overall[index]
        np.maximum.accumulate(self._offsets, axis=0, out=self._offsets)

    def miss(self, regime: int) -> None:
        """Count a request past its 90 % quantile whose label has yet to come."""
        self._widen(regime, LEVELS[P90])
        self._adapt(P90, regime, self._settings.step * LEVELS[P90])
        if len(self._by_regime[regime]):
            self._offsets[P90, regime] = self._offset(P90, regime)
            np.maximum.accumulate(self._offsets, axis=0, out=self._offsets)

    def probability(self, log_ratio: FloatArray, offsets: FloatArray) -> FloatArray:
        """Give the probability, ``(n,)``, that actual / predicted stays below a ratio.

        Args:
            log_ratio: ``(n,)`` log of (objective / predicted).
            offsets: ``(n,)`` log distance to the 90 % quantile there; the residuals of all
                regimes are stretched to it.
        """
        scaled = log_ratio * max(self._overall[P90], 0.01) / np.maximum(offsets, 0.01)
        wide = _bell(log_ratio / self._settings.default_log)
        n, weight = len(self._all), self._settings.default_rows
        if n == 0:
            return wide
        width = max(self._overall[P90], 0.01) / 4.0  # smooths the steps of the empirical curve
        smooth = self._all.below(scaled + width * np.array([[-1.0], [0.0], [1.0]])).mean(axis=0)
        blended: FloatArray = (n * smooth + weight * wide) / (n + weight)
        return blended

    def _adapt(self, index: int, regime: int, step: float) -> None:
        lowest, highest = _BOUNDS[index]
        self._levels[index, regime] = min(max(self._levels[index, regime] + step, lowest), highest)

    def _widen(self, regime: int, share: float) -> None:
        widest = self._settings.widest_log
        log_width = self._log_width[regime] + self._settings.stated_step * share
        self._log_width[regime] = min(max(log_width, 0.0), widest)

    def _blend(self, index: int) -> float:
        n, weight = len(self._all), self._settings.default_rows
        quantile = self._all.quantile(LEVELS[index])
        return self._bounded(index, (n * quantile + weight * self._default[index]) / (n + weight))

    def _offset(self, index: int, regime: int) -> float:
        own = self._by_regime[regime]
        share = len(own) / (len(own) + _REGIME_ROWS)
        quantile = own.quantile(self._levels[index, regime])
        blended = share * quantile + (1.0 - share) * self._overall[index]
        widened = exp(self._log_width[regime]) if index == P90 else 1.0
        return self._bounded(index, blended * widened)

    def _bounded(self, index: int, offset: float) -> float:
        lowest = -self._settings.cap_log if index == P50 else 0.0
        return min(max(offset, lowest), self._settings.cap_log)


def _bell(z: FloatArray) -> FloatArray:
    """Approximate the probability below a 90 % quantile's multiple by a logistic curve."""
    curve: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(z, -30.0, 30.0) * np.log(9.0)))
    return curve
