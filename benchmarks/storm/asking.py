"""One request on a socket, by a client that takes nothing on trust.

Decides how an attempt ended from bytes alone: a response that is whole, one that is an
error with a reason, one that broke off after its first byte, or no byte at all. Shares no
code with the router's own client. Called by the load.
"""

import asyncio
import json
import socket
from collections import deque
from typing import Final, NamedTuple

import httptools

from benchmarks.storm.ledger import End
from benchmarks.storm.mix import Asked

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

PATIENCE_S: Final = 100.0
"""For a whole answer: an endpoint may stand still for as long as a fault lasts."""
_CONNECT_S: Final = 3.0
_READ_BYTES: Final = 65_536
# A reader is slow to its peer only if little fits between them: a small segment keeps the
# kernel's send buffer small on loopback, too.
_NARROW: Final = ((socket.SOL_SOCKET, socket.SO_RCVBUF, 4096), (6, socket.TCP_MAXSEG, 536))
_SLOW_BYTES: Final = 4096
_SLOW_S: Final = 0.15


class Came(NamedTuple):
    """Say what came of an attempt: how it ended, why, its status, and who served it."""

    end: End
    why: str | None
    status: int | None
    endpoint: str | None


class Response:
    """Collect one response; the parser's callbacks.

    Attributes:
        status: ``None`` until it is known.
        body: All of it so far.
        whole: Whether the message is complete.
        keep: Whether the connection may be used again.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status: int | None = None
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.whole = self.keep = False

    def feed(self, data: bytes) -> None:
        """Take bytes.

        Raises:
            httptools.HttpParserError: They are no HTTP.
        """
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the end of the head."""
        self.status = self._parser.get_status_code()
        self.keep = self._parser.should_keep_alive()

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        self.body += data

    def on_message_complete(self) -> None:
        """Take the end."""
        self.whole = True


class Client:
    """Ask one router; connections are kept and used again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: deque[Streams] = deque()

    async def ask(self, asked: Asked, request_id: str) -> Came:
        """Send a request once and hear what comes."""
        response = Response()
        try:
            async with asyncio.timeout(PATIENCE_S):
                streams = await self._connect(asked)
        except (OSError, TimeoutError) as error:
            return Came("nothing", f"connect: {type(error).__name__}", None, None)
        try:
            limit_s = PATIENCE_S if asked.leave_after_s is None else asked.leave_after_s
            async with asyncio.timeout(limit_s):
                streams[1].write(_encode(asked, request_id))
                await _hear(streams[0], response, slow=asked.slow)
        except TimeoutError:
            left = asked.leave_after_s is not None
            return self._ended(streams, response, "left" if left else "timeout")
        except (OSError, httptools.HttpParserError) as error:
            return self._ended(streams, response, type(error).__name__)
        return self._ended(streams, response, None, keep=not asked.fresh)

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.popleft()[1].close()

    async def _connect(self, asked: Asked) -> Streams:
        while self._idle and not asked.fresh:
            reader, writer = self._idle.popleft()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.close()
        # A narrow one pauses its reading, so that the kernel's buffers fill.
        sock = socket.socket()
        sock.setblocking(False)  # noqa: FBT003  # the standard library's own
        try:
            for option in _NARROW if asked.slow else ():
                sock.setsockopt(*option)
            async with asyncio.timeout(_CONNECT_S):
                loop = asyncio.get_running_loop()
                await loop.sock_connect(sock, ("127.0.0.1", self._port))
        except BaseException:
            sock.close()
            raise
        limit = _SLOW_BYTES if asked.slow else _READ_BYTES
        return await asyncio.open_connection(sock=sock, limit=limit)

    def _ended(
        self, streams: Streams, response: Response, broke: str | None, *, keep: bool = False
    ) -> Came:
        if keep and response.whole and response.keep:
            self._idle.append(streams)
        else:
            streams[1].transport.abort()
        return judge(response, broke)


def _encode(asked: Asked, request_id: str) -> bytes:
    lines = [f"POST {asked.path} HTTP/1.1", "host: storm", f"x-request-id: {request_id}"]
    lines += [f"{name}: {value}" for name, value in asked.headers.items()]
    if asked.fresh:
        lines.append("connection: close")
    lines.append(f"content-length: {len(asked.body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + asked.body


async def _hear(reader: asyncio.StreamReader, response: Response, *, slow: bool) -> None:
    while not response.whole:
        data = await reader.read(_SLOW_BYTES if slow else _READ_BYTES)
        if not data:
            return
        response.feed(data)
        if slow:
            await asyncio.sleep(_SLOW_S)


def judge(response: Response, broke: str | None) -> Came:
    """Say how an attempt ended.

    Args:
        response: What came.
        broke: What ended it before its time, ``"left"`` for the client itself; ``None`` for
            an end of the connection or of the response.
    """
    status, endpoint = response.status, response.headers.get("x-foretoken-endpoint")
    body = bytes(response.body)
    if broke == "left":
        return Came("left", None, status, endpoint)
    if status is None:
        return Came("nothing", broke or "closed", None, None)
    if not response.whole:
        return Came("cut", _error_code(body) or broke or "closed", status, endpoint)
    if status >= 400:
        code = _error_code(body)
        end: End = "cut" if code is None else "refused"
        return Came(end, code or "no reason given", status, endpoint)
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        code = _error_code(body)
        if code is not None or not body.rstrip().endswith(b"data: [DONE]"):
            return Came("cut", code or "no end of stream", status, endpoint)
    return Came("answered", None, status, endpoint)


def _error_code(body: bytes) -> str | None:
    """Find the code of an error: of the whole body, or of the last event that is one."""
    for part in reversed(body.split(b"\n\n")):
        try:
            error = json.loads(part.strip().removeprefix(b"data: ")).get("error")
        except (ValueError, AttributeError):
            continue
        if isinstance(error, dict):
            return str(error.get("code") or error.get("type"))
    return None
