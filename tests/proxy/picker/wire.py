"""An HTTP/2 peer in memory, and a service that says again what it hears."""

import asyncio

import hpack

from proxy.picker import frames
from proxy.picker.call import Call
from proxy.picker.connection import Connection
from proxy.picker.errors import CallFailed
from proxy.picker.frames import Frame, frame, with_prefix

PATH = "/service/method"


class Wire(asyncio.Transport):
    """Keep what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self.closed = False
        self.reading = True

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.data += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Echo:
    """Answer every message with itself, and note what happens."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.heard: list[bytes | str] = []
        self.fails = False

    def message(self, data: bytes) -> None:
        if data == b"fail":
            raise CallFailed(3, "as asked")
        self.heard.append(data)
        self.call.send(data)

    def half_closed(self) -> None:
        self.heard.append("half closed")
        self.call.finish()

    def ended(self) -> None:
        self.heard.append("ended")
        if self.fails:
            raise RuntimeError


class Peer:
    """A client's side of one connection, made of bytes."""

    def __init__(self, *, most_streams: int = 100, most_bytes: int = 1 << 20) -> None:
        self.wire = Wire()
        self.handlers: dict[int, Echo] = {}
        self.lost = False
        self.connection = Connection(
            self._accept,
            most_streams=most_streams,
            most_bytes=most_bytes,
            on_lost=self._on_lost,
        )
        self._encoder = hpack.Encoder()
        self.connection.connection_made(self.wire)
        self.connection.data_received(frames.PREFACE + frame(frames.SETTINGS, 0, 0, b""))

    def _accept(self, path: str, call: Call) -> Echo | None:
        if path != PATH:
            return None
        self.handlers[call.stream] = Echo(call)
        return self.handlers[call.stream]

    def _on_lost(self, _: Connection) -> None:
        self.lost = True

    def open(self, stream: int = 1, path: str = PATH, flags: int = 0) -> None:
        self.send(frames.HEADERS, flags | frames.END_HEADERS, stream, self.block(path))

    def block(self, path: str = PATH) -> bytes:
        return self._encoder.encode([(":method", "POST"), (":path", path)])

    def send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.connection.data_received(frame(kind, flags, stream, payload))

    def say(self, message: bytes, stream: int = 1, flags: int = 0) -> None:
        self.send(frames.DATA, flags, stream, with_prefix(message))

    async def came(self) -> list[Frame]:
        """Give what has come since the last time."""
        await asyncio.sleep(0)
        data, self.wire.data = self.wire.data, b""
        whole, rest = frames.split_frames(data)
        assert rest == b""
        return whole

    async def messages(self, stream: int = 1) -> list[bytes]:
        data = b"".join(p for kind, _, s, p in await self.came() if (kind, s) == (0, stream))
        return frames.split_messages(data, 1 << 30)[0]
