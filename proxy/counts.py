"""One series each of a counter and of a histogram, in plain numbers.

Written by whoever counts, read by :mod:`proxy.tallies` when somebody scrapes.
"""

import time
from bisect import bisect_left
from collections.abc import Sequence


class Count:
    """Count one series of a counter.

    Attributes:
        total: The sum so far.
        created_s: When counting began, epoch seconds.
    """

    __slots__ = ("created_s", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self.created_s = time.time()

    def inc(self, amount: float = 1.0) -> None:
        """Add to it."""
        self.total += amount


class Spread:
    """Count one series of a histogram.

    Attributes:
        counts: Values by bucket, not cumulated; the last is of those above all bounds.
        total: Sum of the values.
        created_s: When counting began, epoch seconds.
        examples: By bucket the last value that belongs to a trace, which, and when.
    """

    __slots__ = ("_bounds", "counts", "created_s", "examples", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.created_s = time.time()
        self.examples: dict[int, tuple[str, float, float]] = {}

    def observe(self, value: float) -> None:
        """Take in a value; a bound belongs to the bucket below it.

        >>> spread = Spread((1.0, 2.0))
        >>> for value in (0.5, 1.0, 3.0):
        ...     spread.observe(value)
        >>> spread.counts, spread.total
        ([2, 0, 1], 4.5)
        """
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def observe_often(self, value: float, times: int) -> None:
        """Take in a value that has been seen several times."""
        self.counts[bisect_left(self._bounds, value)] += times
        self.total += value * times

    def remember(self, value: float, trace_id: str, at_s: float) -> None:
        """Keep a trace as the example of a value's bucket; ``at_s`` in epoch seconds."""
        self.examples[bisect_left(self._bounds, value)] = trace_id, value, at_s
