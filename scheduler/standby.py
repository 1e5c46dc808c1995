"""Which classes of a fleet's endpoints stand open, and what went to those standing by.

A class is opened by the first request that the one below cannot serve well, and closed
when nobody has needed it for a while. While it is open the one below is held to more, so
that both sides of one limit are not taken in turn. Written by the placement, read by
:mod:`scheduler.classes` and by whoever publishes it.
"""

from collections import Counter

from predictor.types import SpillReason
from scheduler.settings import StandbySettings


class Standby:
    """Follow which classes of one fleet stand open, and count what went there.

    Args:
        settings: Bounds.

    Attributes:
        settings: Those in force.
        requests_total: Requests sent to a class above the lowest, by class and reason.
        openings_total: How often each class was opened.

    >>> standby = Standby(StandbySettings(dwell_s=10.0))
    >>> standby.spilled(1, "objective", now=0.0)
    >>> standby.spilled(1, "objective", now=5.0)
    >>> standby.is_open(1, now=14.0), standby.is_open(1, now=15.0), standby.openings_total[1]
    (True, False, 1)
    """

    def __init__(self, settings: StandbySettings | None = None) -> None:
        self.settings = settings or StandbySettings()
        self.requests_total: Counter[tuple[int, SpillReason]] = Counter()
        self.openings_total: Counter[int] = Counter()
        self._until_s: dict[int, float] = {}

    def is_open(self, priority_class: int, now: float) -> bool:
        """Say whether requests went to a class lately for want of the one below."""
        return now < self._until_s.get(priority_class, now)

    def ratio(self, priority_class: int, now: float) -> float:
        """Give the share of an objective that a class is held to."""
        above = any(one > priority_class and now < end for one, end in self._until_s.items())
        return self.settings.return_ratio if above else self.settings.spill_ratio

    def spilled(self, priority_class: int, reason: SpillReason, now: float) -> None:
        """Note a request that is sent to a class above the lowest."""
        self.requests_total[priority_class, reason] += 1
        if reason == "asked_for":  # the caller's wish says nothing of the class below
            return
        if not self.is_open(priority_class, now):
            self.openings_total[priority_class] += 1
        self._until_s[priority_class] = now + self.settings.dwell_s
