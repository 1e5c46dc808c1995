"""Log lines on their way to a descriptor, whole and in order, which nobody waits for.

Decides what happens when nobody reads: lines wait, bounded, and further ones are dropped
and counted; a broken pipe or a full disk costs lines, never a request. Lines of ordinary
records go out at once, those of requests a few at a time. Invariant: what is written to a
pipe in one piece is whole lines no longer than it takes in one piece, so that the trainer,
which writes to the same one, tears none; a file takes all at once. Constructed by
:mod:`foretoken.logs`.
"""

import os
import select
import stat
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

FLUSH_S: Final = 0.2
"""Longest that a request's line waits: nobody reads faster."""

_BATCH: Final = 64
"""Lines that are written without waiting for more: a fair system call of 30 KB."""

_FILE_BYTES: Final = 1 << 20
"""Written to a file in one piece."""

_MOST_WAITING: Final = 8192
"""Lines kept for a reader that is slow: 4 MB."""


class LogLines:
    """Write lines to a descriptor; every method may be called by any thread.

    Args:
        descriptor: Where to; whoever opened it closes it.

    Attributes:
        dropped: Lines that could not be written, or did not fit.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.RLock()  # the garbage collector may log in the middle of it
        self._flushing = False
        self._waiting: deque[bytes] = deque()
        self._rest = bytearray()  # what the last flush left, under the lock
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._most_bytes = _FILE_BYTES if is_file else select.PIPE_BUF
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self.dropped = 0

    def append(self, line: bytes) -> None:
        """Take a line, without its end, to be written soon."""
        waiting = self._waiting
        if len(waiting) >= _MOST_WAITING:
            self.dropped += 1
            return
        waiting.append(line)
        if len(waiting) % _BATCH == 0:
            self.flush()

    def write(self, line: bytes) -> None:
        """Write a line at once, behind all that wait."""
        self.append(line)
        self.flush()

    def flush(self, *, patience_s: float = 0.0) -> None:
        """Write what waits, as far as the other side takes it within ``patience_s``."""
        with self._lock:
            if self._flushing:
                return
            self._flushing = True
            try:
                while (self._rest or self._take()) and self._write_piece(patience_s):
                    pass
            finally:
                self._flushing = False

    async def run(self, rest: Callable[[float], Awaitable[None]]) -> None:
        """Write what waits, again and again, until cancelled.

        Args:
            rest: Waits for at most so many seconds.
        """
        while True:
            await rest(FLUSH_S)
            self.flush()

    def _take(self) -> bool:
        lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if lines:
            self._rest += b"\n".join((*lines, b""))
        return bool(lines)

    def _write_piece(self, patience_s: float) -> bool:
        """Write as many whole lines as a pipe takes in one piece, or a part of a long one.

        Returns:
            Whether the other side takes more.
        """
        end = self._rest.rfind(b"\n", 0, self._most_bytes) + 1 or self._most_bytes
        try:
            if not self._poll.poll(patience_s * 1e3):
                return False
            del self._rest[: os.write(self._descriptor, self._rest[:end])]
        except BlockingIOError:
            return False
        except OSError:
            self.dropped += self._rest.count(b"\n")
            self._rest.clear()
        return True
