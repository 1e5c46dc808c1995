"""Honest quantiles: how far above the prediction the ninetieth of a hundred labels lies.

Adaptive conformal inference on the log residuals (actual over predicted) of recent
labels, per regime. Source: I. Gibbs and E. Candes, Adaptive Conformal Inference Under
Distribution Shift (2021), equation 2.
"""

from bisect import bisect_left, insort
from collections import deque
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.settings import CalibrationSettings
from predictor.terms import N_REGIMES
from predictor.types import FloatArray

COVERAGE: Final = 0.9
_LEVELS: Final = (0.6, 0.995)
_REGIME_ROWS: Final = 30.0


class _Residuals:
    """Keep the last residuals in order of value and of arrival."""

    __slots__ = ("_arrived", "_capacity", "_sorted")

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._arrived: deque[float] = deque()
        self._sorted: list[float] = []

    def __len__(self) -> int:
        return len(self._sorted)

    def append(self, residual: float) -> None:
        if len(self._arrived) == self._capacity:
            del self._sorted[bisect_left(self._sorted, self._arrived.popleft())]
        self._arrived.append(residual)
        insort(self._sorted, residual)

    def quantile(self, level: float) -> float:
        """Give the conformal quantile: the order statistic at ``ceil(level * (n + 1))``."""
        n = len(self._sorted)
        return self._sorted[min(ceil(level * (n + 1)), n) - 1]

    def below(self, values: FloatArray) -> FloatArray:
        """Give the share of residuals at or below each value, between 0 and 1."""
        ordered = np.array(self._sorted)
        share: FloatArray = np.searchsorted(ordered, values, side="right") / len(ordered)
        return share


class Calibration:
    """Turn one target's prediction into its 90 % quantile and into probabilities.

    Before data the quantile is a factor of two above the prediction; the first labels
    pull it in. The distance is between 0 and a cap: an interval is no alarm.

    >>> calibration = Calibration()
    >>> float(calibration.offsets(np.array([0]))[0].round(2))
    0.7
    >>> for step in range(400):
    ...     calibration.learn(0, (step % 10) / 100)
    >>> bool(0.07 < calibration.offsets(np.array([0]))[0] < 0.12)
    True
    """

    def __init__(self, settings: CalibrationSettings | None = None) -> None:
        self._settings = settings or CalibrationSettings()
        window = self._settings.window_rows
        self._by_regime = [_Residuals(window) for _ in range(N_REGIMES)]
        self._all = _Residuals(window)
        self._levels = [COVERAGE] * N_REGIMES
        self._offsets = np.full(N_REGIMES, self._settings.default_log)
        self._overall = self._settings.default_log

    def offsets(self, regimes: NDArray[np.intp]) -> FloatArray:
        """Give ``(n,)`` log distances from the prediction to its 90 % quantile."""
        return self._offsets[regimes]

    def learn(self, regime: int, residual: float, *, covered: bool | None = None) -> None:
        """Take in one log residual; ``covered`` says whether the quantile stated held."""
        if covered is None:
            covered = residual <= self._offsets[regime]
        level = self._levels[regime] + self._settings.step * (COVERAGE - covered)
        self._levels[regime] = min(max(level, _LEVELS[0]), _LEVELS[1])
        self._by_regime[regime].append(residual)
        self._all.append(residual)
        self._overall = self._blend(self._all, COVERAGE)
        self._offsets[regime] = self._offset(regime)
        for other in range(N_REGIMES):
            if len(self._by_regime[other]) == 0:
                self._offsets[other] = self._overall

    def probability(self, log_ratio: FloatArray, offsets: FloatArray) -> FloatArray:
        """Give the probability, ``(n,)``, that actual / predicted stays below a ratio.

        Args:
            log_ratio: ``(n,)`` log of (objective / predicted).
            offsets: ``(n,)`` log distance to the 90 % quantile there; the residuals of all
                regimes are stretched to it.
        """
        scaled = log_ratio * max(self._overall, 0.01) / np.maximum(offsets, 0.01)
        wide = _bell(log_ratio / self._settings.default_log)
        n, weight = len(self._all), self._settings.default_rows
        if n == 0:
            return wide
        width = max(self._overall, 0.01) / 4.0  # smooths the steps of the empirical curve
        smooth = self._all.below(scaled + width * np.array([[-1.0], [0.0], [1.0]])).mean(axis=0)
        blended: FloatArray = (n * smooth + weight * wide) / (n + weight)
        return blended

    def _blend(self, residuals: _Residuals, level: float) -> float:
        n, weight = len(residuals), self._settings.default_rows
        blended = (n * residuals.quantile(level) + weight * self._settings.default_log) / (
            n + weight
        )
        return min(max(blended, 0.0), self._settings.cap_log)

    def _offset(self, regime: int) -> float:
        own = self._by_regime[regime]
        share = len(own) / (len(own) + _REGIME_ROWS)
        quantile = own.quantile(self._levels[regime])
        blended = share * quantile + (1.0 - share) * self._overall
        return min(max(blended, 0.0), self._settings.cap_log)


def _bell(z: FloatArray) -> FloatArray:
    """Approximate the probability below a 90 % quantile's multiple by a logistic curve."""
    curve: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(z, -30.0, 30.0) * np.log(9.0)))
    return curve
