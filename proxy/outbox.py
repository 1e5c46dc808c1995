"""Writes held back to the end of the event loop's turn, then made one after the other.

A write to a peer that sleeps wakes it, and the waking costs the writer more than the
write. While one turn's requests are worked on, a peer written to in between would wake,
find one request, and sleep again; written to at the end of the turn, it wakes once and
finds them all; so that it does not wake after the first of these writes and take our core,
many are made in one system call where there is one (:mod:`proxy.joint_write`). A turn with
one request in it writes as soon as without this. One for both sides of the data path.
"""

import asyncio
import logging
from typing import Final

from proxy.joint_write import JointWrite

log = logging.getLogger(__name__)

# Most bytes held back: one read's worth, so that a peer that does not take them stops us
# from reading more within the same turn.
MOST_BYTES: Final = 262_144

FEW_WRITES: Final = 8
"""So many are made one by one: preparing a common call costs more than it saves, as where
streams have a token each now and then."""


class Outbox:
    """Hold writes back until the turn ends."""

    __slots__ = ("_bytes", "_joint", "_loop", "_pending", "_together")

    def __init__(self) -> None:
        self._bytes = 0
        self._pending: list[tuple[asyncio.Transport, int | None, bytes]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._joint: JointWrite | None = None
        self._together = True  # as far as we know

    def write(self, transport: asyncio.Transport, data: bytes, descriptor: int | None) -> None:
        """Write to a transport at the end of this turn.

        Args:
            transport: Is not closed.
            data: What to write.
            descriptor: Of its socket, ``None`` where that is given other bytes, as by TLS.
        """
        pending = self._pending
        pending.append((transport, descriptor, data))
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
        joint = self._writing_together() if len(pending) > FEW_WRITES else None
        try:
            for transport, descriptor, data in pending:
                if transport.is_closing():
                    continue
                if joint is None or descriptor is None:
                    transport.write(data)
                else:
                    joint.write(transport, descriptor, data)
        finally:  # by the next turn a descriptor may be another's
            if joint is not None:
                joint.flush()

    def close(self) -> None:
        """Give back what the system keeps for us; what is still written is written one by one."""
        self.flush()
        self._together = False
        if self._joint is not None:
            self._joint.close()
            self._joint = None

    def _writing_together(self) -> JointWrite | None:
        if self._joint is None and self._together:
            try:
                self._joint = JointWrite()
            except OSError as error:
                self._together = False
                log.info("joint_writes_refused", extra={"problem": str(error)})
        return self._joint
