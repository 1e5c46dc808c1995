"""Who trains for all routers that read one models store: whoever holds the lease.

The lease is a key of the server that expires unless it is renewed; its value names the
holder and a token that grows with every holder. The holder counts on it for less time than
the server keeps it, from before it asked: so it has stopped before another one can begin.
The trainer process knows that instant too, and publishes nothing after it, even where the
process that holds the lease is frozen. A token beats any earlier one, whoever hears of it.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

log = logging.getLogger(__name__)

SAFE_SHARE: Final = 0.8
"""Of the lease's time the holder counts on so much."""
RENEWALS: Final = 5
"""Asked for so many times within the lease's time."""


class LeaseKeeper(Protocol):
    """Keep the lease; the server does, and tests."""

    async def take(self, owner: str, ttl_s: float) -> int | None:
        """Take it if nobody has it: the token, else ``None``."""
        ...

    async def renew(self, owner: str, token: int, ttl_s: float) -> bool:
        """Keep it for as long again; false where it is not ours any more."""
        ...

    async def give_up(self, owner: str, token: int) -> None:
        """Let others have it, if it is ours."""
        ...


class Lease:
    """Hold the lease, or wait for it.

    Args:
        owner: Names us.
        ttl_s: How long the server keeps it without a sign of ours.
        clock: The monotonic one: the trainer process reads the same.
        on_change: Told when we begin or end to hold it, or for how long has changed.

    Attributes:
        owner: As above.
        held: Set while we hold it.
        token: Of our lease, 0 without one.
        until_s: Until when we may count on it, by the clock.
    """

    def __init__(
        self,
        owner: str,
        *,
        ttl_s: float,
        clock: Callable[[], float],
        on_change: Callable[[], None],
    ) -> None:
        self.held = asyncio.Event()
        self.token = 0
        self.until_s = 0.0
        self.owner = owner
        self._ttl_s = ttl_s
        self._clock = clock
        self._on_change = on_change

    @property
    def interval_s(self) -> float:
        """Give how long to wait between two calls of :meth:`stand`."""
        return self._ttl_s / RENEWALS

    async def stand(self, keeper: LeaseKeeper, *, candidate: bool) -> None:
        """Take, keep or give up the lease, once."""
        asked_s = self._clock()
        if self.token and not candidate:
            token = self.token
            self.lose("given_up")
            await keeper.give_up(self.owner, token)
        elif self.token:
            if await keeper.renew(self.owner, self.token, self._ttl_s):
                self._keep(asked_s)
            else:
                self.lose("taken")
        elif candidate:
            token = await keeper.take(self.owner, self._ttl_s) or 0
            if token:
                self.token = token
                self._keep(asked_s)

    def check(self) -> None:
        """End to hold it where it could not be renewed in time."""
        if self.token and self._clock() >= self.until_s:
            self.lose("expired")

    def lose(self, reason: str) -> None:
        """End to hold it, if we do."""
        if not self.token:
            return
        log.info("training_lease_ended", extra={"reason": reason, "token": self.token})
        self.token, self.until_s = 0, 0.0
        self.held.clear()
        self._on_change()

    def _keep(self, asked_s: float) -> None:
        self.until_s = asked_s + SAFE_SHARE * self._ttl_s
        if self._clock() >= self.until_s:  # the answer took too long
            self.lose("expired")
            return
        if not self.held.is_set():
            log.info("training_lease_held", extra={"token": self.token})
            self.held.set()
        self._on_change()
