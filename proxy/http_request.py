"""Requests out of bytes: the strict half of HTTP/1.1 that a proxy must not guess about.

Pure: bytes in; whole requests, the head of one whose body is still coming, or a refusal
out. The grammar is llhttp's in its strict mode (repeated or conflicting lengths, bare LF
or CR, obs-fold, spaces before the colon, NUL, bad chunk sizes and methods are refused);
what it lets through and RFC 9112 does not is refused here. After a refusal nothing more
is read: where the next request would begin, nobody knows. One per client connection.
"""

from typing import Any, Final
from urllib.parse import unquote

import httptools

from predictor.values import Value
from proxy.errors import BadRequest, BodyTooLarge, HeadTooLarge, ProxyError
from proxy.headers import HeaderMap, RawHeaders

_HTTP_1_1: Final = "1.1"
# Bytes of a chunked body by its content, at most: chunks of one byte take six.
_FRAMING: Final = 8


class RequestHead(Value):
    """Hold what a request says before its body.

    Attributes:
        method: As it came.
        target: Path and query as they came, for the endpoint.
        path: The path with its escapes resolved, for us.
        lines: Header lines in their order, names in lower case.
        named: The same by name; of repeated ones the last.
        http_1_1: Whether the client speaks HTTP/1.1, so that a response may be chunked.
        keep_alive: Whether the connection may carry another request after this one.
    """

    method: bytes
    target: bytes
    path: str
    lines: RawHeaders
    named: HeaderMap
    http_1_1: bool = True
    keep_alive: bool = True

    @property
    def expects_continue(self) -> bool:
        """Tell whether the client waits for our word before it sends the body."""
        return self.http_1_1 and self.named.get(b"expect", b"").lower() == b"100-continue"


class Request(Value, kw_only=False):
    """Hold one whole request."""

    head: RequestHead
    body: bytes


class RequestParser:
    """Parse the requests of one connection; also the callbacks of the parser behind it.

    Args:
        max_head_bytes: Most bytes of a request line and its headers together.
        max_headers: Most header lines; trailers are counted likewise, and left out.
        max_body_bytes: Most bytes of a body.

    Attributes:
        head: The head that is complete while its body is not.
        begun: Whether bytes of an incomplete request have come in.
        refusal: Why no more is read, ``None`` while all is well.
    """

    __slots__ = (
        "_fed_bytes",
        "_lines",
        "_max_body_bytes",
        "_max_head_bytes",
        "_max_headers",
        "_parser",
        "_pieces",
        "_raw_left",
        "_ready",
        "_shared",
        "_size",
        "_target",
        "_trailers",
        "_upgrading",
        "begun",
        "head",
        "refusal",
    )

    def __init__(self, *, max_head_bytes: int, max_headers: int, max_body_bytes: int) -> None:
        self._max_head_bytes = max_head_bytes
        self._max_headers = max_headers
        self._max_body_bytes = max_body_bytes
        self._parser: Any = httptools.HttpRequestParser(self)  # a parser until it is let go
        self._ready: list[Request] = []
        self._target = b""
        self._lines: RawHeaders = []
        self._pieces: list[bytes] = []
        self._size = 0
        self._trailers = 0
        self._fed_bytes = 0  # of this head, then of this body with its framing
        self._shared = False  # whether this read has held the end of a request before
        self._upgrading = False
        self._raw_left: int | None = None  # of the body of a request that offers an upgrade
        self.head: RequestHead | None = None
        self.begun = False
        self.refusal: ProxyError | None = None

    def feed(self, data: bytes) -> list[Request]:
        r"""Take in bytes; give the requests that are whole now, before any :attr:`refusal`.

        >>> parser = RequestParser(max_head_bytes=999, max_headers=9, max_body_bytes=99)
        >>> parser.feed(b"GET /a%20b HTTP/1.1\r\nhost: x\r\n\r")
        []
        >>> parser.feed(b"\n")[0].head.path
        '/a b'
        """
        ready: list[Request] = []
        self._ready = ready
        if self.refusal is None:
            try:
                self._feed(data)
            except (httptools.HttpParserError, ProxyError) as error:
                self._note_refusal(error, ready)
        return ready

    def _note_refusal(self, error: Exception, ready: list[Request]) -> None:
        """Say why no more is read, unless that has been said, or what follows is no request."""
        last = ready[-1].head if ready else None
        if self.refusal is None and (last is None or last.keep_alive):
            self.refusal = BadRequest(f"not a valid HTTP/1.1 request: {error}")

    def _feed(self, data: bytes) -> None:
        while data:
            if self._raw_left is not None:
                data = self._feed_raw(data)
                continue
            self._fed_bytes += len(data)
            self._shared = False
            try:
                self._parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = self._decline_upgrade(data, upgrade.args[0])
                continue
            if self.begun and self._fed_bytes > self._max_head_bytes + _FRAMING * self._size:
                # What is not body is head, trailers or chunk extensions.
                self._refuse(HeadTooLarge(f"more than {self._max_head_bytes} bytes"))
            return

    def _decline_upgrade(self, data: bytes, offset: int) -> bytes:
        """Go on as if no upgrade had been offered: the parser leaves the body to us."""
        head = self.head
        if head is None:
            self._refuse(BadRequest("not a valid HTTP/1.1 request"))
        elif b"transfer-encoding" in head.named:
            self._refuse(BadRequest("an upgrade is offered with a chunked body"))
        else:
            self._parser = httptools.HttpRequestParser(self)
            self._upgrading = False
            self._raw_left = int(head.named.get(b"content-length", b"0"))
            return self._feed_raw(data[offset:])
        return b""

    def _feed_raw(self, data: bytes) -> bytes:
        left = self._raw_left or 0
        if data[:left]:
            self.on_body(data[:left])
        self._raw_left = left - min(left, len(data))
        if self._raw_left == 0:
            self._raw_left = None
            self.on_message_complete()
        return data[left:]

    def _refuse(self, error: ProxyError) -> None:
        self.refusal = error
        raise error

    def close(self) -> None:
        """Let go of the parser behind, which refers back to this object."""
        self._parser = None

    # Called by the parser

    def on_message_begin(self) -> None:
        """Start over."""
        self.begun = True
        self._target = b""
        self._lines = []

    def on_url(self, piece: bytes) -> None:
        """Take a piece of the target."""
        self._target += piece

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header line; trailers have nowhere to go: the body is sent on whole."""
        if self.head is None:
            self._lines.append((name.lower(), value))
        else:
            self._trailers += 1
            if self._trailers > self._max_headers:
                self._refuse(HeadTooLarge(f"more than {self._max_headers} trailers"))

    def on_headers_complete(self) -> None:
        """Judge the head."""
        lines = self._lines
        if len(lines) > self._max_headers:
            self._refuse(HeadTooLarge(f"more than {self._max_headers} headers"))
        if self._fed_bytes > self._max_head_bytes or self._shared:
            self._check_size()
        self._fed_bytes = 0
        parser = self._parser
        version = parser.get_http_version()
        named = dict(lines)
        problem = _problem(version, lines, named)
        if problem is not None:
            self._refuse(BadRequest(problem))
        self._upgrading = parser.should_upgrade()
        method = parser.get_method()
        target = self._target if self._target[:1] == b"/" else self._origin_form(method)
        if b"#" in target:
            self._refuse(BadRequest("the request target has a fragment"))
        path = target.partition(b"?")[0].decode("ascii")
        self.head = RequestHead(
            method=method,
            target=target,
            path=unquote(path) if "%" in path else path,
            lines=lines,
            named=named,
            http_1_1=version == _HTTP_1_1,
            keep_alive=version == _HTTP_1_1 and not _says_close(named),
        )
        if int(named.get(b"content-length", b"0")) > self._max_body_bytes:
            self._refuse(BodyTooLarge(self._max_body_bytes))

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        self._size += len(piece)
        if self._size > self._max_body_bytes:
            self._refuse(BodyTooLarge(self._max_body_bytes))
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Hand the request over."""
        head, pieces = self.head, self._pieces
        if self._upgrading or head is None:
            return
        self._ready.append(Request(head, pieces[0] if len(pieces) == 1 else b"".join(pieces)))
        self.head = None
        self.begun = False
        self._fed_bytes = 0
        self._shared = True
        if pieces:
            self._pieces = []
            self._size = 0
        self._trailers = 0

    # How

    def _check_size(self) -> None:
        size = len(self._target) + sum(len(name) + len(value) + 4 for name, value in self._lines)
        if size > self._max_head_bytes:
            self._refuse(HeadTooLarge(f"more than {self._max_head_bytes} bytes"))

    def _origin_form(self, method: bytes) -> bytes:
        """Give path and query of a target that does not begin with the path."""
        target = self._target
        if target == b"*" and method == b"OPTIONS":
            return target
        scheme, found, rest = target.partition(b"://")
        if not found or scheme.lower() not in {b"http", b"https"} or method == b"CONNECT":
            self._refuse(BadRequest("the request target is not one of an HTTP server"))
        authority, slash, path = rest.partition(b"/")
        if b"?" in authority:
            return b"/?" + rest.partition(b"?")[2]
        return slash + path or b"/"


def _problem(version: str, lines: RawHeaders, named: HeaderMap) -> str | None:
    """Say what RFC 9112 forbids about a head that its grammar allows, ``None`` for nothing."""
    if version == _HTTP_1_1:
        if b"host" not in named:
            return "the host header is missing"
    elif version != "1.0":
        return f"HTTP/{version} is not spoken here"
    if len(named) != len(lines):
        names = [name for name, _ in lines]
        for once in (b"host", b"content-length", b"transfer-encoding"):
            if names.count(once) > 1:
                return f"the {once.decode()} header is repeated"
    coding = named.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or version != _HTTP_1_1):
        return "the transfer encoding is not known"
    return None


def _says_close(named: HeaderMap) -> bool:
    connection = named.get(b"connection")
    return connection is not None and b"close" in [
        option.strip() for option in connection.lower().split(b",")
    ]
