"""How many requests of a fleet may be dispatched again, so that no outage is multiplied.

When endpoints fail, every request is dispatched up to ``max_attempts`` times, just when
there is least room. Retries beyond a share of the recent requests are therefore not made;
a floor lets a quiet service, and one endpoint's crash among several, be made good whole.
Called by the scheduler only.

Source: the idea and its defaults are those of Finagle's ``RetryBudget`` (20 %, 10 a
second, over 10 s), which Linkerd has as well.
"""

from typing import Final

from scheduler.settings import RetrySettings

SLOTS: Final = 10
"""Parts of the window; it moves on by one of them at a time."""


class RetryBudget:
    """Count a fleet's requests and retries of late.

    >>> budget = RetryBudget(RetrySettings(max_ratio=0.5, floor_per_s=0.0))
    >>> for _ in range(4):
    ...     budget.requested(now=1.0)
    >>> [budget.take(now=1.0) for _ in range(3)]
    [True, True, False]
    """

    def __init__(self, settings: RetrySettings | None = None) -> None:
        self._requests = [0] * SLOTS
        self._retries = [0] * SLOTS
        self._slot = 0  # number of the present one since the clock's zero
        self.configure(settings or RetrySettings())

    def configure(self, settings: RetrySettings) -> None:
        """Take other settings into force; what was counted stays."""
        self._settings = settings
        self._slots_per_s = SLOTS / settings.window_s

    def requested(self, now: float) -> None:
        """Count a request that has come in."""
        slot = int(now * self._slots_per_s)
        if slot != self._slot:
            self._move_on(slot)
        self._requests[slot % SLOTS] += 1

    def take(self, now: float) -> bool:
        """Say whether a request may be dispatched again, and count it if so."""
        slot = int(now * self._slots_per_s)
        if slot != self._slot:
            self._move_on(slot)
        if sum(self._retries) + 1 > self._allowed():
            return False
        self._retries[slot % SLOTS] += 1
        return True

    def used(self, now: float) -> float:
        """Give the share of the retries allowed of late that were made, 0 to 1.

        >>> budget = RetryBudget(RetrySettings(floor_per_s=0.1))
        >>> budget.take(now=1.0), budget.used(now=1.0)
        (True, 1.0)
        """
        slot = int(now * self._slots_per_s)
        if slot != self._slot:
            self._move_on(slot)
        made = sum(self._retries)
        return made / max(self._allowed(), made) if made else 0.0

    def _allowed(self) -> float:
        settings = self._settings
        share = settings.max_ratio * sum(self._requests)
        return max(share, settings.floor_per_s * settings.window_s)

    def _move_on(self, slot: int) -> None:
        """Forget what is older than the window; one set back or changed forgets all."""
        gone = slot - self._slot
        past = range(self._slot + 1, slot + 1) if 0 < gone < SLOTS else range(SLOTS)
        for number in past:
            self._requests[number % SLOTS] = 0
            self._retries[number % SLOTS] = 0
        self._slot = slot
