"""The exchange by itself: what it shows of a response cut anywhere, without a socket."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from predictor.types import EndpointState
from proxy.errors import UpstreamBroken
from proxy.exchange import Exchange, Output
from proxy.http_request import RequestHead
from proxy.http_response import ResponseParser
from proxy.incoming import read_request
from scheduler import Dispatch, Scheduler
from tests.fakes import LAST_CHUNK, chunk, token_event
from tests.scheduler.known_physics import MODEL, KnownPhysics, make_scheduler

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def scheduler_of(endpoints: int) -> Scheduler:
    states = [
        EndpointState(endpoint=f"e{n}:1", url=f"http://e{n}:1", model=MODEL, up=True, scraped_s=0.0)
        for n in range(endpoints)
    ]
    return make_scheduler(KnownPhysics({f"e{n}:1": 1e-3 for n in range(endpoints)}), states)


def exchange_of(scheduler: Scheduler) -> Exchange:
    """Begin an exchange for a streamed chat that has been routed."""
    body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    head = RequestHead(
        method=b"POST",
        target=b"/v1/chat/completions",
        path="/v1/chat/completions",
        lines=[],
        named={},
    )
    incoming = read_request(head, body, request_id="r", arrived_s=0.0, include_usage=True)
    exchange = Exchange(incoming, scheduler=scheduler, clock=lambda: 1.0)
    assert isinstance(exchange.take(scheduler.route(incoming.features, 0.0)), Dispatch)
    return exchange


def play(exchange: Exchange, wire: bytes, cuts: list[int]) -> tuple[bytes, str | None]:
    """Feed a response in pieces; give what the client sees and how it ends."""
    parser = ResponseParser("http://e", max_head_bytes=65_536)
    edges = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
    shown, end = b"", None
    for start, stop in itertools.pairwise(edges):
        data = parser.feed(wire[start:stop])
        if parser.head is None or end is not None:
            continue
        step = exchange.received(parser.head, data, b"" if parser.complete else None)
        if isinstance(step, Output):
            shown, end = shown + step.data, step.end
        elif isinstance(step, bytes):
            shown += step
    return shown, end


@given(
    texts=st.lists(st.text(max_size=12), min_size=1, max_size=6),
    joined=st.booleans(),
    cuts=st.lists(st.integers(0, 1200), max_size=15),
)
def test_a_stream_is_shown_the_same_wherever_it_is_cut(
    texts: list[str], joined: bool, cuts: list[int]
) -> None:
    events = [*map(token_event, texts), USAGE, DONE]
    chunks = [b"".join(events)] if joined else events
    scheduler = scheduler_of(1)
    exchange = exchange_of(scheduler)

    shown, end = play(exchange, HEAD + b"".join(map(chunk, chunks)) + LAST_CHUNK, cuts)

    assert shown == b"".join(map(token_event, texts)) + DONE
    assert end == "whole"
    record = exchange.finish()
    assert record.measurement.outcome == "completed"
    assert (record.measurement.prompt_tokens, record.measurement.output_tokens) == (7, 2)
    assert record.measurement.token_events == len(texts)
    assert scheduler.inflight_requests == 0


@given(cut=st.integers(1, 300))
def test_a_stream_that_breaks_says_so_and_never_that_it_is_done(cut: int) -> None:
    events = token_event("a") * 5
    scheduler = scheduler_of(1)
    exchange = exchange_of(scheduler)
    play(exchange, HEAD + chunk(events)[: 5 + cut], [])

    step = exchange.failed(UpstreamBroken("http://e", "gone"))

    assert isinstance(step, Output)
    assert step.end == "cut"
    assert step.data.startswith(b"\n\ndata: {")
    assert b"[DONE]" not in step.data
    assert exchange.finish().measurement.outcome == "cut"
    assert scheduler.inflight_requests == 0


def test_before_the_first_byte_a_failure_goes_to_another_endpoint() -> None:
    scheduler = scheduler_of(2)
    exchange = exchange_of(scheduler)

    step = exchange.failed(UpstreamBroken("http://e", "gone"))

    assert isinstance(step, Dispatch)
    assert step.attempt == 2
    assert exchange.failure is not None
    assert exchange.failure.dispatch.attempt == 1
    assert scheduler.inflight_requests == 1
