"""A scriptable endpoint on a real loopback socket.

Each request gets the next script, or the default one. A script is a sequence of steps:
bytes are written as they are, an event is waited for, ``HOLD`` waits until the other
side goes, ``CLOSE`` and ``RESET`` end the connection. Whoever closes before the script
has ended sets :attr:`FakeEndpoint.aborted`.
"""

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Self


class End(Enum):
    HOLD = "hold"
    CLOSE = "close"
    RESET = "reset"


HOLD, CLOSE, RESET = End.HOLD, End.CLOSE, End.RESET
Step = bytes | asyncio.Event | End
Script = Sequence[Step]

LAST_CHUNK = b"0\r\n\r\n"


def response(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """Build a whole response with a content length."""
    lines = b"".join(line + b"\r\n" for line in headers)
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status, lines, len(body), body)


def json_response(body: object, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """Build a whole JSON response."""
    content_type = b"content-type: application/json"
    return response(json.dumps(body).encode(), content_type, *headers, status=status)


def chunk(data: bytes) -> bytes:
    """Frame one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def event(text: str) -> bytes:
    """Build the event of one chat token, as a chunk."""
    return chunk(token_event(text))


def token_event(text: str) -> bytes:
    """Build the event of one chat token."""
    choices = [{"index": 0, "delta": {"content": text}}]
    return b"data: %b\n\n" % json.dumps({"choices": choices}).encode()


def usage_event(prompt_tokens: int, output_tokens: int, cached_tokens: int = 0) -> bytes:
    """Build the usage event that ends a stream, as a chunk."""
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }
    return chunk(b"data: %b\n\n" % json.dumps({"choices": [], "usage": usage}).encode())


DONE = chunk(b"data: [DONE]\n\n")

OK: Script = [json_response({"usage": {"prompt_tokens": 7, "completion_tokens": 3}})]


@dataclass(slots=True, kw_only=True)
class Seen:
    """Hold one request as the endpoint got it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Give the only value of a header."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1
        return values[0] if values else None


class FakeEndpoint:
    """Serve scripts on a port of its own; an asynchronous context manager."""

    def __init__(self, *scripts: Script, default: Script = OK) -> None:
        self.seen: list[Seen] = []
        self.arrived = asyncio.Event()
        self.aborted = asyncio.Event()
        self.connections = 0
        self._scripts = deque(scripts)
        self._default = default
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.name}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            self.seen.append(await _read_request(reader))
            self.arrived.set()
            script = self._scripts.popleft() if self._scripts else self._default
            gone = asyncio.ensure_future(_wait_gone(reader))
            try:
                if not await self._play(script, writer, gone):
                    return
            except ConnectionError:
                self.aborted.set()
                return
            finally:
                gone.cancel()
                await asyncio.wait({gone})

    async def _play(
        self, script: Script, writer: asyncio.StreamWriter, gone: "asyncio.Future[None]"
    ) -> bool:
        for step in script:
            if step is CLOSE:
                return False
            if step is RESET:
                _reset(writer)
                return False
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                waits: set[asyncio.Future[object]] = {gone}  # type: ignore[arg-type]  # invariant
                if isinstance(step, asyncio.Event):
                    waits.add(asyncio.ensure_future(step.wait()))
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits - {gone}:  # type: ignore[operator]  # as above
                    wait.cancel()
            if gone.done():
                self.aborted.set()
                return False
        return True


async def _wait_gone(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        await reader.read(1)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name.lower(), value.strip()) for name, _, value in _pairs(lines)]
    if ("transfer-encoding", "chunked") in headers:
        body = await _read_chunks(reader)
    else:
        length = next((int(value) for name, value in headers if name == "content-length"), 0)
        body = await reader.readexactly(length)
    return Seen(method=method, target=target, headers=headers, body=body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:size]
    await reader.readuntil(b"\r\n")
    return body


def _pairs(lines: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    return (line.partition(":") for line in lines)
