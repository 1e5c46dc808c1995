"""HTTP/2 as a server has it: windows, settings, pings, and peers that break the protocol."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.picker import frames
from proxy.picker.connection import STREAM_WINDOW, Connection
from proxy.picker.frames import Frame, frame, with_prefix
from tests.proxy.picker.told import cut
from tests.proxy.picker.wire import Peer, Wire


def _codes(came: list[Frame]) -> list[int]:
    return [int.from_bytes(p[4:8], "big") for kind, _, _, p in came if kind == frames.GOAWAY]


@pytest.mark.anyio
async def test_the_peer_is_greeted_with_our_settings_and_acknowledged() -> None:
    came = await Peer(most_streams=77).came()

    settings = frames.read_settings(came[0][3])
    assert settings == {
        frames.MAX_CONCURRENT_STREAMS: 77,
        frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
    }
    assert came[1][:3] == (frames.WINDOW_UPDATE, 0, 0)
    assert came[2] == (frames.SETTINGS, frames.ACK, 0, b"")


@pytest.mark.anyio
async def test_a_lost_connection_ends_every_call_though_one_fails(
    caplog: pytest.LogCaptureFixture,
) -> None:
    peer = Peer()
    for stream in (1, 3, 5):
        peer.open(stream)
    peer.handlers[3].fails = True

    peer.connection.connection_lost(None)

    assert [handler.heard for handler in peer.handlers.values()] == [["ended"]] * 3
    assert peer.lost
    assert [record.message for record in caplog.records] == ["picker_call_failed"]


@pytest.mark.anyio
async def test_a_call_is_answered_and_ended() -> None:
    peer = Peer()
    await peer.came()

    peer.open()
    peer.say(b"one")
    peer.say(b"two", flags=frames.END_STREAM)

    kinds = [(kind, flags) for kind, flags, _, _ in await peer.came()]
    assert kinds == [
        (frames.HEADERS, frames.END_HEADERS),
        (frames.DATA, 0),
        (frames.DATA, 0),
        (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM),
    ]
    assert peer.handlers[1].heard == [b"one", b"two", "half closed", "ended"]
    assert peer.connection.live_calls == 0


@given(
    messages=st.lists(st.binary(max_size=400), min_size=1, max_size=6),
    sizes=st.lists(st.integers(1, 90), min_size=1, max_size=5),
    bytes_each=st.integers(1, 200),
)
def test_what_is_said_arrives_wherever_frames_and_reads_are_cut(
    messages: list[bytes], sizes: list[int], bytes_each: int
) -> None:
    async def talk() -> list[bytes | str]:
        peer = Peer()
        peer.open()
        body = b"".join(map(with_prefix, messages))
        wire = b"".join(frame(frames.DATA, 0, 1, piece) for piece in cut(body, sizes))
        for piece in cut(wire, [bytes_each]):
            peer.connection.data_received(piece)
        assert await peer.messages() == messages
        return peer.handlers[1].heard

    assert asyncio.run(talk()) == messages


@pytest.mark.anyio
async def test_what_the_window_does_not_take_waits_and_then_goes() -> None:
    peer = Peer()
    large = b"x" * 200_000
    peer.open()
    peer.send(frames.SETTINGS, 0, 0, frames.settings({frames.INITIAL_WINDOW_SIZE: 1000}))
    for piece in cut(with_prefix(large), [16_000]):
        peer.send(frames.DATA, 0, 1, piece)
    peer.send(frames.DATA, frames.END_STREAM, 1, b"")

    first = await peer.came()
    assert sum(len(p) for kind, _, _, p in first if kind == frames.DATA) == 1000
    peer.send(frames.SETTINGS, 0, 0, frames.settings({frames.INITIAL_WINDOW_SIZE: 500_000}))
    assert len(await peer.came()) > 1  # the settings open the stream's window, not the connection's
    peer.send(frames.WINDOW_UPDATE, 0, 0, (1 << 20).to_bytes(4, "big"))
    peer.send(frames.WINDOW_UPDATE, 0, 1, (1 << 20).to_bytes(4, "big"))

    last = await peer.came()
    assert last[-1][:2] == (frames.HEADERS, frames.END_HEADERS | frames.END_STREAM)
    assert peer.connection.live_calls == 0


@pytest.mark.anyio
async def test_a_large_upload_is_acknowledged_unless_its_answer_is_not_taken() -> None:
    peer = Peer(most_bytes=8 << 20)
    peer.open()
    peer.open(3)
    await peer.came()
    half = with_prefix(b"x" * (3 << 20))
    for stream in (1, 3):
        for piece in cut(half, [16_000]):
            peer.send(frames.DATA, 0, stream, piece)
    told = [s for kind, _, s, _ in await peer.came() if kind == frames.WINDOW_UPDATE]
    assert told == [1, 3]  # before its message was whole, nothing was to be answered

    for piece in cut(half, [16_000]):  # the echo of the first fills what is held for the peer
        peer.send(frames.DATA, 0, 1, piece)
    assert frames.WINDOW_UPDATE not in [kind for kind, *_ in await peer.came()]
    peer.send(frames.WINDOW_UPDATE, 0, 0, (64 << 20).to_bytes(4, "big"))
    peer.send(frames.WINDOW_UPDATE, 0, 1, (64 << 20).to_bytes(4, "big"))

    assert frames.WINDOW_UPDATE in [kind for kind, *_ in await peer.came()]


@pytest.mark.anyio
async def test_header_blocks_may_be_continued_and_carry_rank_and_padding() -> None:
    peer = Peer()
    block = peer.block()

    peer.send(frames.HEADERS, frames.PRIORITIZED, 1, b"\0\0\0\0\x10" + block[:3])
    peer.send(frames.CONTINUATION, frames.END_HEADERS, 1, block[3:])

    peer.say(b"hello")
    assert await peer.messages() == [b"hello"]


@pytest.mark.anyio
async def test_a_ping_is_answered_and_unknown_frames_are_ignored() -> None:
    peer = Peer()
    await peer.came()

    peer.send(frames.PING, 0, 0, b"12345678")
    peer.send(frames.PRIORITY, 0, 9, b"\0\0\0\0\0")
    peer.send(0x77, 0, 0, b"?")
    peer.send(frames.GOAWAY, 0, 0, bytes(8))
    peer.send(frames.RST_STREAM, 0, 99, bytes(4))
    peer.send(frames.WINDOW_UPDATE, 0, 99, bytes(4))

    assert await peer.came() == [(frames.PING, frames.ACK, 0, b"12345678")]


@pytest.mark.anyio
async def test_a_reset_ends_a_call_at_once() -> None:
    peer = Peer()
    peer.open()

    peer.send(frames.RST_STREAM, 0, 1, bytes(4))
    peer.say(b"too late")

    assert peer.handlers[1].heard == ["ended"]


@pytest.mark.anyio
async def test_a_lost_connection_ends_every_call() -> None:
    peer = Peer()
    peer.open(1)
    peer.open(3)

    peer.connection.connection_lost(None)

    assert [handler.heard for handler in peer.handlers.values()] == [["ended"], ["ended"]]
    assert peer.lost


@pytest.mark.anyio
async def test_a_path_nobody_serves_is_unimplemented() -> None:
    peer = Peer()
    await peer.came()

    peer.open(path="/nowhere")

    (head, trailers) = await peer.came()
    assert head[0] == trailers[0] == frames.HEADERS
    assert b"12" in trailers[3]


@pytest.mark.anyio
@pytest.mark.parametrize("payload", [with_prefix(b"fail"), b"\x01\0\0\0\0", b"\0\x7f\0\0\0"])
async def test_a_call_that_cannot_go_on_ends_alone(payload: bytes) -> None:
    peer = Peer()
    peer.open(1)
    peer.open(3)
    await peer.came()

    peer.send(frames.DATA, 0, 1, payload)
    peer.say(b"still here", stream=3)

    came = await peer.came()
    assert any(s == 1 and flags & frames.END_STREAM for _, flags, s, _ in came)
    assert peer.handlers[1].heard == ["ended"]
    assert peer.handlers[3].heard == [b"still here"]


@pytest.mark.anyio
async def test_more_calls_than_allowed_are_refused() -> None:
    peer = Peer(most_streams=1)
    await peer.came()

    peer.open(1)
    peer.open(3)

    refused = frames.REFUSED_STREAM.to_bytes(4, "big")
    assert await peer.came() == [(frames.RST_STREAM, 0, 3, refused)]


@pytest.mark.anyio
async def test_a_drained_connection_ends_what_runs_and_takes_no_more() -> None:
    peer = Peer()
    peer.open(1)
    await peer.came()

    peer.connection.drain()
    peer.open(3)

    came = await peer.came()
    assert _codes(came) == [frames.NO_ERROR]
    assert (frames.RST_STREAM, 3) in [(kind, s) for kind, _, s, _ in came]
    assert not peer.wire.closed
    peer.say(b"bye", flags=frames.END_STREAM)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert peer.wire.closed


@pytest.mark.anyio
async def test_nothing_is_read_while_the_socket_takes_nothing() -> None:
    peer = Peer()

    peer.connection.pause_writing()
    paused = peer.wire.reading
    peer.connection.resume_writing()

    assert (paused, peer.wire.reading) == (False, True)


def _violations() -> dict[str, tuple[Callable[[Peer], None], int]]:
    window = frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31})
    return {
        "even stream": (lambda peer: peer.open(2), frames.PROTOCOL_ERROR),
        "data first": (lambda peer: peer.say(b"?", stream=5), frames.PROTOCOL_ERROR),
        "garbage block": (
            lambda peer: peer.send(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff\xff\x0f"),
            frames.COMPRESSION_ERROR,
        ),
        "continuation of nothing": (
            lambda peer: peer.send(frames.CONTINUATION, frames.END_HEADERS, 1, b""),
            frames.PROTOCOL_ERROR,
        ),
        "between block and continuation": (
            lambda peer: (
                peer.send(frames.HEADERS, 0, 1, b""),
                peer.send(frames.PING, 0, 0, bytes(8)),
            )[0],
            frames.PROTOCOL_ERROR,
        ),
        "endless block": (
            lambda peer: (
                peer.send(frames.HEADERS, 0, 1, b""),
                [peer.send(frames.CONTINUATION, 0, 1, bytes(16_384)) for _ in range(5)],
            )[0],
            frames.ENHANCE_YOUR_CALM,
        ),
        "push": (
            lambda peer: peer.send(frames.PUSH_PROMISE, 0, 1, bytes(4)),
            frames.PROTOCOL_ERROR,
        ),
        "half a window": (
            lambda peer: peer.send(frames.WINDOW_UPDATE, 0, 0, b"\0"),
            frames.FRAME_SIZE_ERROR,
        ),
        "too large a window": (
            lambda peer: peer.send(frames.SETTINGS, 0, 0, window),
            frames.FLOW_CONTROL_ERROR,
        ),
        "too large a frame": (
            lambda peer: peer.send(frames.DATA, 0, 1, bytes(16_385)),
            frames.FRAME_SIZE_ERROR,
        ),
    }


@pytest.mark.anyio
@pytest.mark.parametrize("name", _violations())
async def test_a_peer_that_breaks_the_protocol_loses_the_connection(name: str) -> None:
    violate, code = _violations()[name]
    peer = Peer()
    await peer.came()

    violate(peer)

    assert _codes(await peer.came())[0] == code
    assert peer.wire.closed


@pytest.mark.anyio
@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/1.1"])
async def test_what_is_not_http2_is_hung_up_on(data: bytes) -> None:
    peer = Peer()
    connection = Connection(lambda *_: None, most_streams=1, most_bytes=1, on_lost=lambda _: None)
    wire = Wire()
    connection.connection_made(wire)

    connection.data_received(data)

    assert wire.closed
    assert not peer.wire.closed


@given(data=st.binary(max_size=300))
def test_garbage_never_raises(data: bytes) -> None:
    async def throw() -> None:
        peer = Peer()
        peer.open()
        peer.connection.data_received(data)

    asyncio.run(throw())
