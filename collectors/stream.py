r"""Watch a stream of server-sent events go by: first token, count, usage, end.

Decides what is a token and what the client gets to see. Invariants: the result does
not depend on where the bytes were cut; what is relayed, joined, is what came in, less
the usage event the proxy asked for on its own account; nothing here raises. Events end
at ``\n\n`` or ``\r\n\r\n``. JSON is parsed until the first token and once at the end;
in between bytes are searched, because this runs for every chunk of every stream.
A key can be searched for as ``"usage"`` with its quotes, because inside a JSON string
quotes are escaped. Called by the proxy; reads no clock: the caller stamps the time
when :attr:`StreamObserver.first_token` becomes true.
"""

import re
from typing import Final, Literal

import msgspec

from collectors.event_form import EventForm
from collectors.stream_events import Delta, decode_event
from collectors.usage import UNKNOWN_USAGE, Usage, read_usage

StreamKind = Literal["chat", "completions", "named"]
"""What makes an event a token.

``chat``: every data event but those before the first output that tell a role alone.
``completions``: every data event; also right for streams of other APIs. ``named``:
events whose name ends in ``delta``, as ``/v1/responses`` and ``/v1/messages`` send them.
Usage-only, error and ``[DONE]`` events never are.
"""

HELD_BYTES: Final = 1 << 20  # most of one incomplete event that is kept; real ones are < 100 KB

_NEWLINE: Final = 0x0A
_SMALL_E: Final = 0x65
_BOUNDARY: Final = re.compile(rb"\n\r?\n")
_BOUNDARY_OVERLAP: Final = 2  # bytes of a boundary that may be in the chunk before
_DATA: Final = re.compile(rb"^data:(.*)$", re.MULTILINE)
_DELTA: Final = re.compile(rb"^event: ?\S*delta\r?$", re.MULTILINE)
_USAGE: Final = re.compile(rb'"usage"\s*:\s*\{')
_NO_CHOICES: Final = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_ERROR: Final = re.compile(
    rb'^(?:data: ?\{\s*"error"\s*:\s*[{"]|event: ?(?:error|response\.failed)\r?$)', re.MULTILINE
)
_DONE: Final = re.compile(rb"^data: ?\[DONE\]\r?$", re.MULTILINE)


class StreamObserver:
    """Observe one response; feed it every chunk, relay what it returns.

    Args:
        kind: What makes an event a token.
        hide_usage: Keep the usage-only event from the client, because it was the proxy
            that asked for it. An incomplete event is then held back until its end
            comes, up to ``held_bytes``.
        held_bytes: Most bytes of one incomplete event to keep; a larger one is relayed
            as it comes and not looked into.

    Attributes:
        first_token: Whether an output token has been seen.
        token_events: Events that carried at least one token.
        done: Whether ``[DONE]`` has been seen.
        failed: Whether the endpoint reported an error inside the stream.
    """

    __slots__ = (
        "_form",
        "_hide",
        "_kind",
        "_limit",
        "_oversized",
        "_tail",
        "_usage_event",
        "done",
        "failed",
        "first_token",
        "token_events",
    )

    def __init__(self, kind: StreamKind, *, hide_usage: bool, held_bytes: int = HELD_BYTES) -> None:
        self._kind = kind
        self._hide = hide_usage
        self._limit = held_bytes
        self._tail = b""  # the incomplete event at the end of what came
        self._form = EventForm()
        self._oversized = False  # whether the tail is what is left of one too large to keep
        self._usage_event = b""
        self.first_token = False
        self.token_events = 0
        self.done = False
        self.failed = False

    def feed(self, chunk: bytes) -> bytes:
        """Take in a chunk; return what goes to the client, often the same object."""
        if self.first_token and not self._tail and self._kind != "named":
            tokens = _plain_tokens(chunk, 0, len(chunk))
            if tokens and len(chunk) <= self._limit:
                self.token_events += tokens
                return chunk
        if self._oversized:
            return self._feed_oversized(chunk)
        relayed = self._feed_events(chunk)
        return relayed if self._hide else chunk

    def take_tokens(self, data: bytes, start: int) -> bool:
        """Take in a chunk of HTTP/1.1 if it is tokens alone, to be relayed as it is.

        Args:
            data: The chunk in its framing.
            start: Index of the first byte of its data, which ends two bytes before the end.

        Returns:
            Whether it was taken in; where not, its data is for :meth:`feed`.
        """
        end = len(data) - 2
        if self._tail or not self.first_token or self._kind == "named" or end - start > self._limit:
            return False
        if self._form.fits(data, start):
            self.token_events += 1
            return True
        tokens = _plain_tokens(data, start, end)
        self.token_events += tokens
        if tokens == 1:
            self._form.learn(data, start)
        return tokens > 0

    def flush(self) -> bytes:
        """Give up waiting for the end of an incomplete event: the stream is over."""
        rest = self._tail if self._hide and not self._oversized else b""
        self._tail = b""
        return rest

    @property
    def usage(self) -> Usage:
        """Parse what the last event with a ``usage`` said; unknown where none came."""
        data = _DATA.search(self._usage_event)
        return UNKNOWN_USAGE if data is None else read_usage(data[1])

    @property
    def output_tokens(self) -> int | None:
        """Give the tokens generated: by ``usage``, else the events that carried some."""
        counted = self.usage.output_tokens
        return (self.token_events or None) if counted is None else counted

    def _feed_events(self, chunk: bytes) -> bytes:
        data = self._tail + chunk if self._tail else chunk
        shown = []
        start = 0
        for boundary in _BOUNDARY.finditer(data):
            event = data[start : boundary.end()]
            start = boundary.end()
            if self._observe(event):
                shown.append(event)
        self._tail = data[start:]
        if len(self._tail) > self._limit:
            shown.append(self._tail)
            self._count_unseen()
            self._oversized = True
            self._tail = self._tail[-_BOUNDARY_OVERLAP:]
        return b"".join(shown)

    def _feed_oversized(self, chunk: bytes) -> bytes:
        data = self._tail + chunk
        boundary = _BOUNDARY.search(data)
        if boundary is None:
            self._tail = data[-_BOUNDARY_OVERLAP:]
            return chunk
        end = boundary.end() - len(self._tail)
        self._tail = b""
        self._oversized = False
        return chunk[:end] + self.feed(chunk[end:])

    def _observe(self, event: bytes) -> bool:
        """Take in one whole event; say whether the client may see it."""
        if len(event) > self._limit:
            self._count_unseen()
            return True
        if b"[DONE]" in event and _DONE.search(event):
            self.done = True
            return True
        if _ERROR.search(event):
            self.failed = True
            return True
        if b'"usage"' in event and _USAGE.search(event):
            self._usage_event = event
            if self._kind != "named" and _NO_CHOICES.search(event):
                return not self._hide
        self._count(event)
        return True

    def _count(self, event: bytes) -> None:
        if self._kind == "named":
            tokens = len(_DELTA.findall(event))
        else:
            tokens = event.count(b"\ndata:") + event.startswith(b"data:")
        if tokens and (self.first_token or not self._is_prelude(event)):
            self.token_events += tokens
            self.first_token = True

    def _count_unseen(self) -> None:
        """Take an event that is too large to look into for a token: so large, it is output."""
        self.token_events += 1
        self.first_token = True

    def _is_prelude(self, event: bytes) -> bool:
        """Tell events before the first token: without choices, or with a role alone."""
        if self._kind == "named":
            return False
        if _NO_CHOICES.search(event):
            return True
        data = _DATA.search(event)
        if self._kind != "chat" or data is None:
            return False
        try:
            choices = decode_event(data[1]).choices
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        return bool(choices) and all(_is_role_alone(choice.delta) for choice in choices)


def _plain_tokens(data: bytes, start: int, end: int) -> int:
    r"""Count the events of a part of some bytes that is whole events with tokens alone in them.

    0 where it is anything else. ``in`` would ask first whether it is given a number.

    >>> _plain_tokens(b'data: {"id":1}\n\n', 0, 16), _plain_tokens(b'data: {}\n\n' * 2, 0, 20)
    (1, 2)
    >>> _plain_tokens(b'data: {"error":{}}\n\n', 0, 20), _plain_tokens(b'{"usage":{}}\n\n', 0, 14)
    (0, 0)
    """
    if data.find(b'"usage"') >= 0:  # around the part there is none: faster than to look there
        return 0
    last = end - 1
    one_line = last - start > 9 and data[last] == _NEWLINE and data.find(b"\n", start) == last - 1
    begun = start + 8
    if one_line and data[start:begun] == b'data: {"' and data[begun] != _SMALL_E:  # nor an error
        return 1
    event = data[start:end]
    if not event.endswith(b"\n\n") or event.find(b"error") >= 0 or event.find(b"[DONE]") >= 0:
        return 0
    return event.count(b"\ndata:") + event.startswith(b"data:")


def _is_role_alone(delta: Delta | None) -> bool:
    if delta is None or not delta.role:
        return False
    return not (delta.content or delta.reasoning_content or delta.reasoning or delta.tool_calls)
