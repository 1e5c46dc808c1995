"""One HTTP/1.1 connection to an endpoint, and the response that comes over it.

Invariants: a connection carries one exchange at a time; it is handed back only after
a complete response on a connection that may be kept; a body that ends early raises in
the reader, after the bytes that did come; an exchange that is given up closes its
connection at once; what nobody reads is bounded, then reading stops. Called by
:mod:`proxy.upstream` and, for the response, by the relay.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

import httptools

from proxy.errors import UpstreamBroken, UpstreamError, UpstreamStale
from proxy.settings import UpstreamSettings

RawHeaders = list[tuple[bytes, bytes]]

# A pooled connection that its endpoint has closed shows it within a round trip; one
# that breaks later broke while the endpoint was working on the request.
STALE_S: Final = 1.0
# Bodies up to this size are joined with their head: one write instead of two.
JOIN_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingRequest:
    """Hold a request ready to be sent to any endpoint: all but its ``host`` line.

    Attributes:
        start: Request line with its line end.
        header_lines: Header lines with their line ends, without ``host``.
        body: The whole body.
        head_only: Whether the method is HEAD: the response has no body.
    """

    start: bytes
    header_lines: bytes
    body: bytes
    head_only: bool = False


class UpstreamResponse:
    """One response as it comes in; also the callbacks of its parser.

    Attributes:
        status: HTTP status, 0 until the head is there.
        headers: Header lines in their order, names in lower case.
        head_done: Whether status and headers are there.
        heard: Whether any byte of a response has come in.
        body_begun: Whether any byte of its body has.
        complete: Whether the whole body has come in.
        buffered_bytes: Body bytes that nobody has read yet.
    """

    __slots__ = (
        "_chunks",
        "_close_delimited",
        "_connection",
        "_error",
        "_head_bytes",
        "_head_only",
        "_parser",
        "_reusable",
        "_waiter",
        "body_begun",
        "buffered_bytes",
        "complete",
        "head_done",
        "headers",
        "heard",
        "status",
    )

    def __init__(self, connection: "Connection", *, head_only: bool) -> None:
        self.status = 0
        self.headers: RawHeaders = []
        self.head_done = False
        self.heard = False
        self.body_begun = False
        self.complete = False
        self.buffered_bytes = 0
        self._connection: Connection | None = connection
        self._parser = httptools.HttpResponseParser(self)
        self._head_only = head_only
        self._head_bytes = 0
        self._close_delimited = False
        self._reusable = False
        self._chunks: list[bytes] = []
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """Wait for body bytes and give all that are there; ``b""`` means the end.

        Raises:
            UpstreamError: The body ended early.
        """
        while not self._chunks:
            if self.complete:
                return b""
            await self._wait()
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self.buffered_bytes = 0
        if self._connection is not None:
            self._connection.resume_reading()
        return data

    def abort(self) -> None:
        """Give the response up: unless it is complete, close its connection at once."""
        if self._connection is not None:
            self._connection.abort(UpstreamBroken(self._connection.url, "given up"))

    async def wait_head(self) -> None:
        """Wait for status and headers.

        Raises:
            UpstreamError: They did not come.
        """
        while not self.head_done:
            await self._wait()

    @property
    def drained(self) -> bool:
        """Whether the body is complete and all of it has been read."""
        return self.complete and not self._chunks

    # Called by the connection

    def feed(self, data: bytes) -> bool:
        """Take in bytes; tell whether the connection may be used again once complete.

        Raises:
            UpstreamBroken: They are not HTTP.
        """
        self.heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                url = "" if self._connection is None else self._connection.url
                raise UpstreamBroken(url, f"not an HTTP response: {error}") from error
            return False  # bytes after the end: this response is whole, the connection is not
        self._wake()
        return self._reusable

    def end(self, error: UpstreamError | None) -> None:
        """Let go of the connection: no more bytes come.

        Args:
            error: Why, unless it was closed in order: the end of a body without a length.
        """
        url = "" if self._connection is None else self._connection.url
        self._connection = None
        del self._parser  # it refers back to this object; no cycle for the collector
        if not self.complete:
            if error is None and self._close_delimited:
                self.complete = True
            else:
                self._error = error or UpstreamBroken(url, "closed before the end of the response")
        self._wake()

    # Called by the parser

    def on_message_begin(self) -> None:
        """Start over after an informational response; a second response is refused."""
        if self.complete:
            raise UpstreamBroken("", "bytes after the end of the response")
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header line; trailers have nowhere to go and are left out."""
        self._head_bytes += len(name) + len(value) + 4
        if self.head_done:
            return
        if self._connection is not None and self._head_bytes > self._connection.max_head_bytes:
            raise UpstreamBroken("", "response head too large")
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Take the status unless the response is informational."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.status = status
        self.head_done = True
        if self._head_only:
            self.complete = True
            return
        names = {name for name, _ in self.headers}
        self._close_delimited = not names & {b"content-length", b"transfer-encoding"}

    def on_body(self, body: bytes) -> None:
        """Keep body bytes for the reader."""
        if self._head_only:
            return
        self.body_begun = True
        self._chunks.append(body)
        self.buffered_bytes += len(body)

    def on_message_complete(self) -> None:
        """Note the end, unless it was the end of an informational response."""
        if self.head_done:
            self.complete = True
            self._reusable = not self._head_only and self._parser.should_keep_alive()

    # How

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection to an endpoint.

    Args:
        url: Base URL of the endpoint.
        settings: Bounds.
        on_free: Takes the connection when its response is complete and it may be kept.
        on_closed: Told once or more when it is of no further use.

    Attributes:
        url: Base URL of the endpoint.
        max_head_bytes: Bound on a response head.
        heard_s: When bytes last came or went, on the loop's clock.
    """

    __slots__ = (
        "_buffer_bytes",
        "_kept",
        "_loop",
        "_on_closed",
        "_on_free",
        "_paused",
        "_response",
        "_transport",
        "heard_s",
        "max_head_bytes",
        "url",
    )

    def __init__(
        self,
        url: str,
        settings: UpstreamSettings,
        *,
        on_free: Callable[["Connection"], None],
        on_closed: Callable[["Connection"], None],
    ) -> None:
        self.url = url
        self.max_head_bytes = settings.max_head_bytes
        self._buffer_bytes = settings.buffer_bytes
        self._on_free = on_free
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        self.heard_s = self._loop.time()
        self._transport: asyncio.Transport | None = None
        self._response: UpstreamResponse | None = None
        self._paused = False
        self._kept = False

    async def exchange(self, request: OutgoingRequest, host_line: bytes) -> UpstreamResponse:
        """Send a request and wait for the head of its response.

        Raises:
            UpstreamStale: This kept connection had been closed by the endpoint meanwhile.
            UpstreamError: The head did not come; the connection is closed.
        """
        response = UpstreamResponse(self, head_only=request.head_only)
        kept, self._kept = self._kept, True
        self._response = response
        self.heard_s = sent_s = self._loop.time()
        try:
            self._write(request, host_line)
            await response.wait_head()
        except UpstreamBroken as error:
            if kept and not response.heard and self._loop.time() - sent_s < STALE_S:
                raise UpstreamStale(self.url, "closed by the endpoint") from error
            raise
        except asyncio.CancelledError:  # nobody will read the response
            response.abort()
            raise
        return response

    def abort(self, error: UpstreamError) -> None:
        """Close at once; a response under way fails with the error."""
        self._end(error)
        if self._transport is not None:
            self._transport.abort()

    def resume_reading(self) -> None:
        """Go on reading after the buffer was full."""
        if self._paused and self._transport is not None:
            self._paused = False
            self.heard_s = self._loop.time()  # its silence was ours
            self._transport.resume_reading()

    @property
    def unanswered(self) -> bool:
        """Tell whether a request is under way of whose response body nothing has come."""
        return self._response is not None and not self._response.body_begun

    def silent_limit_s(self, settings: UpstreamSettings) -> float:
        """Give how long this connection may be silent in its present state."""
        if self._response is None:
            return settings.idle_timeout_s
        if self._paused:  # it is the client who is slow
            return float("inf")
        return settings.read_timeout_s if self._response.head_done else settings.head_timeout_s

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports have the interface without the base class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Feed the response; hand the connection back when it is complete."""
        response = self._response
        if response is None:  # nobody asked: the endpoint breaks the protocol, or says goodbye
            self.abort(UpstreamBroken(self.url, "unexpected bytes"))
            return
        self.heard_s = self._loop.time()
        try:
            reusable = response.feed(data)
        except UpstreamBroken as error:
            self.abort(error)
            return
        if response.complete:
            self._complete(response, reusable=reusable)
        elif response.buffered_bytes > self._buffer_bytes and not self._paused:
            self._paused = True
            if self._transport is not None:
                self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the response under way, if any."""
        error = None if exc is None else UpstreamBroken(self.url, f"connection lost: {exc}")
        self._end(error)
        self._transport = None

    # How

    def _write(self, request: OutgoingRequest, host_line: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            self._end(None)
            return
        head = request.start + host_line + request.header_lines
        if len(request.body) <= JOIN_BYTES:
            transport.write(head + request.body)
        else:
            transport.write(head)
            transport.write(request.body)

    def _complete(self, response: UpstreamResponse, *, reusable: bool) -> None:
        response.end(None)
        self._response = None
        transport = self._transport
        if transport is None:
            return
        unsent = transport.get_write_buffer_size() > 0  # answered before it read the body
        if reusable and not unsent and not transport.is_closing():
            self.resume_reading()
            self._on_free(self)
        else:
            self._on_closed(self)
            transport.close()

    def _end(self, error: UpstreamError | None) -> None:
        self._on_closed(self)
        response, self._response = self._response, None
        if response is not None:
            response.end(error)
