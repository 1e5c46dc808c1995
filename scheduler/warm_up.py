"""Let an endpoint that has just come warm up before it counts like the others.

An empty endpoint looks best to everyone at once, and what speaks for it is unproven: its
caches and its kernels are cold, and nobody has measured it yet. So for a while it may have
in flight only a growing share of what the others have on average, one at least. Where it
disappoints at first it is not given up either: while it warms up it is tried now and then,
or its first bad labels would be its last. Counted in flight, not in requests per second: when
the others are overloaded, which is when endpoints are added, its share grows with their load.

A conversation that began there goes on there. Nothing is bounded where all are new. One per
fleet; written by the scheduler, read by the decider. Times are those of scrapes.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.types import FloatArray
from scheduler.endpoint_table import Members

FIRST_RATIO: Final = 0.02
"""Share of the others' mean in flight at first; one request at least."""

TRY_EVERY: Final = 4.0
"""Decisions of the fleet per candidate after which one that warms up is tried."""

SETTLED_S: Final = 10.0
"""Only beside endpoints known for so long is another new: at a router's start all come at once."""


class WarmUp:
    """Know which endpoints of a fleet are new, and how much each may have.

    Attributes:
        seconds: How long an endpoint is new; 0 for never.
        until_s: Nobody is new from then on.

    >>> warm_up = WarmUp(seconds=30.0)
    >>> warm_up.came("a:1", 0.0)
    >>> warm_up.came("b:1", 100.0)
    >>> warm_up.until_s, warm_up.share("a:1", 115.0), warm_up.share("b:1", 115.0)
    (130.0, 1.0, 0.51)
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.until_s = -np.inf
        self._known_s: dict[str, float] = {}
        self._new: dict[str, float] = {}
        self._decisions = 0
        self._last: dict[str, int] = {}

    def knows(self, endpoint: str) -> bool:
        """Say whether an endpoint was seen before."""
        return endpoint in self._known_s

    def came(self, endpoint: str, at_s: float) -> None:
        """Note that an endpoint is first seen, or has begun anew."""
        self._known_s[endpoint] = at_s
        if self.seconds > 0 and min(self._known_s.values()) <= at_s - SETTLED_S:
            self._new[endpoint] = at_s
            self._last[endpoint] = self._decisions
            self._settle()

    def forget(self, endpoint: str) -> None:
        """Forget an endpoint that has left."""
        self._known_s.pop(endpoint, None)
        if self._new.pop(endpoint, None) is not None:
            self._last.pop(endpoint, None)
            self._settle()

    def share(self, endpoint: str, now: float) -> float:
        """Give what an endpoint may have of the others' mean in flight; 1 where it is not new."""
        since_s = self._new.get(endpoint)
        if since_s is None or now >= since_s + self.seconds:
            return 1.0
        age = max(now - since_s, 0.0) / self.seconds
        return FIRST_RATIO + (1.0 - FIRST_RATIO) * age

    def admit(
        self, members: Members, inflight: FloatArray, now: float, *, kept: str | None
    ) -> Members:
        """Leave out those that are new and have their share.

        Args:
            members: Where the request may go.
            inflight: ``(n,)`` requests in flight there.
            now: When.
            kept: Stays whatever it has.
        """
        shares = np.array([self.share(name, now) for name in members.names])
        new = shares < 1.0
        if new.all() or not new.any():
            return members
        most = np.maximum(shares * float(inflight[~new].mean()), 1.0)
        full: NDArray[np.bool_] = new & (inflight >= most)
        if kept is not None and kept in members.names:
            full[members.names.index(kept)] = False
        return members.only(np.flatnonzero(~full).tolist()) if full.any() else members

    def due(self, names: tuple[str, ...], now: float) -> int | None:
        """Give the position of a new endpoint passed over for long, ``None`` for none."""
        before = self._decisions - TRY_EVERY * len(names)
        for position, name in enumerate(names):
            if self._last.get(name, self._decisions) <= before and self.share(name, now) < 1.0:
                return position
        return None

    def decided(self, endpoint: str) -> None:
        """Note where a request went."""
        self._decisions += 1
        if endpoint in self._last:
            self._last[endpoint] = self._decisions

    def _settle(self) -> None:
        self.until_s = max(self._new.values(), default=-np.inf) + self.seconds
