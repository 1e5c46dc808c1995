"""The exchange by itself: what it shows of a response cut anywhere, without a socket."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.types import EndpointState, Predictions
from predictor.values import replace
from proxy.chunks import chunk_start
from proxy.errors import UpstreamBroken
from proxy.exchange import Exchange, Output
from proxy.http_request import RequestHead
from proxy.http_response import ResponseHead, ResponseParser
from proxy.incoming import read_request
from proxy.picker.processing import decision_headers
from scheduler import Dispatch, Scheduler
from tests.fakes import LAST_CHUNK, chunk, token_event
from tests.scheduler.known_physics import MODEL, KnownPhysics, endpoint, make_scheduler

USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def scheduler_of(endpoints: int) -> Scheduler:
    states = [
        EndpointState(endpoint=f"e{n}:1", url=f"http://e{n}:1", model=MODEL, up=True, scraped_s=0.0)
        for n in range(endpoints)
    ]
    return make_scheduler(KnownPhysics({f"e{n}:1": 1e-3 for n in range(endpoints)}), states)


class Numberless(KnownPhysics):
    """Predictions that are no times."""

    def __init__(self, said: float) -> None:
        super().__init__()
        self.said = said

    def predict(self, *args: object) -> Predictions:
        one = np.array([self.said])
        names = ("ttft_s", "tpot_s", "rank_ttft_s", "rank_tpot_s", "prefill_s")
        return replace(super().predict(*args), **dict.fromkeys(names, one))  # type: ignore[arg-type]  # passed on


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


def play(
    exchange: Exchange, wire: bytes, cuts: list[int], *, passing: bool = False
) -> tuple[bytes, str | None]:
    """Feed a response in pieces; give what the client sees and how it ends."""
    parser = ResponseParser("http://e", max_head_bytes=65_536)
    edges = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
    shown, end = b"", None
    for start, stop in itertools.pairwise(edges):
        read = wire[start:stop]
        data_start = chunk_start(read) if passing and parser.between_chunks else 0
        if data_start and exchange.take_tokens(read, data_start):
            shown += read[data_start:-2]
            continue
        data = parser.feed(read)
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
    by_chunk=st.booleans(),
)
def test_a_stream_is_shown_the_same_wherever_it_is_cut(
    texts: list[str], joined: bool, cuts: list[int], by_chunk: bool
) -> None:
    events = [*map(token_event, texts), USAGE, DONE]
    chunks = [b"".join(events)] if joined else events
    scheduler = scheduler_of(1)
    exchange = exchange_of(scheduler)

    if by_chunk:  # as streams come: a read for each
        sizes = [len(HEAD), *(len(chunk(each)) for each in chunks)]
        cuts = [*cuts, *itertools.accumulate(sizes)]

    wire = HEAD + b"".join(map(chunk, chunks)) + LAST_CHUNK
    shown, end = play(exchange, wire, cuts, passing=True)

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


@pytest.mark.parametrize("said", [math.nan, math.inf, -math.inf, -0.0005, 1e305])
def test_predictions_that_are_no_times_fail_no_request(said: float) -> None:
    scheduler = make_scheduler(Numberless(said), [endpoint("e0:1")])
    exchange = exchange_of(scheduler)

    step = exchange.received(ResponseHead(status=200, headers=[]), b"{}", b"")

    assert isinstance(step, Output)
    assert step.head is not None
    assert b"x-foretoken-endpoint: e0:1" in step.head.lines
    assert b"x-foretoken-predicted" not in step.head.lines
    assert exchange.decision is not None
    picked = decision_headers(exchange.decision, "r", arrived_s=0.0)
    assert [name for name, _ in picked if b"predicted" in name] == []
    assert (step.data, step.end) == (b"{}", "whole")
    assert exchange.finish().measurement.outcome == "completed"
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
