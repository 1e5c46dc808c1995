"""Endpoints that have left for good: what was said of them is of nobody any more.

A restart, or a list that flaps, is shorter than what we wait; addresses of pods are given to
others later. Called by whoever keeps what people want of endpoints.
"""

from collections.abc import Iterable
from typing import Final

GONE_S: Final = 60.0
"""An endpoint that was here and is not for so long is gone for good."""


class Departures:
    """Tell who was here and has been gone for long.

    >>> departures = Departures()
    >>> departures.follow(["a:1"], now=0.0), departures.follow([], now=1.0)
    ([], [])
    >>> departures.follow([], now=61.0)
    ['a:1']
    """

    def __init__(self) -> None:
        self._present: set[str] = set()
        self._since: dict[str, float] = {}  # of those that are not here, while we wait

    def follow(self, endpoints: Iterable[str], now: float) -> list[str]:
        """Take in the whole present set; give those that are now gone for good, once."""
        before, self._present = self._present, set(endpoints)
        for name in self._since.keys() & self._present:
            del self._since[name]
        for name in before - self._present:
            self._since[name] = now
        gone = [name for name, since in self._since.items() if now - since >= GONE_S]
        for name in gone:
            del self._since[name]
        return gone
