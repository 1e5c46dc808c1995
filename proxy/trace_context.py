"""Where a request stands in a distributed trace, known before it is sent anywhere.

Reads and writes W3C's ``traceparent`` (Trace Context, level 2) and decides whether a request
is sampled: as its caller says, else by a ratio of trace ids. Ids are drawn here because the
endpoint's request must name them; spans are made of them at the request's end
(:mod:`proxy.tracing`). Called once a request where tracing is on, never where it is off.
"""

import random
import re
from typing import Final

from predictor.types import TraceContext
from predictor.values import replace
from proxy.connection import OutgoingRequest
from proxy.http_request import RequestHead
from proxy.incoming import IncomingRequest

_SAMPLED: Final = 1
# Version ff is none; later versions may add fields behind the flags.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
# Of 64: leaves room for a request's other spans, whose ids are counted up from its own.
_SPAN_ID_BITS: Final = 63


class Tracer:
    """Give each request its place in a trace.

    Args:
        rng: Draws ids.
        sample_ratio: Share of the traces that begin here which are sampled, 0 to 1.
    """

    def __init__(self, rng: random.Random, sample_ratio: float) -> None:
        self._rng = rng
        self._bound = round(sample_ratio * 2**64)

    def trace(self, incoming: IncomingRequest, head: RequestHead) -> IncomingRequest:
        """Give a request its place; what goes to the endpoint names it."""
        trace = self._place(head)
        outgoing = incoming.outgoing
        lines = _header_lines(outgoing.header_lines, trace)
        trace_id = trace.trace_id if trace.sampled else None
        return replace(
            incoming,
            features=replace(incoming.features, trace=trace, trace_id=trace_id),
            outgoing=replace(outgoing, header_lines=lines),
        )

    def _place(self, head: RequestHead) -> TraceContext:
        """Continue the caller's trace, or begin one."""
        span_id = self._rng.getrandbits(_SPAN_ID_BITS) or 1
        method = head.method.decode("latin-1")
        parent = parent_of(head.named.get(b"traceparent", b""))
        if parent is None:
            trace_id = self._rng.getrandbits(128) or 1
            return TraceContext(
                trace_id=f"{trace_id:032x}",
                span_id=span_id,
                sampled=trace_id % 2**64 < self._bound,
                method=method,
                path=head.path,
            )
        trace_id_text, parent_id, sampled = parent
        state = b",".join(value for name, value in head.lines if name == b"tracestate")
        return TraceContext(
            trace_id=trace_id_text,
            span_id=span_id,
            parent_id=parent_id,
            sampled=sampled,
            state=state.decode("latin-1") or None,
            method=method,
            path=head.path,
        )


def parent_of(traceparent: bytes) -> tuple[str, int, bool] | None:
    """Read a ``traceparent``: trace, the caller's span, whether it is sampled.

    Returns:
        ``None`` for one that is missing or is none.

    >>> parent_of(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    ('0af7651916cd43dd8448eb211c80319c', 13235353014750950193, True)
    >>> parent_of(b"00-00000000000000000000000000000000-b7ad6b7169203331-01") is None
    True
    """
    found = _TRACEPARENT.fullmatch(traceparent.strip())
    if found is None or (found[1] == b"00" and found[5] is not None):
        return None
    return found[2].decode(), int(found[3], 16), bool(int(found[4], 16) & _SAMPLED)


def upstream_id(trace: TraceContext, attempt: int) -> int:
    """Give the id of the span of one dispatch of a request, the first being 1."""
    return trace.span_id + attempt


def traceparent(trace: TraceContext, attempt: int) -> bytes:
    """Name a dispatch to the endpoint that gets it.

    >>> traceparent(TraceContext(trace_id="ab" * 16, span_id=9), 1)
    b'00-abababababababababababababababab-000000000000000a-01'
    """
    flags = _SAMPLED if trace.sampled else 0
    return f"00-{trace.trace_id}-{upstream_id(trace, attempt):016x}-{flags:02x}".encode()


def outgoing_at(incoming: IncomingRequest, attempt: int) -> OutgoingRequest:
    """Give what goes to the endpoint at a later attempt; the first sends it as it is."""
    trace, outgoing = incoming.features.trace, incoming.outgoing
    if trace is None:
        return outgoing
    before = _traceparent_line(trace, 1)  # the last one
    lines = outgoing.header_lines.removesuffix(before) + _traceparent_line(trace, attempt)
    return replace(outgoing, header_lines=lines)


def _header_lines(lines: bytes, trace: TraceContext) -> bytes:
    """Name our span to the endpoint in place of the caller's; a state goes with its parent."""
    names = (b"traceparent:",) if trace.state else (b"traceparent:", b"tracestate:")
    kept = (line for line in lines.splitlines(keepends=True) if not line.startswith(names))
    return b"".join(kept) + _traceparent_line(trace, 1)


def _traceparent_line(trace: TraceContext, attempt: int) -> bytes:
    """Give the header line that goes to an endpoint, with its end."""
    return b"traceparent: %b\r\n" % traceparent(trace, attempt)
