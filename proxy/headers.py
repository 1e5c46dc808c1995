"""Which headers are read, which are forwarded, and which end at this hop.

Names are in lower case, as ASGI and our own upstream give them. All but hop-by-hop
headers pass both ways, in their order and with their duplicates.
"""

import math
import re
from collections.abc import Mapping
from typing import Final

from predictor.types import NO_OBJECTIVE, Decision, Objective
from proxy.errors import BadHeader, BadRequest

RawHeaders = list[tuple[bytes, bytes]]
HeaderMap = Mapping[bytes, bytes]

_NEVER_S: Final = 1e9  # thirty years
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Set anew for the endpoint: its own name, the length of the body as sent, one id.
_REQUEST_DROPPED: Final = HOP_BY_HOP | {b"host", b"content-length", b"expect", b"x-request-id"}
# Ours take their place.
_RESPONSE_DROPPED: Final = HOP_BY_HOP | {
    b"content-length",
    b"x-foretoken-endpoint",
    b"x-foretoken-predicted-tpot-ms",
    b"x-foretoken-predicted-ttft-ms",
    b"x-foretoken-reason",
    b"x-request-id",
}

_TTFT_HEADERS: Final = ("x-slo-ttft-ms", "x-llm-d-slo-ttft-ms")
_TPOT_HEADERS: Final = ("x-slo-tpot-ms", "x-llm-d-slo-tpot-ms")
_MAX_ID_LENGTH: Final = 128
# Source: W3C Trace Context, section 3.2.2; what later versions append is not ours to read.
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)"
)
_NO_TRACE: Final = b"0" * 32
_WISHES: Final = frozenset(
    {
        *(name.encode() for name in (*_TTFT_HEADERS, *_TPOT_HEADERS)),
        b"te",
        b"x-gateway-destination-endpoint-subset",
        b"x-llm-d-inference-fairness-id",
        b"x-llm-d-inference-objective",
        b"x-slo-tier",
        b"x-vllm-priority",
    }
)


def has_wishes(headers: HeaderMap) -> bool:
    """Tell whether any header says how to serve the request; most requests have none."""
    return not _WISHES.isdisjoint(headers)


def request_id_of(headers: HeaderMap) -> str | None:
    """Give the client's request id if it is one line of sane length, else ``None``."""
    raw = headers.get(b"x-request-id")
    if raw is None:
        return None
    value = raw.decode("latin-1")
    usable = 0 < len(value) <= _MAX_ID_LENGTH and value.isascii() and value.isprintable()
    return value if usable else None


def trace_id_of(headers: HeaderMap) -> str | None:
    """Give the trace that the client's ``traceparent`` names, ``None`` where it names none.

    >>> trace_id_of({b"traceparent": b"00-" + b"ab" * 16 + b"-" + b"cd" * 8 + b"-01"})
    'abababababababababababababababab'
    """
    value = headers.get(b"traceparent")
    found = None if value is None else _TRACEPARENT.match(value)
    if found is None or found[1] == _NO_TRACE:
        return None
    return found[1].decode()


def text_of(headers: HeaderMap, name: bytes) -> str | None:
    """Give a header as text, ``None`` where it is missing or empty."""
    value = headers.get(name)
    return value.decode("latin-1") if value else None


def objective_of(headers: HeaderMap) -> Objective:
    """Read the latency targets, milliseconds in the headers.

    Raises:
        BadHeader: One is not a positive number.

    >>> objective_of({b"x-slo-ttft-ms": b"250"})
    Objective(ttft_s=0.25, tpot_s=None)
    """
    ttft_s = _seconds(headers, _TTFT_HEADERS)
    tpot_s = _seconds(headers, _TPOT_HEADERS)
    if ttft_s is None and tpot_s is None:
        return NO_OBJECTIVE
    return Objective(ttft_s=ttft_s, tpot_s=tpot_s)


def subset_of(headers: HeaderMap) -> frozenset[str] | None:
    """Read the endpoints the caller restricts the choice to, ``None`` for all.

    >>> sorted(subset_of({b"x-gateway-destination-endpoint-subset": b"a:1, b:2"}))
    ['a:1', 'b:2']
    """
    value = headers.get(b"x-gateway-destination-endpoint-subset")
    if value is None:
        return None
    return frozenset(name for name in map(str.strip, value.decode("latin-1").split(",")) if name)


def vllm_priority_of(headers: HeaderMap) -> int | None:
    """Read vLLM's own priority header; a malformed one is vLLM's to refuse."""
    value = headers.get(b"x-vllm-priority")
    try:
        return None if value is None else int(value)
    except ValueError:
        return None


def request_lines(
    headers: RawHeaders,
    present: HeaderMap,
    *,
    request_id: str,
    dropped: frozenset[bytes] = frozenset(),
) -> bytes:
    """Build the header lines that go to an endpoint, without ``host`` and the length.

    Args:
        headers: As they came.
        present: The same by name.
        request_id: Takes the place of the client's own.
        dropped: Further names that stay here.

    Raises:
        BadRequest: A value spans lines.
    """
    dropped = _REQUEST_DROPPED | dropped if dropped else _REQUEST_DROPPED
    if b"connection" in present:
        dropped |= _named_by_connection(headers)
    lines = [b"%b: %b\r\n" % header for header in headers if header[0] not in dropped]
    lines.append(b"x-request-id: %b\r\n" % request_id.encode("latin-1"))
    joined = b"".join(lines)
    if joined.count(b"\n") != len(lines) or joined.count(b"\r") != len(lines):
        raise BadRequest("a header value spans several lines")
    return joined


def response_lines(headers: RawHeaders) -> bytes:
    r"""Build the header lines of an endpoint's response that pass to the client.

    Left out are the length, which the framing states, and what ours take the place of.

    >>> response_lines([(b"server", b"uvicorn"), (b"connection", b"x-a"), (b"x-a", b"1")])
    b'server: uvicorn\r\n'
    """
    dropped = _RESPONSE_DROPPED
    for name, _ in headers:
        if name == b"connection":
            dropped |= _named_by_connection(headers)
            break
    return b"".join([b"%b: %b\r\n" % header for header in headers if header[0] not in dropped])


def _named_by_connection(headers: RawHeaders) -> frozenset[bytes]:
    """Give the headers that end at this hop because a ``connection`` header names them."""
    values = [value for name, value in headers if name == b"connection"]
    return frozenset(name.strip().lower() for value in values for name in value.split(b","))


def _seconds(headers: HeaderMap, names: tuple[str, ...]) -> float | None:
    values = ((name, headers.get(name.encode())) for name in names)
    given = [_positive_s(name, value) for name, value in values if value is not None]
    return given[0] if given else None


def _positive_s(name: str, value: bytes) -> float:
    text = value.decode("latin-1")
    try:
        seconds = float(text) / 1e3
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:  # the least of floats is 0 in seconds
        raise BadHeader(name, text, "a positive number of milliseconds")
    return seconds


def predicted_ms(decision: Decision, arrived_s: float) -> tuple[str, str] | None:
    """Write the TTFT and the TPOT that a decision expects, as headers say them.

    Args:
        decision: As made.
        arrived_s: When the request came: TTFT counts from then.

    Returns:
        ``None`` where nothing was predicted, or a predictor gone wrong gave no times.
    """
    said, chosen = decision.predictions, decision.chosen
    if said is None:
        return None
    ttft_s = decision.decided_s - arrived_s + said.ttft_s.item(chosen)
    tpot_s = said.tpot_s.item(chosen)
    if not (0.0 <= ttft_s < _NEVER_S and 0.0 <= tpot_s < _NEVER_S):
        return None
    return _milliseconds(ttft_s), _milliseconds(tpot_s)


def _milliseconds(seconds: float) -> str:
    """Write a time, finite and not negative, in half the time that formatting a float takes.

    >>> _milliseconds(0.0123456), _milliseconds(0.0000004)
    ('12.346', '0.000')
    """
    digits = str(int(seconds * 1e6 + 0.5)).zfill(4)
    return f"{digits[:-3]}.{digits[-3:]}"
