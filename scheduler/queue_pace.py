"""How fast requests that wait go, for those that are refused and told when to come back.

What waits here goes as fast as we let it go, whatever others send to the same endpoints.
Called by the flow control only.
"""

import math
from typing import Final

from predictor.features import RATE_TAU_S

LEAST_RETRY_S: Final = 1.0
MOST_RETRY_S: Final = 600.0
FEWEST_GONE: Final = 8
LEAST_SPAN_S: Final = 1.0
"""Before so many have gone, in so long, what the fleet takes in all is the better guess."""
_HARDLY_ANY: Final = 1e-9  # they decay to nothing


class QueuePace:
    """Count the requests that go, the latest most.

    Args:
        now: When the first one began to wait.

    Attributes:
        fleet_per_s: Requests a second that the fleet was last seen to take, of whomever.

    >>> pace = QueuePace(now=0.0)
    >>> pace.fleet_per_s = 10.0
    >>> pace.retry_after_s(50, now=0.0, most_s=60.0)
    5.0
    >>> for second in range(100):
    ...     pace.went(float(second))
    >>> round(pace.retry_after_s(50, now=99.0, most_s=60.0))
    48
    """

    def __init__(self, now: float) -> None:
        self.fleet_per_s = 0.0
        self._gone = 0
        self._count = 0.0  # of those that have gone, and
        self._span_s = 0.0  # of the time, what has not decayed
        self._as_of_s = now

    def went(self, now: float) -> None:
        """Note that one has gone."""
        count, self._span_s = self._decayed(now)
        self._count, self._as_of_s = count + 1.0, now
        self._gone += 1

    def retry_after_s(self, before: int, now: float, *, most_s: float) -> float:
        """Estimate in how many seconds so many will have gone, or given up after ``most_s``."""
        count, span_s = self._decayed(now)
        if self._gone < FEWEST_GONE or span_s < LEAST_SPAN_S:
            count, span_s = self.fleet_per_s, 1.0
            if count <= 0.0:  # nobody can tell
                return LEAST_RETRY_S
        wait_s = before * span_s / max(count, _HARDLY_ANY)
        return max(min(wait_s, most_s, MOST_RETRY_S), LEAST_RETRY_S)

    def _decayed(self, now: float) -> tuple[float, float]:
        keep = math.exp((self._as_of_s - now) / RATE_TAU_S)
        return self._count * keep, self._span_s * keep + RATE_TAU_S * (1.0 - keep)
