"""Writes to many sockets in one system call, on real sockets."""

import asyncio
import platform
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from proxy.joint_write import MOST_BYTES, MOST_WRITES, JointWrite, descriptor_of
from proxy.outbox import FEW_WRITES, Outbox

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="a system call of Linux"),
]


class Wire:
    """One connection: what is written at this end is read at the other one."""

    def __init__(self, transport: asyncio.Transport, other: socket.socket) -> None:
        self.transport = transport
        self.descriptor = descriptor_of(transport)
        self.other = other

    async def read(self, length: int) -> bytes:
        """Read so many bytes, fewer where the end comes before."""
        loop, read = asyncio.get_running_loop(), b""
        while len(read) < length:
            data = await loop.sock_recv(self.other, length - len(read))
            if not data:
                break
            read += data
        return read


@asynccontextmanager
async def wires(count: int) -> AsyncIterator[list[Wire]]:
    """Connect so many pairs of sockets."""
    loop, made = asyncio.get_running_loop(), list[Wire]()
    try:
        for _ in range(count):
            mine, other = socket.socketpair()
            other.setblocking(False)
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=mine)
            made.append(Wire(transport, other))
        yield made
    finally:
        for wire in made:
            wire.transport.abort()
            wire.other.close()
        await asyncio.sleep(0)


def give(joint: JointWrite, wire: Wire, data: bytes) -> None:
    assert wire.descriptor is not None
    joint.write(wire.transport, wire.descriptor, data)


class Untouched(asyncio.Transport):
    """Keep what is left to it; nothing should be where its socket takes all."""

    def __init__(self) -> None:
        self.left: list[bytes] = []
        self.closed = False

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.left.append(data)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.left))

    def is_closing(self) -> bool:
        return self.closed


@contextmanager
def pairs(count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Connect so many pairs of sockets, of which none waits."""
    made = [socket.socketpair() for _ in range(count)]
    for both in made:
        for one in both:
            one.settimeout(0)
    try:
        yield made
    finally:
        for both in made:
            for one in both:
                one.close()


def test_what_sockets_take_is_written_to_them_and_not_to_transports() -> None:
    count = 2 * MOST_WRITES + 3
    with pairs(count) as made:
        joint, transports = JointWrite(), [Untouched() for _ in range(count)]
        for number, (mine, _) in enumerate(made):
            joint.write(transports[number], mine.fileno(), b"%d" % number)
        with pytest.raises(BlockingIOError):
            made[-1][1].recv(1)

        joint.flush()

        assert [other.recv(100) for _, other in made] == [b"%d" % each for each in range(count)]
        assert not any(transport.left for transport in transports)
        joint.close()


def test_what_a_socket_does_not_take_is_left_to_its_transport() -> None:
    with pairs(2) as ((full, reader), (mine, other)):
        full.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        joint, slow, well = JointWrite(), Untouched(), Untouched()
        data = bytes(range(256)) * (MOST_BYTES // 512)
        joint.write(slow, full.fileno(), data)
        joint.write(well, mine.fileno(), b"x")

        joint.flush()
        joint.write(slow, full.fileno(), b"next")  # waits behind it
        joint.flush()

        taken = reader.recv(MOST_BYTES)
        assert 0 < len(taken) < len(data)
        assert taken + b"".join(slow.left) == data + b"next"
        assert (other.recv(10), well.left) == (b"x", [])
        joint.close()


async def test_an_outbox_writes_to_sockets_where_several_writes_wait() -> None:
    with pairs(2) as ((mine, reader), (yours, other)):
        outbox, transports = Outbox(), [Untouched(), Untouched()]
        for _ in range(FEW_WRITES):
            outbox.write(transports[0], b"a", mine.fileno())
            outbox.write(transports[1], b"b", yours.fileno())
        await asyncio.sleep(0)

        assert (reader.recv(100), other.recv(100)) == (b"a" * FEW_WRITES, b"b" * FEW_WRITES)
        assert not any(transport.left for transport in transports)
        outbox.close()


class Broken(Untouched):
    """Break on every write."""

    def write(self, data: object) -> None:  # asyncio's
        raise RuntimeError


async def test_nothing_is_kept_for_a_descriptor_beyond_its_turn() -> None:
    with pairs(2) as ((mine, reader), (yours, other)):
        outbox = Outbox()
        for _ in range(FEW_WRITES):
            outbox.write(Untouched(), b"a", mine.fileno())
            outbox.write(Untouched(), b"b", yours.fileno())
        outbox.write(Broken(), b"lost", None)

        with pytest.raises(RuntimeError):
            outbox.flush()

        assert (reader.recv(100), other.recv(100)) == (b"a" * FEW_WRITES, b"b" * FEW_WRITES)
        outbox.close()


async def test_tls_is_written_by_its_transport(certificate: tuple[Path, Path]) -> None:
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(*certificate)
    asking = ssl.create_default_context(cafile=certificate[0])
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[asyncio.BaseTransport] = loop.create_future()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(transport)

    server = await loop.create_server(Accepting, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    transport, _ = await loop.create_connection(
        asyncio.Protocol, "127.0.0.1", port, ssl=asking, server_hostname="localhost"
    )

    assert descriptor_of(transport) is None
    assert descriptor_of(await accepted) is None
    transport.close()
    server.close()


async def test_writes_to_one_socket_stay_in_order_whatever_their_length() -> None:
    async with wires(2) as (one, two):
        joint = JointWrite()
        pieces = [b"head", bytes(MOST_BYTES + 1), b"tail", b"x" * MOST_BYTES, b"end"]
        for piece in pieces:
            give(joint, one, piece)
            give(joint, two, piece)
        joint.flush()

        whole = b"".join(pieces)
        assert await one.read(len(whole)) == whole
        assert await two.read(len(whole)) == whole
        joint.close()


async def test_what_a_full_socket_does_not_take_follows_once_it_is_read() -> None:
    async with wires(2) as (slow, other):
        joint = JointWrite()
        pieces = [bytes([number]) * 50_000 for number in range(40)]
        for piece in pieces:
            give(joint, slow, piece)
            give(joint, other, b"x")
            joint.flush()

        held = slow.transport.get_write_buffer_size()
        assert held > 0
        assert await other.read(40) == b"x" * 40
        assert await slow.read(2_000_000) == b"".join(pieces)
        joint.close()


async def test_a_socket_that_is_gone_harms_no_other() -> None:
    async with wires(3) as (gone, misnamed, well):
        joint = JointWrite()
        lost = asyncio.get_running_loop().create_future()
        gone.transport.set_protocol(Noting(lost))
        gone.other.close()  # the other end: EPIPE
        unused = socket.socket()
        nobodys = unused.fileno()
        unused.close()
        give(joint, gone, b"a")
        joint.write(misnamed.transport, nobodys, b"b")  # EBADF, for the whole call
        give(joint, well, b"c")

        joint.flush()

        assert well.other.recv(100) == b"c"
        assert await misnamed.read(1) == b"b"  # by its transport
        await asyncio.wait_for(lost, 5.0)
        joint.close()


class Noting(asyncio.Protocol):
    """Note the end of a connection."""

    def __init__(self, lost: "asyncio.Future[None]") -> None:
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:  # asyncio's
        if not self._lost.done():
            self._lost.set_result(None)


async def test_an_outbox_writes_one_by_one_where_there_is_no_such_call(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "vax")
    caplog.set_level("INFO")
    async with wires(2) as (one, two):
        outbox = Outbox()
        for _ in range(FEW_WRITES):
            outbox.write(one.transport, b"a", one.descriptor)
            outbox.write(two.transport, b"b", two.descriptor)
        outbox.flush()

        count = FEW_WRITES
        assert [await one.read(count), await two.read(count)] == [b"a" * count, b"b" * count]
        assert [record.message for record in caplog.records] == ["joint_writes_refused"]


async def test_a_closed_outbox_still_writes() -> None:
    async with wires(2) as (one, two):
        outbox = Outbox()
        for _ in range(2):
            for _ in range(FEW_WRITES):
                outbox.write(one.transport, b"a", one.descriptor)
                outbox.write(two.transport, b"b", two.descriptor)
            outbox.close()

        count = 2 * FEW_WRITES
        assert [await one.read(count), await two.read(count)] == [b"a" * count, b"b" * count]
