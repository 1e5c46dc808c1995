"""One client's connection: requests out of its bytes, served one after the other.

Invariants: requests are answered in the order they came; while one is served, the next
ones wait, and few of them; after a refusal nothing more is read from the connection;
whoever serves a request hears at once when the client goes. Inference requests go to the
relay, by callback and without a task; all else to an ASGI application. Made by
:mod:`proxy.acceptor`, for uvicorn.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, cast

from proxy.asgi import AsgiServing
from proxy.errors import ProxyError, RequestTooSlow, ShuttingDown, TooManyConnections
from proxy.gate import Admission, Serving
from proxy.http_request import Request, RequestHead, RequestParser
from proxy.joint_write import descriptor_of
from proxy.relay import serves
from proxy.reply import Reply

if TYPE_CHECKING:
    from proxy.acceptor import Acceptor

# Requests that may wait behind the one being served before reading stops.
_PIPELINED: Final = 4
# A client that still sends when it is refused is listened to for so long: closing at once
# would reset the connection, and with it the answer that is on its way.
LINGER_S: Final = 2.0
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ClientConnection:
    """Serve one connection, as a protocol of asyncio's by its methods.

    Args:
        acceptor: Whom it belongs to.
    """

    __slots__ = (
        "_acceptor",
        "_admission",
        "_admitted",
        "_advancing",
        "_blocked",
        "_closing",
        "_crowded",
        "_descriptor",
        "_heard_s",
        "_lingering",
        "_loop",
        "_outbox",
        "_parser",
        "_paused",
        "_queue",
        "_reply",
        "_serving",
        "_since_s",
        "_stuck_bytes",
        "_stuck_s",
        "_transport",
    )

    def __init__(self, acceptor: "Acceptor") -> None:
        settings = acceptor.settings
        self._acceptor = acceptor
        self._loop = acceptor.loop
        self._outbox = acceptor.relay.outbox
        self._parser = RequestParser(
            max_head_bytes=settings.max_head_bytes,
            max_headers=settings.max_headers,
            max_body_bytes=settings.max_body_bytes,
        )
        self._transport: asyncio.Transport | None = None
        self._descriptor: int | None = None
        self._queue: deque[Request] = deque()
        self._reply: Reply | None = None  # of the request being served
        self._serving: Serving | None = None  # who serves it, if that takes time
        self._admission: Admission | None = None  # of the request whose body is coming
        self._admitted: RequestHead | None = None
        self._advancing = self._closing = self._crowded = False
        self._lingering = self._paused = self._blocked = False
        self._heard_s = self._since_s = self._loop.time()  # last byte; first of this request
        self._stuck_bytes, self._stuck_s = 0, self._heard_s

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports have the interface without the base class.
        self._transport = cast("asyncio.Transport", transport)
        self._descriptor = descriptor_of(transport)
        self._crowded = self._acceptor.enter(self)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; serve what they complete, unless something is being served."""
        self._heard_s = self._loop.time()
        if self._lingering or self._closed:
            return
        parser = self._parser
        if not parser.begun:
            self._since_s = self._heard_s
        requests = parser.feed(data)
        if len(requests) == 1 and self._reply is None and not (self._queue or self._blocked):
            self._serve(requests[0])  # the usual case
        elif requests:
            self._queue.extend(requests)
        if self._reply is None:
            self._advance()
        if self._full and not (self._paused or self._lingering or self._closed):
            self._paused = True
            cast("asyncio.Transport", self._transport).pause_reading()

    def eof_received(self) -> None:
        """Let the transport close: a client that closes its half has gone."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        """Tell whoever serves a request, and forget the rest."""
        self._acceptor.leave(self)
        self._transport = None
        self._closing = True
        self._queue.clear()
        self._parser.close()
        if self._reply is not None:
            self._reply.detach()
        if self._serving is not None:
            self._serving.client_gone()
        self._reply = self._serving = None

    def pause_writing(self) -> None:
        """Hold whoever writes back, and begin nothing: the client reads slowly."""
        self._blocked = True
        if self._serving is not None:
            self._serving.hold_back()

    def resume_writing(self) -> None:
        """Let them go on."""
        self._blocked = False
        if self._serving is not None:
            self._serving.go_on()
        elif self._reply is None:
            self._advance()

    # Called by uvicorn and the acceptor

    def shutdown(self) -> None:
        """Close after the request that is under way, if there is one."""
        self._closing = True
        if self._reply is not None:
            self._reply.keep = False
            if isinstance(self._serving, AsgiServing):
                self._serving.shut_down()
        elif self._parser.head is None:
            self._close()

    def end(self) -> None:
        """Close now: what is under way has had its time."""
        self._closing = True
        if self._serving is not None:
            self._serving.shut_down()
        elif self._reply is None and self._parser.head is not None and not self._lingering:
            self._refuse(ShuttingDown())
        self._outbox.flush()
        if self.unsent_bytes and self._transport is not None:
            self._transport.abort()  # it does not read: waiting for it would be for nothing
        elif self._transport is not None and not isinstance(self._serving, AsgiServing):
            self._transport.close()

    @property
    def coming(self) -> bool:
        """Tell whether a request has begun and is not whole."""
        return self._parser.begun

    @property
    def unsent_bytes(self) -> int:
        """Count bytes that wait for the client to read."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def _closed(self) -> bool:
        """Tell whether nothing more can be answered."""
        return self._transport is None or self._transport.is_closing()

    @property
    def _full(self) -> bool:
        """Tell whether no more is to be read for now."""
        return self._blocked or len(self._queue) >= _PIPELINED

    def check(self, now: float) -> None:
        """Look after time limits, about once a second.

        Args:
            now: The event loop's clock.
        """
        transport, settings = self._transport, self._acceptor.settings
        if transport is None:
            return
        unsent = self.unsent_bytes
        if unsent < self._stuck_bytes or not unsent:
            self._stuck_bytes, self._stuck_s = unsent, now  # it reads
        self._stuck_bytes = max(unsent, self._stuck_bytes)
        if now - self._stuck_s > settings.write_timeout_s:
            transport.abort()
            return
        if self._serving is not None:
            self._serving.tick(self._acceptor.relay.now())
        elif self._lingering:
            if now - self._since_s > LINGER_S:
                transport.abort()
        elif self._reply is None:
            self._check_request(transport, now)

    def _check_request(self, transport: asyncio.Transport, now: float) -> None:
        """Look after the limits of a request that is coming, or of an idle connection."""
        settings = self._acceptor.settings
        if self._parser.head is not None:
            late = now - self._heard_s > settings.body_timeout_s
        else:
            late = self._parser.begun and now - self._since_s > settings.head_timeout_s
        if late:
            self._refuse(RequestTooSlow())
        elif not self._parser.begun and now - self._heard_s > settings.keepalive_s:
            transport.close()

    # How

    def _advance(self) -> None:
        """Serve until something takes time or there is nothing to serve."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._reply is None and not (self._blocked or self._lingering or self._closed):
                if self._queue:
                    self._serve(self._queue.popleft())
                elif self._parser.refusal is not None:
                    self._refuse(self._parser.refusal)
                elif self._parser.head is not None and self._parser.head is not self._admitted:
                    self._admit(self._parser.head)
                else:
                    break
        finally:
            self._advancing = False
        if self._paused and not (self._full or self._closed):
            self._paused = False
            cast("asyncio.Transport", self._transport).resume_reading()

    def _admit(self, head: RequestHead) -> None:
        """Let a request in whose body is still coming, or refuse it before that comes."""
        self._admitted = head
        if self._crowded:
            self._refuse(TooManyConnections())
            return
        if serves(head.path):
            reply = self._reply = self._answering(head, keep=False)
            self._admission = self._acceptor.relay.admit(head, reply)
            if self._admission is None:
                return
            self._reply = None
        if head.expects_continue:
            self._write(_CONTINUE)

    def _serve(self, request: Request) -> None:
        head = request.head
        admission, self._admission, self._admitted = self._admission, None, None
        if self._crowded:
            self._refuse(TooManyConnections())
            return
        keep = head.keep_alive and not self._closing
        reply = self._reply = self._answering(head, keep=keep)
        if not serves(head.path):
            self._serve_asgi(request, keep=keep)
            return
        relay = self._acceptor.relay
        if admission is None:
            admission = relay.admit(head, reply)
            if admission is None:
                return
        serving = relay.serve(request, admission, reply)
        if not reply.ended:
            self._serving = serving

    def _serve_asgi(self, request: Request, *, keep: bool) -> None:
        transport = cast("asyncio.Transport", self._transport)  # there is one while it serves
        acceptor = self._acceptor
        serving = AsgiServing(
            request, transport, acceptor.app_state, keep=keep, on_end=self._replied
        )
        self._serving = serving
        acceptor.watch(serving.start(acceptor.app))

    def _answering(self, head: RequestHead, *, keep: bool) -> Reply:
        return Reply(
            self._write,
            self._replied,
            http_1_1=head.http_1_1,
            head_only=head.method == b"HEAD",
            keep=keep,
        )

    def _refuse(self, error: ProxyError) -> None:
        """Answer what is no request, or comes too late to be one, and close."""
        reply = self._reply = Reply(
            self._write, self._replied, http_1_1=True, head_only=False, keep=False
        )
        self._acceptor.relay.refuse(reply, error)

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._outbox.write(self._transport, data, self._descriptor)

    def _replied(self, keep: bool) -> None:  # noqa: FBT001  # called by position
        """Go on with the next request, or close."""
        self._reply = self._serving = None
        self._heard_s = self._since_s = self._loop.time()  # idle from here on
        if keep and not self._closing:
            self._advance()
        else:
            self._close()

    def _close(self) -> None:
        """Close once what is written is sent; what still comes in is not read."""
        transport = self._transport
        if transport is None or transport.is_closing() or self._lingering:
            return
        reads_on = self._parser.begun or self._parser.refusal is not None
        self._closing = True
        if reads_on and transport.can_write_eof():
            self._lingering, self._since_s = True, self._loop.time()
            self._outbox.flush()
            transport.write_eof()
            if self._paused:
                transport.resume_reading()
        else:
            self._outbox.flush()
            transport.close()
