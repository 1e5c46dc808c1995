"""Writes held back to the end of the event loop's turn, then made one after the other.

A write to a peer that sleeps wakes it, and the waking costs the writer more than the
write. While one turn's requests are worked on, a peer written to in between would wake,
find one request, and sleep again; written to at the end of the turn, it wakes once and
finds them all. A turn with one request in it writes as soon as without this. One for both
sides of the data path.
"""

import asyncio
from typing import Final

# Most bytes held back: one read's worth, so that a peer that does not take them stops us
# from reading more within the same turn.
MOST_BYTES: Final = 262_144


class Outbox:
    """Hold writes back until the turn ends."""

    __slots__ = ("_bytes", "_loop", "_pending")

    def __init__(self) -> None:
        self._bytes = 0
        self._pending: list[tuple[asyncio.Transport, bytes]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write to a transport at the end of this turn."""
        pending = self._pending
        pending.append((transport, data))
        self._bytes += len(data)
        if len(pending) == 1:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self.flush)
        if self._bytes > MOST_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write now; before a transport is closed or looked into."""
        pending = self._pending
        if not pending:
            return
        self._pending, self._bytes = [], 0
        for transport, data in pending:
            if not transport.is_closing():
                transport.write(data)
