"""Write to many sockets in one system call: Linux's own asynchronous I/O.

``io_submit`` writes to a socket then and there, as ``write`` does. Who sleeps at the other
end, on a core that we share, may take it from us when the call returns: after each
``write``, or here once, and then finds all that is for it. What a socket does not take at
once, or refuses, is left to its transport, and so is what has to wait for bytes that the
transport holds already. ``docs/decisions/data-path.md`` has what this saves.
"""

import asyncio
import ctypes
import errno
import os
import platform
import socket
import sys
from typing import Final

MOST_WRITES: Final = 64
MOST_BYTES: Final = 65_536
"""In one call; more take another."""

# Numbers of the system calls io_setup, io_destroy, io_getevents and io_submit.
_CALLS: Final = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
_WRITE: Final = 1  # IOCB_CMD_PWRITE of linux/aio_abi.h
_WORD_BYTES: Final = 8
_IOCB_WORDS: Final = 8  # in a struct iocb
_CALL_WORD: Final = 2  # operation and, in the upper half, descriptor
_ADDRESS_WORD: Final = 3
_LENGTH_WORD: Final = 4
_EVENT_WORDS: Final = 4  # in a struct io_event, which begins with whose it is
_RESULT_WORD: Final = 2


def descriptor_of(transport: asyncio.BaseTransport) -> int | None:
    """Give the descriptor of a transport's socket, ``None`` where other bytes go there (TLS)."""
    found = transport.get_extra_info("socket")
    if found is None or transport.get_extra_info("sslcontext") is not None:
        return None
    return int(found.fileno())


class JointWrite:
    """Collect writes to sockets, at most one to each, and make them all at once.

    Raises:
        OSError: The system has no such call, does not let us make it, or does something else.
    """

    def __init__(self) -> None:
        calls = _CALLS.get(platform.machine()) if sys.platform == "linux" else None
        if calls is None or sys.maxsize < 1 << 32:
            raise _error(errno.ENOSYS, "io_setup")
        setup, self._destroy, self._getevents, self._submit = calls
        # A library of this kind keeps the interpreter's lock: the calls wait for nothing.
        self._call = ctypes.PyDLL(None, use_errno=True)["syscall"]
        self._call.restype = ctypes.c_long
        self._call.argtypes = [ctypes.c_long] * 6
        context = ctypes.c_ulong(0)
        if self._call(setup, MOST_WRITES, ctypes.addressof(context), 0, 0, 0) < 0:
            raise _error(ctypes.get_errno(), "io_setup")
        self._context = context.value
        self._bytes = (ctypes.c_char * MOST_BYTES)()
        self._address = ctypes.addressof(self._bytes)
        self._staged = memoryview(self._bytes).cast("B")
        self._blocks = (ctypes.c_uint64 * (MOST_WRITES * _IOCB_WORDS))()
        self._words = memoryview(self._blocks).cast("B").cast("Q")
        for number in range(MOST_WRITES):
            self._words[number * _IOCB_WORDS] = number
        first, size = ctypes.addressof(self._blocks), _IOCB_WORDS * _WORD_BYTES
        addresses = [first + number * size for number in range(MOST_WRITES)]
        self._addresses = (ctypes.c_uint64 * MOST_WRITES)(*addresses)
        self._first_address = ctypes.addressof(self._addresses)
        self._events = (ctypes.c_int64 * (MOST_WRITES * _EVENT_WORDS))()
        self._first_event = ctypes.addressof(self._events)
        self._results = memoryview(self._events).cast("B").cast("q")
        self._used = 0
        self._writes: list[tuple[asyncio.Transport, bytes]] = []
        self._descriptors: set[int] = set()
        self._try()

    def write(self, transport: asyncio.Transport, descriptor: int, data: bytes) -> None:
        """Write at the next flush; now what is too long, or has to wait for other bytes."""
        length = len(data)
        if descriptor in self._descriptors:  # what it leaves of that comes first
            self.flush()
        if length > MOST_BYTES or transport.get_write_buffer_size():
            transport.write(data)
            return
        if len(self._writes) == MOST_WRITES or self._used + length > MOST_BYTES:
            self.flush()
        self._stage(len(self._writes), descriptor, data)
        self._descriptors.add(descriptor)
        self._writes.append((transport, data))

    def flush(self) -> None:
        """Make all that was collected."""
        writes = self._writes
        self._writes = []
        self._descriptors.clear()
        if len(writes) == 1:  # as well by itself
            self._used = 0
            transport, data = writes[0]
            transport.write(data)
            return
        for (transport, data), taken in zip(writes, self._make(len(writes)), strict=True):
            if taken != len(data):
                transport.write(data[taken:])

    def close(self) -> None:
        """Give the system back what it keeps for us; nothing can be written any more."""
        self._call(self._destroy, self._context, 0, 0, 0, 0)

    def _stage(self, number: int, descriptor: int, data: bytes) -> None:
        used, block, words = self._used, number * _IOCB_WORDS, self._words
        self._staged[used : used + len(data)] = data
        words[block + _CALL_WORD] = _WRITE | descriptor << 32
        words[block + _ADDRESS_WORD] = self._address + used
        words[block + _LENGTH_WORD] = len(data)
        self._used = used + len(data)

    def _make(self, count: int) -> list[int]:
        """Make so many staged writes; say how many bytes of each its socket took."""
        self._used = 0
        taken, made = [0] * count, 0
        while made < count:
            addresses = self._first_address + made * _WORD_BYTES
            submitted = self._call(self._submit, self._context, count - made, addresses, 0, 0)
            if submitted > 0:
                self._settle(submitted, taken)
            made += max(submitted, 1)  # one that cannot be submitted, for nobody's descriptor
        return taken

    def _settle(self, submitted: int, taken: list[int]) -> None:
        results = self._results
        while submitted:
            ended = self._call(
                self._getevents, self._context, submitted, submitted, self._first_event, 0
            )
            if ended < 0 and ctypes.get_errno() != errno.EINTR:
                raise _error(ctypes.get_errno(), "io_getevents")
            for event in range(0, ended * _EVENT_WORDS, _EVENT_WORDS):
                taken[results[event]] = max(results[event + _RESULT_WORD], 0)
            submitted -= max(ended, 0)

    def _try(self) -> None:
        """Make one write as all others will be made."""
        mine, other = socket.socketpair()
        with mine, other:
            mine.settimeout(0)
            other.settimeout(0)
            try:
                self._stage(0, mine.fileno(), b"?")
                if self._make(1) == [1] and other.recv(2) == b"?":
                    return
            except OSError:
                self.close()
                raise
        self.close()
        raise _error(errno.ENOTSUP, "io_submit")


def _error(number: int, call: str) -> OSError:
    return OSError(number, os.strerror(number), call)
