"""Tell what a numbered message means for what is known of a publisher.

Publishers number their batches from 0 and begin anew when they restart, with a later time
in the batch: what has a lower number and an older time has been seen. Pure. Called by the
subscriber.
"""

import math
from typing import Literal

Verdict = Literal["next", "seen", "gap", "restart"]
"""Follows what is known; known already; something is missing before it; begins anew."""


class History:
    """Know how far a publisher has been followed.

    Attributes:
        expected: Number of the batch that comes next.
        last_ts: The publisher's time in the last one.

    >>> history = History()
    >>> history.judge(0, 10.0), history.judge(2, 10.5)
    ('next', 'gap')
    >>> history.take(0, 10.0), history.judge(0, 10.0), history.judge(0, 99.0)
    (None, 'seen', 'restart')
    """

    def __init__(self) -> None:
        self.expected = 0
        self.last_ts = -math.inf

    def judge(self, number: int, ts: float) -> Verdict:
        """Say what a batch is."""
        if number == self.expected:
            return "next"
        if number > self.expected:
            return "gap"
        return "restart" if ts > self.last_ts else "seen"

    def take(self, number: int, ts: float) -> None:
        """Note that a batch has been taken in."""
        self.expected, self.last_ts = number + 1, ts
