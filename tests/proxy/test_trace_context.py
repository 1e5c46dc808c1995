"""A request's place in a trace: read from its caller or begun, and passed on."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http_request import RequestHead
from proxy.incoming import IncomingRequest, read_request
from proxy.trace_context import Tracer, outgoing_at, parent_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01".encode()


def incoming(
    *headers: tuple[bytes, bytes], ratio: float = 1.0, tracer: Tracer | None = None
) -> IncomingRequest:
    head = RequestHead(
        method=b"POST",
        target=b"/v1/chat/completions",
        path="/v1/chat/completions",
        lines=list(headers),
        named=dict(headers),
    )
    tracer = tracer or Tracer(random.Random(7), ratio)
    read = read_request(head, b"{}", request_id="r", arrived_s=0.0, include_usage=True)
    return tracer.trace(read, head)


def sent(request: IncomingRequest, attempt: int = 1) -> dict[str, list[str]]:
    """Give the header lines that go out, by name."""
    found: dict[str, list[str]] = {}
    for line in outgoing_at(request, attempt).header_lines.decode().split("\r\n")[:-1]:
        name, _, value = line.partition(": ")
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        PARENT + b"-extra",  # version 00 ends with the flags
        PARENT.upper(),
        b"ff" + PARENT[2:],
        PARENT.replace(TRACE.encode(), b"0" * 32),
        PARENT.replace(SPAN.encode(), b"0" * 16),
        PARENT[:-1],
        b"\xff" * 55,
    ],
)
def test_what_is_no_traceparent_begins_a_trace(value: bytes) -> None:
    request = incoming((b"traceparent", value), (b"tracestate", b"a=1"))

    trace = request.features.trace
    assert trace is not None
    assert trace.parent_id is None
    assert trace.trace_id != TRACE
    assert sent(request)["traceparent"] == [f"00-{trace.trace_id}-{trace.span_id + 1:016x}-01"]
    assert "tracestate" not in sent(request)


@given(st.binary(max_size=80))
def test_no_bytes_break_it(value: bytes) -> None:
    parent_of(value)


@pytest.mark.parametrize("version", [b"00", b"01"])
@pytest.mark.parametrize(("flags", "sampled"), [(b"00", False), (b"01", True), (b"03", True)])
def test_a_callers_trace_goes_on(version: bytes, flags: bytes, sampled: bool) -> None:
    value = version + PARENT[2:-2] + flags
    request = incoming((b"traceparent", value), (b"tracestate", b"a=1"), (b"tracestate", b"b=2"))

    trace = request.features.trace
    assert trace is not None
    assert (trace.trace_id, trace.parent_id) == (TRACE, int(SPAN, 16))
    assert (trace.sampled, trace.state) == (sampled, "a=1,b=2")
    assert request.features.trace_id == (TRACE if sampled else None)
    assert sent(request)["traceparent"] == [f"00-{TRACE}-{trace.span_id + 1:016x}-0{sampled:d}"]
    assert sent(request)["tracestate"] == ["a=1", "b=2"]


def test_each_attempt_names_a_span_of_its_own() -> None:
    request = incoming((b"x-before", b"1"), (b"x-traceparent", PARENT), (b"traceparent", PARENT))

    first, second = sent(request), sent(request, attempt=2)

    trace = request.features.trace
    assert trace is not None
    assert first["x-traceparent"] == [PARENT.decode()]
    assert second["traceparent"] == [f"00-{trace.trace_id}-{trace.span_id + 2:016x}-01"]
    assert {**first, "traceparent": []} == {**second, "traceparent": []}


def test_the_ratio_is_of_traces_that_begin_here() -> None:
    tracer = Tracer(random.Random(7), 0.25)

    traces = [incoming(tracer=tracer).features.trace for _ in range(2000)]
    followed = [incoming((b"traceparent", PARENT), tracer=tracer).features.trace for _ in range(20)]

    assert 400 < sum(trace.sampled for trace in traces if trace) < 600
    assert all(trace.sampled for trace in followed if trace)
    assert len({trace.trace_id for trace in traces if trace}) == 2000


def test_without_tracing_the_callers_headers_pass_untouched() -> None:
    lines = [(b"traceparent", b"anything"), (b"tracestate", b"a=1")]
    head = RequestHead(method=b"POST", target=b"/", path="/", lines=lines, named=dict(lines))

    request = read_request(head, b"{}", request_id="r", arrived_s=0.0, include_usage=True)

    assert request.features.trace is None
    assert sent(request, 2) == {
        "traceparent": ["anything"],
        "tracestate": ["a=1"],
        "x-request-id": ["r"],
    }
