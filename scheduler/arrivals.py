"""How many requests a fleet gets, where that is heading, and how sure that is.

Counted in even spans of time by whoever paces learning, which looks at the clock anyway.
A straight line through the last minutes says the rate now and later; its errors are those
of least squares, never less than chance alone makes of independent arrivals. Read when
somebody asks for an outlook; nothing that decides about a request reads it.
"""

import math
from collections import deque
from typing import Final, NamedTuple

import numpy as np

from predictor.types import FloatArray

SPAN_S: Final = 5.0
"""Arrivals are counted over so long."""

MOST_SPANS: Final = 720
"""Kept: an hour."""

FEWEST_SPANS: Final = 4
"""Fewer than this have no trend: two more than a line needs to show how far off it is."""

_NORMAL_P90: Final = 1.2816  # quantile of the normal distribution


class Trend(NamedTuple):
    """Tell the rate of arrivals, now and later; NaN for unknown.

    Attributes:
        per_s: Requests a second now.
        slope_per_s2: By how much that grows each second, shrunk toward 0 as it is uncertain.
        slope_error_per_s2: Standard error of the slope.
        error_per_s: Standard error of the rate.
    """

    per_s: float
    slope_per_s2: float
    slope_error_per_s2: float
    error_per_s: float

    def at(self, seconds: float, *, tau_s: float = math.inf) -> float:
        """Give the rate expected after so many seconds, never below 0.

        Args:
            seconds: How far ahead.
            tau_s: The slope fades by 1/e in so long: no rush goes on for ever. Source:
                Gardner and McKenzie 1985, damped trends.

        >>> Trend(2.0, 0.01, 0.0, 0.0).at(100.0)
        3.0
        >>> round(Trend(2.0, 0.01, 0.0, 0.0).at(100.0, tau_s=100.0), 2)
        2.63
        """
        slope = 0.0 if math.isnan(self.slope_per_s2) else self.slope_per_s2
        if tau_s < math.inf:
            seconds = tau_s * -math.expm1(-seconds / tau_s)
        return max(self.per_s + slope * seconds, 0.0)

    def over(self, share: float) -> "Trend":
        """Give the trend of a whole of which this is a share.

        >>> Trend(1.0, 0.5, 0.0, 0.0).over(0.5).per_s
        2.0
        """
        return self if share == 1.0 else Trend(*(value / share for value in self))

    def reaches_s(self, limit_per_s: float) -> tuple[float, float, float]:
        """Give in how many seconds the rate reaches a limit: earliest, expected, latest.

        Infinite for never; NaN where nobody can tell. Of ten times it comes between the
        first and the last about eight times, should the trend go on.

        >>> Trend(2.0, 0.01, 0.0, 0.0).reaches_s(3.0)
        (100.0, 100.0, 100.0)
        >>> Trend(2.0, 0.0, 0.0, 0.0).reaches_s(3.0)
        (inf, inf, inf)
        """
        if math.isnan(limit_per_s) or math.isnan(self.slope_per_s2):
            return math.nan, math.nan, math.nan
        off = _NORMAL_P90 * self.slope_error_per_s2
        slopes = (self.slope_per_s2 + off, self.slope_per_s2, self.slope_per_s2 - off)
        missing = limit_per_s - self.per_s
        earliest_s, expected_s, latest_s = (_time_s(missing, slope) for slope in slopes)
        return earliest_s, expected_s, latest_s


class Arrivals:
    """Count the requests of one fleet.

    >>> arrivals = Arrivals()
    >>> for second in range(100):
    ...     arrivals.add(4, float(second))
    >>> trend = arrivals.trend(100.0, window_s=300.0)
    >>> trend.per_s, trend.at(60.0)
    (4.0, 4.0)
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._counts: deque[tuple[int, int]] = deque()  # span and count, those with any

    def add(self, count: int, now: float) -> None:
        """Count requests that have come."""
        span = int(now // SPAN_S)
        if self._counts and self._counts[-1][0] == span:
            count += self._counts.pop()[1]
        self._counts.append((span, count))
        if self._first is None:
            self._first = span
        while self._counts[0][0] <= span - MOST_SPANS:
            self._counts.popleft()

    def age_s(self, now: float) -> float:
        """Give how long ago the first request came, 0 before there was one."""
        return 0.0 if self._first is None else max(now - self._first * SPAN_S, 0.0)

    def trend(self, now: float, *, window_s: float) -> Trend:
        """Fit a line through the whole spans of the last ``window_s``."""
        counts = self._within(now, window_s)
        n = len(counts)
        if not n:
            return Trend(math.nan, math.nan, math.nan, math.nan)
        rates = counts / SPAN_S
        mean = float(rates.mean())
        chance = mean / SPAN_S  # variance of a span's rate where arrivals are independent
        if n < FEWEST_SPANS:
            return Trend(mean, math.nan, math.nan, math.sqrt(chance / n))
        ages_s = (np.arange(n) - (n - 1) / 2) * SPAN_S
        spread = float(ages_s @ ages_s)
        slope = float(ages_s @ rates) / spread
        left = rates - mean - slope * ages_s
        variance = max(float(left @ left) / (n - 2), chance)
        error = math.sqrt(variance / spread)
        if slope:
            slope *= max(1.0 - (error / slope) ** 2, 0.0)
        end_s = n * SPAN_S / 2
        level_error = math.sqrt(variance / n + (error * end_s) ** 2)
        return Trend(max(mean + slope * end_s, 0.0), slope, error, level_error)

    def _within(self, now: float, window_s: float) -> FloatArray:
        """Count each whole span of the last while, the oldest first."""
        if self._first is None:
            return np.empty(0)
        end = int(now // SPAN_S)  # the present one is not over
        # The first one began before anybody counted.
        start = max(end - min(round(window_s / SPAN_S), MOST_SPANS), self._first + 1)
        counts = np.zeros(max(end - start, 0))
        for span, count in self._counts:
            if start <= span < end:
                counts[span - start] = count
        return counts


def _time_s(missing: float, slope: float) -> float:
    """Give when a line has made up for what is missing.

    >>> _time_s(1.0, 0.5), _time_s(-1.0, 0.5), _time_s(1.0, -0.5)
    (2.0, 0.0, inf)
    """
    if missing <= 0.0:
        return 0.0
    return missing / slope if slope > 0.0 else math.inf
