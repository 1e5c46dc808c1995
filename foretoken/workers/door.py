"""Let connections in, each to the worker that has the fewest.

All workers wait at one socket, and the system wakes all of them: without more, whoever
runs first takes every connection of a burst, and few connections that live long stay
where they fell. Here a worker takes one only while no other has fewer, and one that nobody
took for a while whoever it is. Looks like one of asyncio's servers to whoever shuts it down.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Final

from foretoken.workers.table import SharedTable

log = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 0.001
PATIENCE_S: Final = 0.02
"""Whoever has the fewest may be busy, or gone: a connection waits no longer for it."""
_AT_ONCE: Final = 64
"""Connections taken before the event loop has its turn again."""
_OUT_OF_FILES_S: Final = 1.0


class Door:
    """Accept connections for a server.

    Args:
        listener: Shared with the other workers.
        table: Tells who has how many connections.
        count: Counts ours.
        admit: Makes a connection of an accepted socket.
        clock: The one that all workers share.
    """

    def __init__(
        self,
        listener: socket.socket,
        table: SharedTable,
        *,
        count: Callable[[], int],
        admit: Callable[[socket.socket], None],
        clock: Callable[[], float],
    ) -> None:
        listener.setblocking(False)  # noqa: FBT003  # the library's
        self._listener = listener
        self._table = table
        self._count = count
        self._admit = admit
        self._clock = clock
        self._passed_s: float | None = None  # since when we leave one to others
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._open = True

    def open(self) -> None:
        """Begin to let connections in."""
        self._timer = None
        self._loop.add_reader(self._listener.fileno(), self._knocked)

    def close(self) -> None:
        """Let nobody in any more."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._listener.fileno())
            if self._timer is not None:
                self._timer.cancel()
            self._listener.close()

    async def wait_closed(self) -> None:
        """Return at once: whoever is in is the server's to wait for."""

    def settle(self) -> None:
        """Tell the others how many we have; call now and then."""
        self._table.set_connections(self._count())

    def _knocked(self) -> None:
        ours, now = self._count(), self._clock()
        for _ in range(_AT_ONCE):
            self._table.set_connections(ours)
            if ours > self._table.fewest_connections(now) and not self._is_overdue(now):
                self._look_again(LOOK_AGAIN_S)
                return
            self._passed_s = None
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                break
            except OSError as error:  # no file left: one may be by and by
                log.error("cannot_accept", extra={"problem": error.strerror})
                self._look_again(_OUT_OF_FILES_S)
                return
            ours += 1
            self._admit(accepted)

    def _is_overdue(self, now: float) -> bool:
        """Say whether the one we leave to others has waited long enough."""
        if self._passed_s is None or now - self._passed_s > 10 * PATIENCE_S:
            self._passed_s = now
        return now - self._passed_s > PATIENCE_S

    def _look_again(self, after_s: float) -> None:
        self._loop.remove_reader(self._listener.fileno())
        self._timer = self._loop.call_later(after_s, self.open)
