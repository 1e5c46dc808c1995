"""What a response says about itself: the one interface to streams and whole bodies."""

import re
from typing import Final

from collectors.stream import StreamObserver
from collectors.usage import UNKNOWN_USAGE, Usage, read_usage
from proxy.headers import RawHeaders

# A whole body larger than this is relayed unread: its counts stay unknown.
READ_BYTES: Final = 1 << 20
_FAILED: Final = re.compile(rb'data: ?\{\s*"error"[^\n]*"code":\s*"?5\d\d\b')


class BodyObserver:
    """Keep a whole body for its ``usage``; its time to first token is nowhere to be seen.

    >>> observer = BodyObserver()
    >>> observer.feed(b'{"usage": {"completion_tokens": 3}}') != b""
    True
    >>> observer.usage.output_tokens
    3
    """

    def __init__(self) -> None:
        self.first_token = False
        self.token_events = 0
        self.failed = False
        self._chunks: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        """Keep a chunk unless the body is too large; return it."""
        self._size += len(chunk)
        if self._size <= READ_BYTES:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()
        return chunk

    def flush(self) -> bytes:
        """Return nothing: nothing is held back."""
        return b""

    @property
    def usage(self) -> Usage:
        """Parse the body; unknown where it is not JSON or too large."""
        body = b"".join(self._chunks)
        return read_usage(body) if body else UNKNOWN_USAGE


ResponseObserver = StreamObserver | BodyObserver
"""Sees a response go by; relayed is what it returns. A union: compiled code then calls
neither by name."""


def is_event_stream(headers: RawHeaders) -> bool:
    """Tell whether a response is server-sent events that can be read."""
    streamed = False
    for name, value in headers:
        if name == b"content-type":
            streamed = value.lower().startswith(b"text/event-stream")
        elif name == b"content-encoding" and value.lower() != b"identity":
            return False
    return streamed


def is_failed_stream(first: bytes) -> bool:
    """Tell whether a stream begins with the report of a failure of the endpoint itself.

    vLLM does so, with status 200, for requests that had no token yet when its engine died.

    >>> is_failed_stream(b'data: {"error": {"message": "dead", "code": 500}}')
    True
    >>> is_failed_stream(b'data: {"error": {"message": "too long", "code": 400}}')
    False
    """
    return first.startswith(b"data:") and _FAILED.match(first) is not None
