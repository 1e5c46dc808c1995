"""Responses out of an endpoint's bytes: heads, body pieces, ends.

Pure: bytes in, body bytes out. One per connection to an endpoint, used for one response
after the other. The grammar is llhttp's in its strict mode. Informational responses are
passed over. Called by :mod:`proxy.connection`, which need not feed a read that is one whole chunk
while the parser is between two.
"""

from typing import Any

import httptools

from predictor.values import Value
from proxy.errors import UpstreamBroken
from proxy.headers import RawHeaders

_FRAMED = frozenset({b"content-length", b"transfer-encoding"})


class ResponseHead(Value, kw_only=False):
    """Hold what a response says before its body.

    Attributes:
        status: HTTP status.
        headers: Header lines in their order, names in lower case.
    """

    status: int
    headers: RawHeaders


class ResponseParser:
    """Parse the responses that come over one connection; also its parser's callbacks.

    Args:
        url: Base URL of the endpoint, for what is raised.
        max_head_bytes: Most bytes of a response head.

    Attributes:
        between_chunks: Whether the next byte is the first of a chunk, its size line's.
        head: Status and headers of this response, ``None`` until they are there.
        heard: Whether any byte of it has come in.
        body_begun: Whether any byte of its body has.
        complete: Whether all of it has.
        reusable: Whether the connection may carry another exchange after it.
        trailers: What came after a chunked body.
    """

    __slots__ = (
        "_close_delimited",
        "_head_bytes",
        "_head_only",
        "_headers",
        "_max_head_bytes",
        "_parser",
        "_pieces",
        "_url",
        "between_chunks",
        "body_begun",
        "complete",
        "head",
        "heard",
        "reusable",
        "trailers",
    )

    def __init__(self, url: str, *, max_head_bytes: int) -> None:
        self._url = url
        self._max_head_bytes = max_head_bytes
        self._parser: Any = httptools.HttpResponseParser(self)  # a parser until it is let go
        self._pieces: list[bytes] = []
        self.expect()

    def expect(self, *, head_only: bool = False) -> None:
        """Begin with the next response; ``head_only`` where its request was a HEAD."""
        self.head: ResponseHead | None = None
        self.heard = self.body_begun = self.complete = self.reusable = False
        self.trailers: RawHeaders = []
        self._headers: RawHeaders = []
        self._head_bytes = 0
        self._head_only = head_only
        self._close_delimited = self.between_chunks = False

    def feed(self, data: bytes) -> bytes:
        r"""Take in bytes; give the body bytes among them.

        Raises:
            UpstreamBroken: They are not HTTP.

        >>> parser = ResponseParser("http://e", max_head_bytes=999)
        >>> parser.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab")
        b'ab'
        >>> parser.head.status, parser.feed(b"c"), parser.complete
        (200, b'c', True)
        """
        self.heard = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.complete:
                raise UpstreamBroken(self._url, f"not an HTTP response: {error}") from error
            self.reusable = False  # bytes after the end
        if self.between_chunks:  # unless the next one's size has begun, or the last has ended
            self.between_chunks = data.endswith(b"\r\n") and not self.complete
        pieces = self._pieces
        if not pieces:
            return b""
        joined = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return joined

    def end(self) -> bool:
        """Take in that the connection was closed in order; tell whether this ends the body."""
        if self.head is not None and self._close_delimited:
            self.complete = True
        return self.complete

    def close(self) -> None:
        """Let go of the parser behind, which refers back to this object."""
        self._parser = None

    # Called by the parser

    def on_message_begin(self) -> None:
        """Start over after an informational response; a second response is refused."""
        if self.complete:
            raise UpstreamBroken(self._url, "bytes after the end of the response")
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header line, or one of the trailers."""
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > self._max_head_bytes:
            raise UpstreamBroken(self._url, "response head too large")
        lines = self._headers if self.head is None else self.trailers
        lines.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Take the status unless the response is informational."""
        status = self._parser.get_status_code()
        if status < 200:
            return
        self.head = ResponseHead(status, self._headers)
        if self._head_only:
            self.complete = True
        else:
            self._close_delimited = _FRAMED.isdisjoint([name for name, _ in self._headers])

    def on_body(self, piece: bytes) -> None:
        """Keep a piece of the body for whoever feeds."""
        if not self._head_only:
            self.body_begun = True
            self._pieces.append(piece)

    def on_chunk_header(self) -> None:
        """Note that a chunk begins."""
        self.between_chunks = False

    def on_chunk_complete(self) -> None:
        """Note that one has ended."""
        self.between_chunks = True

    def on_message_complete(self) -> None:
        """Note the end, unless it was the end of an informational response."""
        if self.head is not None:
            self.complete = True
            # Only here does the parser still know.
            self.reusable = not self._head_only and self._parser.should_keep_alive()
