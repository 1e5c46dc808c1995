"""One clock for routers on several machines: that of the server they meet at.

Each router measures how far its own clock is behind the server's, by asking for the time:
the answer was written between asking and hearing, so half of that is how wrong it can be.
The best of the last few answers counts, worse with age, as clocks drift apart. A server
whose clock was set, or another one in its place, contradicts what was measured before, and
that is forgotten.
"""

from collections import deque
from typing import Final, NamedTuple

KEPT: Final = 8
DRIFT: Final = 1e-4
"""Two clocks part by so many seconds a second at most: twice what common quartz does."""


class _Sample(NamedTuple):
    offset_s: float
    error_s: float
    at_s: float

    def error(self, now: float) -> float:
        return self.error_s + DRIFT * abs(now - self.at_s)


class SharedClock:
    """Translate between our clock and the shared one; until it was measured they are the same.

    Attributes:
        offset_s: Added to our clock gives the shared one.

    >>> clock = SharedClock()
    >>> clock.measured(asked_s=10.0, told_s=110.001, heard_s=10.002)
    >>> clock.measured(asked_s=11.0, told_s=111.3, heard_s=11.4)  # a busy moment
    >>> round(clock.offset_s, 6), round(clock.error_s(11.4), 6)
    (100.0, 0.00114)
    """

    def __init__(self) -> None:
        self._samples: deque[_Sample] = deque(maxlen=KEPT)
        self.offset_s = 0.0

    def measured(self, *, asked_s: float, told_s: float, heard_s: float) -> None:
        """Take in an answer: asked and heard by our clock, told by the shared one."""
        half_s = (heard_s - asked_s) / 2
        sample = _Sample(told_s - asked_s - half_s, half_s, heard_s)
        best = self._best(heard_s)
        if best is not None:
            apart_s = abs(sample.offset_s - best.offset_s)
            if apart_s > sample.error(heard_s) + best.error(heard_s):
                self._samples.clear()  # one of the clocks was set
        self._samples.append(sample)
        best = self._best(heard_s)
        if best is not None:
            self.offset_s = best.offset_s

    def error_s(self, now: float) -> float | None:
        """Say how wrong the offset can be, ``None`` before it was measured."""
        best = self._best(now)
        return None if best is None else best.error(now)

    def forget(self) -> None:
        """Forget what was measured: another server may answer."""
        self._samples.clear()

    def _best(self, now: float) -> _Sample | None:
        return min(self._samples, key=lambda one: one.error(now), default=None)
