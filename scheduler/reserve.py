"""Which part of a fleet less urgent requests are confined to, while promises are broken.

Under overload of what was promised itself, everyone misses a little everywhere, which for
objectives is the worst outcome. While more than a few promises to more urgent requests
are broken, the share of the fleet that the others may use shrinks; once hardly any is, it
grows again. They lose the fastest endpoints first and keep the slowest for longest, always
in the same order, so that those who avoid these find the rest free. Called by the decider.
"""

import math
from typing import Final

import numpy as np

from predictor.types import FloatArray
from scheduler.candidates import Candidates
from scheduler.endpoint_table import Rows
from scheduler.kernels import BoolArray
from scheduler.promises import Pressure

# Share of broken promises above which the others' part shrinks, and below which it grows.
SHRINK_ABOVE: Final = 0.05
GROW_BELOW: Final = 0.025
# From all of the fleet to nothing at twice that pressure, and back: the way back is slow,
# for what was let in stays for as long as it decodes.
SHRINK_S: Final = 20.0
GROW_S: Final = 90.0
# Endpoints whose speeds differ by less than this factor count as equally slow.
_SPEED_STEP: Final = 1.3


class Reserve:
    """Follow the share of a fleet that requests of each priority may use."""

    def __init__(self) -> None:
        self._shares: dict[int, tuple[float, float]] = {}  # by priority, and as of when

    def barred(
        self, candidates: Candidates, rows: Rows, pressure: Pressure, *, priority: int, now: float
    ) -> BoolArray | None:
        """Find the endpoints that are kept for more urgent requests, ``None`` for none."""
        share = self._share(pressure.above(priority, now), priority, now)
        n = len(candidates)
        open_to_it = max(math.ceil(share * n), 1)
        if candidates.predictions is None or open_to_it >= n:
            return None
        barred = np.ones(n, dtype=np.bool_)
        barred[_slowest_first(candidates.prefill_token_s(), rows)[:open_to_it]] = False
        return barred

    def _share(self, broken: float, priority: int, now: float) -> float:
        share, as_of_s = self._shares.get(priority, (1.0, now))
        if share >= 1.0 and broken <= SHRINK_ABOVE:
            self._shares.pop(priority, None)
            return 1.0
        passed_s = min(now - as_of_s, 1.0)  # nothing is known of longer pauses
        if broken > SHRINK_ABOVE:
            share -= passed_s / SHRINK_S * min(broken / SHRINK_ABOVE - 1.0, 1.0)
        elif broken < GROW_BELOW:
            share += passed_s / GROW_S
        share = min(max(share, 0.0), 1.0)
        self._shares[priority] = share, now
        return share


def _slowest_first(token_s: FloatArray, rows: Rows) -> Rows:
    """Order by speed, coarsely; equals by their place in the table.

    >>> _slowest_first(np.array([1e-4, 1.05e-4, 4e-4]), np.array([7, 3, 5])).tolist()
    [2, 1, 0]
    """
    steps = np.round(np.log(token_s) / math.log(_SPEED_STEP))
    return np.lexsort((rows, -steps))
