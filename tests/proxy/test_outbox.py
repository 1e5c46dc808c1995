"""Writes held back to the end of the turn."""

import asyncio

import pytest

from proxy.outbox import MOST_BYTES, Outbox

pytestmark = pytest.mark.anyio


class Wire(asyncio.Transport):
    """Keep what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.closed = False

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        assert not self.closed
        self.written.append(data)

    def is_closing(self) -> bool:
        return self.closed


async def test_writes_are_made_in_order_when_the_turn_ends() -> None:
    outbox, one, other = Outbox(), Wire(), Wire()
    outbox.write(one, b"a", None)
    outbox.write(other, b"b", None)
    outbox.write(one, b"c", None)
    held = [*one.written, *other.written]

    await asyncio.sleep(0)

    assert held == []
    assert (one.written, other.written) == ([b"a", b"c"], [b"b"])


async def test_no_more_than_one_read_is_held_back() -> None:
    outbox, wire = Outbox(), Wire()

    outbox.write(wire, bytes(MOST_BYTES + 1), None)

    assert len(wire.written) == 1


async def test_nothing_is_written_to_a_transport_that_has_closed() -> None:
    outbox, wire = Outbox(), Wire()
    outbox.write(wire, b"a", None)
    wire.closed = True

    outbox.flush()

    assert wire.written == []
