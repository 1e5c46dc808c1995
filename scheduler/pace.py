"""Which requests teach, where there are more than learning from them all is worth.

A model learns as much from some hundred labels a second as from thousands, and each costs
about what serving a request does; so does asking the policy in shadow, which is asked to
know a mean. So all teach up to a pace, and beyond it an even share: the sequence that
chooses spreads over any pattern in which requests come, such as two endpoints in turn,
while taking the first ones of each second would teach the beginnings of bursts only. One
per fleet; asked once a request by the scheduler.
"""

import math
from typing import Final

from scheduler.arrivals import Arrivals

# The rate is a mean over about so long: bursts are taken as a whole, and what a sudden
# tenfold load teaches beyond the pace is some seconds' worth.
PACE_TAU_S: Final = 5.0
# How often it is looked at: a decision cannot afford an exponential.
_LOOK_EVERY_S: Final = 0.1
# Fractional parts of its multiples fill the unit interval most evenly, along any stride
# (Weyl 1916; the golden ratio is the best of all numbers for it).
_GOLDEN: Final = (math.sqrt(5.0) - 1.0) / 2.0


class Pace:
    """Choose requests, the same for the same times.

    Attributes:
        most_per_s: How many a second at most, on average.
        skipped: Requests that were not chosen.
        arrivals: When requests came.

    >>> pace = Pace(most_per_s=250.0)
    >>> chosen = [pace.chooses(number / 1000.0) for number in range(100_000)]
    >>> sum(chosen[:1000]), round(sum(chosen[-10_000:]), -2), pace.skipped == chosen.count(False)
    (1000, 2500, True)
    """

    def __init__(self, most_per_s: float = math.inf) -> None:
        self.most_per_s = most_per_s
        self.skipped = 0
        self.arrivals = Arrivals()
        self._per_s = 0.0
        self._looked_s = -math.inf
        self._come = 0  # since then
        self._share = 1.0
        self._beyond = 0

    def chooses(self, now: float) -> bool:
        """Say whether a request that comes now is to teach."""
        self._come += 1
        if now - self._looked_s >= _LOOK_EVERY_S:
            self._look(now)
        if self._share >= 1.0:
            return True
        self._beyond += 1
        if self._beyond * _GOLDEN % 1.0 < self._share:
            return True
        self.skipped += 1
        return False

    def _look(self, now: float) -> None:
        kept = math.exp((self._looked_s - now) / PACE_TAU_S)
        self._per_s = self._per_s * kept + self._come / PACE_TAU_S
        self.arrivals.add(self._come, now)
        self._looked_s, self._come = now, 0
        self._share = self.most_per_s / self._per_s
