"""Tell when errors start to grow: information for people, never a reset.

Resetting experts on such alarms was measured to wreck them; the forgetting that every
model here has recovers by itself.
"""

from math import inf
from typing import Final

from predictor.settings import DriftSettings

# Errors before which nothing is said, and how slowly the sum forgets: river's defaults.
_LEAST: Final = 30
_KEEP: Final = 1.0 - 1e-4


class DriftCount:
    """Count Page-Hinkley alarms on the absolute log error of one target.

    Errors are in log seconds, each counting as 3 at most. After an alarm it starts over.
    Source: E. S. Page, Continuous Inspection Schemes (1954), as river.drift.PageHinkley
    has it upwards; a test holds it to river's. Importing river takes a second and 80 MB
    of each process that serves (docs/decisions/dependencies.md).

    >>> count = DriftCount()
    >>> for error in [0.1] * 100 + [1.5] * 20:
    ...     count.learn(error)
    >>> count.alarms
    1
    """

    def __init__(self, settings: DriftSettings | None = None) -> None:
        self._settings = settings or DriftSettings()
        self.alarms = 0
        self._errors = 0
        self._mean = self._sum = 0.0
        self._lowest = inf

    def learn(self, error: float) -> None:
        """Take in one absolute log error."""
        value = min(error, 3.0)
        self._errors += 1
        self._mean += (value - self._mean) / self._errors
        self._sum = _KEEP * self._sum + value - self._mean - self._settings.delta_log
        self._lowest = min(self._lowest, self._sum)
        risen = self._sum - self._lowest
        if self._errors >= _LEAST and risen > self._settings.threshold_log:
            self.alarms += 1
            self._start_over()

    def _start_over(self) -> None:
        self._errors = 0
        self._mean = self._sum = 0.0
        self._lowest = inf
