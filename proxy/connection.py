"""One HTTP/1.1 connection to an endpoint: the thin shell around a response parser.

Invariants: a connection carries one exchange at a time; it is handed back only after a
complete response on a connection that may be kept; its receiver is told everything in
the order it came, and nothing after the end, a failure or giving up; giving up closes
the connection at once. Made by :mod:`proxy.upstream`.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from predictor.values import Value
from proxy.chunks import chunk_start
from proxy.errors import UpstreamBroken, UpstreamError
from proxy.http_response import ResponseHead, ResponseParser
from proxy.joint_write import descriptor_of
from proxy.outbox import Outbox
from proxy.settings import UpstreamSettings

# A pooled connection that its endpoint has closed shows it within a round trip; one
# that breaks later broke while the endpoint was working on the request.
STALE_S: Final = 1.0
# Bodies up to this size are joined with their head: one write instead of two.
JOIN_BYTES: Final = 65_536


class OutgoingRequest(Value):
    """Hold a request ready to be sent to any endpoint: all but ``host`` and the length.

    Attributes:
        start: Request line with its line end.
        header_lines: Header lines with their line ends, without ``host`` and the length.
        body: The whole body; ``None`` for a request that has none and says no length.
        head_only: Whether the method is HEAD: the response has no body.
    """

    start: bytes
    header_lines: bytes
    body: bytes | None
    head_only: bool = False


class Way(Protocol):
    """The way a request took; whoever sent it may hold it back or give it up."""

    def give_up(self) -> None:
        """Close it at once; nothing more is told."""
        ...

    def pause_reading(self) -> None:
        """Take nothing more from the endpoint for now."""
        ...

    def resume_reading(self) -> None:
        """Go on."""
        ...


class Receiver:
    """Who sent a request, and is told what comes of it.

    A base class and no protocol: a protocol's methods compiled code looks up by name, here for
    every chunk of every stream.

    Attributes:
        way: Where it is under way; set by the upstream, and again if that changes.
    """

    __slots__ = ("way",)

    def __init__(self) -> None:
        self.way: Way | None = None

    def received(self, head: ResponseHead, body: bytes, trailers: bytes | None) -> None:
        """Take what one read brought.

        Args:
            head: Of the response, the same one each time.
            body: What came of its body, empty if only the head or the end did.
            trailers: ``None`` while more comes, else the lines after the body.
        """
        raise NotImplementedError

    def take_chunk(self, data: bytes, start: int) -> bool:  # noqa: ARG002  # a base class's
        """Take a read that is one chunk; false where its data is to be ``received``.

        Args:
            data: The chunk in its framing.
            start: Index of the first byte of its data, which ends two bytes before the end.
        """
        return False

    def failed(self, error: UpstreamError) -> None:
        """Take that no more comes, and the response is not complete."""
        raise NotImplementedError


class Connection:
    """One connection to an endpoint, a protocol of asyncio's by its methods.

    Their base class would make attributes of a compiled class dear.

    Args:
        url: Base URL of the endpoint.
        settings: Bounds.
        outbox: Takes what is written.
        on_free: Takes the connection when its response is complete and it may be kept.
        on_closed: Told once or more when it is of no further use.
        on_stale: Takes a request back that the endpoint has not seen: it had closed this
            kept connection meanwhile.

    Attributes:
        url: Base URL of the endpoint.
        heard_s: When bytes last came or went, on the loop's clock.
    """

    __slots__ = (
        "_descriptor",
        "_kept",
        "_now",
        "_on_closed",
        "_on_free",
        "_on_stale",
        "_outbox",
        "_parser",
        "_paused",
        "_receiver",
        "_request",
        "_sent_s",
        "_transport",
        "heard_s",
        "url",
    )

    def __init__(
        self,
        url: str,
        settings: UpstreamSettings,
        outbox: Outbox,
        *,
        on_free: Callable[["Connection"], None],
        on_closed: Callable[["Connection"], None],
        on_stale: Callable[[OutgoingRequest, Receiver], None],
    ) -> None:
        self.url = url
        self._outbox = outbox
        self._on_free = on_free
        self._on_closed = on_closed
        self._on_stale = on_stale
        self._now = asyncio.get_running_loop().time
        self.heard_s = self._sent_s = self._now()
        self._parser = ResponseParser(url, max_head_bytes=settings.max_head_bytes)
        self._transport: asyncio.Transport | None = None
        self._descriptor: int | None = None
        self._receiver: Receiver | None = None
        self._request: OutgoingRequest | None = None
        self._paused = False
        self._kept = False

    def carry(self, request: OutgoingRequest, host_line: bytes, receiver: Receiver) -> None:
        """Send a request; its receiver hears the rest."""
        self._parser.expect(head_only=request.head_only)
        self._request, self._receiver = request, receiver
        receiver.way = self
        self.heard_s = self._sent_s = self._now()
        transport = self._transport
        if transport is None:
            self._end(UpstreamBroken(self.url, "closed by the endpoint"))
            return
        body = request.body
        if body is None:
            head = b"%b%b%b\r\n" % (request.start, host_line, request.header_lines)
            self._outbox.write(transport, head, self._descriptor)
            return
        small = body if len(body) <= JOIN_BYTES else b""
        data = b"%b%b%bcontent-length: %d\r\n\r\n%b" % (
            request.start,
            host_line,
            request.header_lines,
            len(body),
            small,
        )
        self._outbox.write(transport, data, self._descriptor)
        if small is not body:
            self._outbox.write(transport, body, self._descriptor)

    def abort(self, error: UpstreamError) -> None:
        """Close at once; a response under way fails with the error."""
        transport = self._transport
        self._end(error)
        if transport is not None:
            transport.abort()

    def give_up(self) -> None:
        """Close at once; nothing more is told."""
        self._receiver = None
        self.abort(UpstreamBroken(self.url, "given up"))

    def pause_reading(self) -> None:
        """Take nothing more from the endpoint: the client has enough to read."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        if self._paused and self._transport is not None:
            self._paused = False
            self.heard_s = self._now()  # its silence was ours
            self._transport.resume_reading()

    @property
    def unanswered(self) -> bool:
        """Tell whether a request is under way of whose response body nothing has come."""
        return self._request is not None and not self._parser.body_begun

    @property
    def paused(self) -> bool:
        """Tell whether it is not read because the client is slow: its silence is ours."""
        return self._paused

    @property
    def closing(self) -> bool:
        """Tell whether it can carry nothing more."""
        return self._transport is None or self._transport.is_closing()

    def silent_limit_s(self, settings: UpstreamSettings) -> float:
        """Give how long this connection may be silent in its present state."""
        if self._request is None:
            return settings.idle_timeout_s
        if self._paused:  # it is the client who is slow
            return float("inf")
        begun = self._parser.head is not None
        return settings.read_timeout_s if begun else settings.head_timeout_s

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports have the interface without the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._descriptor = descriptor_of(transport)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; hand on what came, and the connection back at the end."""
        receiver = self._receiver
        if receiver is None:  # nobody asked: the endpoint breaks the protocol, or says goodbye
            self.abort(UpstreamBroken(self.url, "unexpected bytes"))
            return
        self.heard_s = self._now()
        parser = self._parser
        # Nearly every read of a stream is one chunk.
        start = chunk_start(data) if parser.between_chunks else 0
        if start:
            if receiver.take_chunk(data, start):
                return
            body = data[start:-2]
        else:
            try:
                body = parser.feed(data)
            except UpstreamBroken as error:
                self.abort(error)
                return
        head = parser.head
        if head is None:
            return
        if not parser.complete:
            receiver.received(head, body, None)
            return
        trailers = _lines(parser.trailers) if parser.trailers else b""
        receiver.way = None
        self._complete()
        receiver.received(head, body, trailers)

    def eof_received(self) -> None:
        """Let the transport close: what is under way ends in :meth:`connection_lost`."""

    def pause_writing(self) -> None:
        """Do nothing: a request's body is all there."""

    def resume_writing(self) -> None:
        """Do nothing."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End the response under way, if any."""
        self._transport = None
        receiver, parser = self._receiver, self._parser
        if receiver is not None and exc is None and parser.end() and parser.head is not None:
            receiver.way = self._receiver = self._request = None
            self._on_closed(self)
            receiver.received(parser.head, b"", b"")
        else:
            why = "closed before the end of the response" if exc is None else f"lost: {exc}"
            self._end(UpstreamBroken(self.url, why))
        parser.close()

    # How

    def _complete(self) -> None:
        self._receiver = self._request = None
        self._kept = True
        transport = self._transport
        if transport is None:
            return
        unsent = transport.get_write_buffer_size() > 0  # answered before it read the body
        if self._parser.reusable and not unsent and not transport.is_closing():
            self.resume_reading()
            self._on_free(self)
        else:
            self._on_closed(self)
            transport.close()

    def _end(self, error: UpstreamError) -> None:
        """Let go of the receiver, telling it why."""
        self._on_closed(self)
        request, receiver = self._request, self._receiver
        self._request = self._receiver = None
        if receiver is None or request is None:
            return
        receiver.way = None
        unseen = self._kept and not self._parser.heard and isinstance(error, UpstreamBroken)
        if unseen and self._now() - self._sent_s < STALE_S:
            self._on_stale(request, receiver)
        else:
            receiver.failed(error)


def _lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])
