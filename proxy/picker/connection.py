"""One HTTP/2 connection that carries gRPC calls, as a server has it.

Decides framing, flow control and when a call is over; what calls say goes to their
handlers. Lean where every request passes (whole messages, open windows), complete where
the protocol asks for it. A peer that breaks the protocol loses the connection. Back
pressure: what a stream sends is acknowledged only while what it gets is taken, and
nothing is read while the socket takes nothing. Made by :mod:`proxy.picker.server`.
Source: RFC 9113; gRPC over HTTP/2.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, cast

from proxy.picker import frames
from proxy.picker.call import Call, Handler
from proxy.picker.errors import CallFailed, ConnectionViolated
from proxy.picker.frames import frame
from proxy.picker.header_blocks import HEAD, MAX_BLOCK_BYTES, HeaderBlocks

logger = logging.getLogger(__name__)

_FIRST_WINDOW: Final = 65_535  # of the connection, and of streams until settings say otherwise
_MOST_WINDOW: Final = 0x7FFF_FFFF
STREAM_WINDOW: Final = 4 << 20  # bytes a peer may send on a stream before it hears of it
_TELL_STREAM: Final = STREAM_WINDOW // 2
_TELL_CONNECTION: Final = 1 << 30
_PENDING_BYTES: Final = 1 << 20  # held for a peer that takes nothing; then it may send nothing
_UNIMPLEMENTED: Final = 12


Accept = Callable[[str, Call], Handler | None]
"""Give the handler of a call by its path, ``None`` for a path nobody serves."""


class Connection(asyncio.Protocol):
    """Serve the calls of one connection.

    Args:
        accept: Gives every call its handler.
        most_streams: Calls at a time.
        most_bytes: Of one message.
        on_lost: Told when the connection is over.
    """

    def __init__(
        self,
        accept: Accept,
        *,
        most_streams: int,
        most_bytes: int,
        on_lost: Callable[["Connection"], None],
    ) -> None:
        self._accept = accept
        self._most_streams = most_streams
        self._most_bytes = most_bytes
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, Call] = {}
        self._blocks = HeaderBlocks()
        self._rest = b""
        self._greeted = False
        self._last_stream = 0
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags, what came of it
        self._window = _FIRST_WINDOW
        self._stream_window = _FIRST_WINDOW  # of the peer's, as its settings have it
        self._unacknowledged = 0
        self._blocked: dict[int, Call] = {}  # calls with payloads that wait for a window
        self._out: list[bytes] = []
        self._flushing = False  # whether a flush is under way already
        self._closing = False
        self._transport = cast("asyncio.Transport", None)  # until the connection is made

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the peer: its windows are as large as they get, memory is bounded elsewhere."""
        self._transport = cast("asyncio.Transport", transport)
        settings = frames.settings(
            {
                frames.MAX_CONCURRENT_STREAMS: self._most_streams,
                frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            }
        )
        more = (_MOST_WINDOW - _FIRST_WINDOW).to_bytes(4, "big")
        self._write(frame(frames.SETTINGS, 0, 0, settings))
        self._write(frame(frames.WINDOW_UPDATE, 0, 0, more))

    def data_received(self, data: bytes) -> None:
        """Take in what came; answers go out in one piece."""
        if self._rest:
            data = self._rest + data
        self._flushing = True
        try:
            if not self._greeted:
                data = self._greet(data)
            if self._greeted:
                came, self._rest = frames.split_frames(data)
                for kind, flags, stream, payload in came:
                    self._take(kind, flags, stream, payload)
        except ConnectionViolated as error:
            self._violated(error)
        finally:
            self._flush()

    def eof_received(self) -> bool:
        """Close when the peer has: it hears nothing any more."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        """End every call."""
        self._closing = True
        calls, self._calls = list(self._calls.values()), {}
        self._blocked.clear()
        try:
            for call in calls:
                try:
                    call.end()
                except Exception as error:  # the others hold bookings too
                    logger.error("picker_call_failed", exc_info=error)
        finally:
            self._on_lost(self)

    def pause_writing(self) -> None:
        """Read nothing while the peer takes nothing."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._transport.resume_reading()

    # What the server asks

    @property
    def live_calls(self) -> int:
        """Count calls that are not over."""
        return len(self._calls)

    def drain(self) -> None:
        """Take no further calls; close when the last one is over."""
        if not self._closing:
            self._closing = True
            self._goodbye(frames.NO_ERROR)
            self._close_if_done()

    def abort(self) -> None:
        """Close now, whatever is going on."""
        self._transport.abort()

    # What calls ask

    def send(self, call: Call, message: bytes) -> None:
        """Send a message of a call's answer, at once where the windows allow it."""
        if call.stream not in self._calls:
            return
        self._head(call)
        size = len(message) + frames.PREFIX_BYTES
        if not call.pending and size <= frames.MAX_FRAME_BYTES and self._spend(call, size):
            self._write(frames.message_frame(call.stream, message))
        else:
            call.put_off(frames.with_prefix(message))
            self._push(call)

    def finish(self, call: Call, block: bytes) -> None:
        """End a call's answer; what still comes of it is ignored."""
        if call.stream not in self._calls:
            return
        self._head(call)
        if call.pending:
            call.pending.append((block, frames.END_STREAM))
        else:
            self._trail(call, block)

    # How: what comes

    def _greet(self, data: bytes) -> bytes:
        preface = frames.PREFACE
        if not preface.startswith(data[: len(preface)]):
            raise ConnectionViolated(frames.PROTOCOL_ERROR, "not HTTP/2 with prior knowledge")
        self._rest = data
        if len(data) < len(preface):
            return data
        self._greeted = True
        return data[len(preface) :]

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._block is not None and kind != frames.CONTINUATION:
            raise ConnectionViolated(frames.PROTOCOL_ERROR, "a header block was not ended")
        if kind == frames.DATA:
            self._take_data(flags, stream, payload)
        elif kind == frames.HEADERS:
            self._take_headers(flags, stream, frames.unpadded(flags, payload))
        elif kind == frames.WINDOW_UPDATE:
            self._take_window(stream, payload)
        elif kind == frames.RST_STREAM:
            self._end(stream)
        elif kind == frames.CONTINUATION:
            self._take_continuation(flags, stream, payload)
        else:
            self._take_rare(kind, flags, payload)

    def _take_rare(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == frames.SETTINGS:
            if not flags & frames.ACK:
                self._take_settings(payload)
        elif kind == frames.PING:
            if not flags & frames.ACK:
                self._write(frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionViolated(frames.PROTOCOL_ERROR, "a client pushes nothing")
        # GOAWAY: it will close; PRIORITY and what is not known: of no meaning here.

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        size = len(payload)
        self._unacknowledged += size
        if self._unacknowledged > _TELL_CONNECTION:
            self._tell_window(0, self._unacknowledged)
            self._unacknowledged = 0
        call = self._calls.get(stream)
        if call is None:
            if stream > self._last_stream:
                raise ConnectionViolated(frames.PROTOCOL_ERROR, "data before its headers")
            return  # over already
        call.unacknowledged += size
        if call.unacknowledged > _TELL_STREAM:
            self._acknowledge(call)
        if flags & frames.PADDED:
            payload = frames.unpadded(flags & frames.PADDED, payload)
        if payload:
            self._take_piece(call, payload)
        if flags & frames.END_STREAM:
            call.handler.half_closed()

    def _take_piece(self, call: Call, piece: bytes) -> None:
        try:
            for message in call.take(piece, self._most_bytes):
                call.handler.message(message)
        except CallFailed as error:
            call.finish(error.status, str(error))

    def _take_headers(self, flags: int, stream: int, block: bytes) -> None:
        if stream % 2 == 0:
            raise ConnectionViolated(frames.PROTOCOL_ERROR, f"a client opens no stream {stream}")
        if flags & frames.END_HEADERS:
            self._open(stream, flags, block)
        else:
            self._block = (stream, flags, bytearray(block))

    def _take_continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream:
            raise ConnectionViolated(frames.PROTOCOL_ERROR, "a continuation of nothing")
        _, first_flags, block = self._block
        block += payload
        if len(block) > MAX_BLOCK_BYTES:
            raise ConnectionViolated(frames.ENHANCE_YOUR_CALM, "too long a header block")
        if flags & frames.END_HEADERS:
            self._block = None
            self._open(stream, first_flags, bytes(block))

    def _open(self, stream: int, flags: int, block: bytes) -> None:
        path = self._blocks.path(block)
        known = self._calls.get(stream)
        if known is not None:
            if flags & frames.END_STREAM:
                known.handler.half_closed()
            return
        if stream <= self._last_stream:
            return  # trailers of a call that is over
        if self._closing or len(self._calls) >= self._most_streams:
            refused = frames.REFUSED_STREAM.to_bytes(4, "big")
            self._last_stream = stream
            self._write(frame(frames.RST_STREAM, 0, stream, refused))
            return
        self._last_stream = stream
        call = Call(self, stream, self._stream_window)
        self._calls[stream] = call
        handler = self._accept(path, call)
        if handler is None:
            call.finish(_UNIMPLEMENTED, f"nothing is served at {path}")
            return
        call.handler = handler
        if flags & frames.END_STREAM:
            handler.half_closed()

    def _take_settings(self, payload: bytes) -> None:
        size = frames.read_settings(payload).get(frames.INITIAL_WINDOW_SIZE)
        if size is not None:
            self._change_windows(size)
        self._write(frame(frames.SETTINGS, frames.ACK, 0, b""))
        self._resume()

    def _change_windows(self, size: int) -> None:
        if size > _MOST_WINDOW:
            raise ConnectionViolated(frames.FLOW_CONTROL_ERROR, f"a window of {size} bytes")
        for call in self._calls.values():
            call.window += size - self._stream_window
        self._stream_window = size

    def _take_window(self, stream: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionViolated(frames.FRAME_SIZE_ERROR, "half a window")
        more = int.from_bytes(payload, "big") & _MOST_WINDOW
        if stream == 0:
            self._window += more
            self._resume()
            return
        call = self._calls.get(stream)
        if call is not None:
            call.window += more
            if call.pending:
                self._push(call)

    # How: what goes

    def _head(self, call: Call) -> None:
        if not call.headed:
            call.headed = True
            self._write(frame(frames.HEADERS, frames.END_HEADERS, call.stream, HEAD))

    def _trail(self, call: Call, block: bytes) -> None:
        flags = frames.END_HEADERS | frames.END_STREAM
        self._write(frame(frames.HEADERS, flags, call.stream, block))
        self._end(call.stream)

    def _end(self, stream: int) -> None:
        """Forget a call that is over on either side; its handler hears of it."""
        call = self._calls.pop(stream, None)
        if call is not None:
            self._blocked.pop(stream, None)
            call.end()
            self._close_if_done()

    def _spend(self, call: Call, size: int) -> bool:
        if size > call.window or size > self._window:
            return False
        call.window -= size
        self._window -= size
        return True

    def _push(self, call: Call) -> None:
        """Send of what waits as much as the windows allow."""
        while call.pending:
            room = min(call.window, self._window)
            if room <= 0 and not call.pending[0][1]:
                self._blocked[call.stream] = call
                return
            payload, flags = call.take_pending(room)
            if flags:
                self._trail(call, payload)
                return
            self._spend(call, len(payload))
            self._write(frame(frames.DATA, 0, call.stream, payload))
        self._blocked.pop(call.stream, None)
        if call.unacknowledged > _TELL_STREAM:
            self._acknowledge(call)

    def _resume(self) -> None:
        for call in list(self._blocked.values()):
            if self._window <= 0:
                return
            self._push(call)

    def _acknowledge(self, call: Call) -> None:
        if call.pending_bytes <= _PENDING_BYTES:
            self._tell_window(call.stream, call.unacknowledged)
            call.unacknowledged = 0

    def _tell_window(self, stream: int, more: int) -> None:
        self._write(frame(frames.WINDOW_UPDATE, 0, stream, more.to_bytes(4, "big")))

    def _violated(self, error: ConnectionViolated) -> None:
        self._goodbye(error.code)
        self._flush()
        self._transport.close()

    def _goodbye(self, code: int) -> None:
        last = self._last_stream.to_bytes(4, "big")
        self._write(frame(frames.GOAWAY, 0, 0, last + code.to_bytes(4, "big")))

    def _close_if_done(self) -> None:
        if self._closing and not self._calls:
            self._loop.call_soon(self._transport.close)  # after what is still to be written

    def _write(self, data: bytes) -> None:
        self._out.append(data)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()
