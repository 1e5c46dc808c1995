"""Carry messages between the workers of one machine, over Unix sockets in a folder.

Every worker listens under its number and connects to all others; a connection carries
messages one way. What is told waits some milliseconds for more, so that a frame holds what
many requests have to say. Who is not there misses what is told, and what cannot be sent in
time is dropped and counted: nothing here ever waits for another worker.
"""

import asyncio
import logging
from pathlib import Path
from typing import Final, Protocol

import msgspec

from foretoken.workers.messages import Gathered, Hello, Lesson, Message, frame, frames
from scheduler.words import Shown

log = logging.getLogger(__name__)

COLLECT_S: Final = 0.005
"""What is told waits so long for more."""
LESSONS_S: Final = 0.025
"""What only teaches may wait longer: a frame costs both sides more than what is in it."""

_PATIENT: Final = (Gathered, Lesson, Shown)
RECONNECT_S: Final = 0.05
MOST_BUFFERED_BYTES: Final = 32 << 20
"""A worker that does not read for so long is stuck; more is not kept for it."""


class Listener(Protocol):
    """Take in what the bus brings; called on the event loop."""

    def heard(self, worker: int, message: Message) -> None:
        """Take in a message of another worker."""
        ...

    def joined(self, worker: int, *, fresh: bool) -> None:
        """Note that another worker can be told things; ``fresh``: it has just begun."""
        ...

    def lost(self, worker: int) -> None:
        """Note that another worker is gone."""
        ...


class Bus:
    """Connect one worker with all others.

    Args:
        folder: Where the sockets are.
        worker: Our number.
        workers: How many there are.
        fresh: As below.

    Attributes:
        fresh: Whether we still know nothing of what was changed at run time.
        dropped: Frames that others did not take in time.
    """

    def __init__(self, folder: Path, *, worker: int, workers: int, fresh: bool) -> None:
        self._folder = folder
        self._worker = worker
        self._others = [other for other in range(workers) if other != worker]
        self._listener: Listener | None = None
        self._out: dict[int, asyncio.WriteTransport] = {}
        self._in: set[asyncio.BaseTransport] = set()
        self._fresh_peers: set[int] = set()
        self._told: list[Message] = []
        self._timer: asyncio.TimerHandle | None = None
        self._patient = False  # whether it has the time of lessons
        self.fresh = fresh
        self.dropped = 0

    @property
    def connected(self) -> list[int]:
        """List the workers that can be told things."""
        return sorted(self._out)

    def tell(self, message: Message) -> None:
        """Tell all others: within milliseconds, or some more where it only teaches."""
        self._told.append(message)
        patient = isinstance(message, _PATIENT)
        if self._timer is not None:
            if patient or not self._patient:
                return
            self._timer.cancel()
        self._patient = patient
        wait_s = LESSONS_S if patient else COLLECT_S
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._flush)

    def tell_one(self, worker: int, message: Message) -> bool:
        """Tell one other at once, after all that was told before; false where it cannot be."""
        self._flush()
        transport = self._out.get(worker)
        return transport is not None and self._write(transport, frame([message]))

    async def run(self, listener: Listener) -> None:
        """Listen and stay connected until cancelled."""
        self._listener = listener
        path = self._path(self._worker)
        await asyncio.to_thread(path.unlink, missing_ok=True)  # of the one before us
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: _Incoming(self), path)
        try:
            async with asyncio.TaskGroup() as group:
                for other in self._others:
                    group.create_task(self._stay_connected(other))
        finally:
            server.close()
            if self._timer is not None:
                self._flush()
            for transport in (*self._out.values(), *self._in):
                transport.close()
            self._out.clear()

    def greeted(self, hello: Hello) -> None:
        """Note who speaks to us; whoever has just begun wants to be told what there is."""
        if hello.fresh:
            self._fresh_peers.add(hello.worker)
        if hello.worker in self._out:
            self._join(hello.worker)

    def received(self, worker: int, message: Message) -> None:
        """Hand on what another worker tells; a failure costs this message alone."""
        if self._listener is None:
            return
        try:
            self._listener.heard(worker, message)
        except Exception:
            log.exception("message_failed", extra={"kind": type(message).__name__})

    def came(self, transport: asyncio.BaseTransport) -> None:
        """Note that another worker has connected."""
        self._in.add(transport)

    def parted(self, transport: asyncio.BaseTransport, worker: int | None) -> None:
        """Note that another worker speaks no longer; ``None``: it never said who it was."""
        self._in.discard(transport)
        if self._listener is not None and worker is not None:
            self._listener.lost(worker)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        told, self._told = self._told, []
        if told and self._out:
            data = frame(told)
            for transport in self._out.values():
                self._write(transport, data)

    def _write(self, transport: asyncio.WriteTransport, data: bytes) -> bool:
        if transport.is_closing() or transport.get_write_buffer_size() > MOST_BUFFERED_BYTES:
            self.dropped += 1
            return False
        transport.write(data)
        return True

    def _join(self, worker: int) -> None:
        fresh = worker in self._fresh_peers
        self._fresh_peers.discard(worker)
        if self._listener is not None:
            self._listener.joined(worker, fresh=fresh)

    async def _stay_connected(self, worker: int) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                transport, protocol = await loop.create_unix_connection(
                    _Outgoing, str(self._path(worker))
                )
            except OSError:  # it has not begun, or is gone
                await asyncio.sleep(RECONNECT_S)
                continue
            transport.write(frame([Hello(self._worker, self.fresh)]))
            self._out[worker] = transport
            self._join(worker)
            await protocol.closed.wait()
            del self._out[worker]

    def _path(self, worker: int) -> Path:
        return self._folder / f"{worker}.sock"


class _Outgoing(asyncio.Protocol):
    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        self.closed.set()


class _Incoming(asyncio.Protocol):
    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._buffer = bytearray()
        self._worker: int | None = None
        self._transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._bus.came(transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            for messages in frames(self._buffer):
                for message in messages:
                    self._take(message)
        except msgspec.MsgspecError:
            log.exception("messages_unreadable", extra={"worker": self._worker})
            if self._transport is not None:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        if self._transport is not None:
            self._bus.parted(self._transport, self._worker)

    def _take(self, message: Message) -> None:
        if isinstance(message, Hello):
            self._worker = message.worker
            self._bus.greeted(message)
        elif self._worker is not None:
            self._bus.received(self._worker, message)
