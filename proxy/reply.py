"""One request's way back to its client: the framing of HTTP/1.1, and nothing of meaning.

Invariants: a response is started once and ended once; nothing is written after its end
or to a client that has gone; a response that is cut never looks whole. Made by the
client connection for each request, used by whoever answers it.
"""

from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from predictor.values import Value
from proxy.chunks import framed
from proxy.errors import ErrorResponse

_FAULT: Final = ErrorResponse(status=500, message="the router failed", type="server_error")
_BODILESS: Final = frozenset({204, 304})
_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}
_STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode()
    for status in range(200, 600)
}


class ReplyHead(Value, kw_only=False):
    """Hold what a response to a client says before its body.

    Attributes:
        status: HTTP status.
        lines: Header lines with their line ends; nothing about length or connection.
        length: Bytes of the body, ``None`` where nobody can say yet.
    """

    status: int
    lines: bytes
    length: int | None


class Reply:
    """Answer one request.

    Args:
        write: Takes bytes for the client; must not raise.
        on_end: Told of the end, once: whether the connection may be kept.
        http_1_1: Whether the client knows chunks.
        head_only: Whether it asked by HEAD: no body is sent.
        keep: Whether the connection may be kept after a whole response.

    Attributes:
        started: Whether a status has been sent.
        ended: Whether the response has.
        keep: As above; whoever cleared it before the start closes the connection.
    """

    __slots__ = (
        "_body",
        "_chunked",
        "_head",
        "_head_only",
        "_http_1_1",
        "_on_end",
        "_write",
        "ended",
        "keep",
        "started",
    )

    def __init__(
        self,
        write: Callable[[bytes], None],
        on_end: Callable[[bool], None],
        *,
        http_1_1: bool,
        head_only: bool,
        keep: bool,
    ) -> None:
        self._write = write
        self._on_end = on_end
        self._http_1_1 = http_1_1
        self._head_only = head_only
        self._chunked = False
        self._body = True
        self._head = b""  # until the first bytes of the body, so that both are one write
        self.keep = keep
        self.started = False
        self.ended = False

    def start(self, head: ReplyHead) -> None:
        """Send status and headers, with whatever comes next."""
        self.started = True
        status, length = head.status, head.length
        self._body = not (self._head_only or status in _BODILESS)
        if length is not None and status not in _BODILESS:
            framing = b"content-length: %d\r\n" % length
        elif not self._body:
            framing = b""
        elif self._http_1_1:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        else:
            self.keep = False  # the end of the connection is the end of the body
            framing = b""
        close = b"" if self.keep else b"connection: close\r\n"
        start = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        self._head = b"%b%b%b%b\r\n" % (start, head.lines, framing, close)

    def write(self, data: bytes) -> None:
        """Send a piece of the body; an empty one sends what is held back."""
        if not self._body:
            data = b""
        elif self._chunked and data:
            data = framed(data)
        if self._head:
            data = self._head + data
            self._head = b""
        if data and not self.ended:
            self._write(data)

    @property
    def in_chunks(self) -> bool:
        """Tell whether chunks may be passed on as they are."""
        return self._chunked and not self._head

    def pass_on(self, chunk: bytes) -> None:
        """Send a piece of the body in its framing, which is as :func:`framed` makes it."""
        if not self.ended:
            self._write(chunk)

    def end(self, data: bytes = b"", trailers: bytes = b"") -> None:
        """Send the last piece and the end; the connection may go on."""
        if self.ended:
            return
        if not self._chunked:
            self.write(data)
        elif data:
            self._write(b"%b%b0\r\n%b\r\n" % (self._head, framed(data), trailers))
        else:
            self._write(b"%b0\r\n%b\r\n" % (self._head, trailers))
        self._finish(keep=self.keep)

    def cut(self, data: bytes = b"") -> None:
        """Send a last piece and break off: what came is not the whole."""
        self.write(data)
        self._finish(keep=False)

    def detach(self) -> None:
        """Write nothing more: the client has gone."""
        self.ended = True

    def answer(self, head: ReplyHead, body: bytes) -> None:
        """Send a whole response."""
        self.start(head)
        self.end(body)

    def refuse(self, error: ErrorResponse, request_id: str | None = None) -> None:
        """Send an error, with the id of the request it belongs to."""
        lines, body = error.lines, error.body
        if request_id is not None:
            lines += b"x-request-id: %b\r\n" % request_id.encode("latin-1")
        self.answer(ReplyHead(error.status, lines, len(body)), body)

    def give_up(self) -> None:
        """End after a fault of ours: say so where nothing has been sent, else break off."""
        if not self.started:
            self.refuse(_FAULT)
        elif not self.ended:
            self.cut()

    def _finish(self, *, keep: bool) -> None:
        if not self.ended:
            self.ended = True
            self._on_end(keep)
