"""Writes to many sockets in one system call, on real sockets."""

import asyncio
import platform
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.joint_write import MOST_BYTES, MOST_WRITES, JointWrite, descriptor_of
from proxy.outbox import Outbox

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
    joint.write(wire.transport, wire.descriptor, data)


async def test_all_is_written_at_once_and_past_the_transports() -> None:
    async with wires(3) as (one, two, three):
        joint = JointWrite()
        give(joint, one, b"first")
        give(joint, two, b"second")
        give(joint, three, b"third")
        with pytest.raises(BlockingIOError):
            one.other.recv(1)

        joint.flush()

        read = [wire.other.recv(100) for wire in (one, two, three)]  # no turn of the loop since
        assert read == [b"first", b"second", b"third"]
        joint.close()


async def test_more_than_one_call_holds_take_several() -> None:
    count = 2 * MOST_WRITES + 3
    async with wires(count) as many:
        joint = JointWrite()
        for number, wire in enumerate(many):
            give(joint, wire, b"%d" % number)
        joint.flush()

        assert [wire.other.recv(100) for wire in many] == [b"%d" % each for each in range(count)]
        joint.close()


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
        for _ in range(2):
            outbox.write(one.transport, b"a", one.descriptor)
            outbox.write(two.transport, b"b", two.descriptor)
            outbox.flush()

        assert [await one.read(2), await two.read(2)] == [b"aa", b"bb"]
        assert [record.message for record in caplog.records] == ["joint_writes_refused"]


async def test_a_closed_outbox_still_writes() -> None:
    async with wires(2) as (one, two):
        outbox = Outbox()
        for data in (b"a", b"b"):
            outbox.write(one.transport, data, one.descriptor)
            outbox.write(two.transport, data, two.descriptor)
            outbox.close()

        assert [await one.read(2), await two.read(2)] == [b"ab", b"ab"]


async def test_bytes_for_a_transport_of_its_own_kind_go_through_it() -> None:
    async with wires(2) as (plain, other):
        outbox = Outbox()
        outbox.write(plain.transport, b"plain", plain.descriptor)
        outbox.write(other.transport, b"ciphered", -1)
        outbox.flush()

        assert plain.other.recv(100) == b"plain"
        assert await other.read(8) == b"ciphered"
        outbox.close()
