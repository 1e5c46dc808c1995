"""The picker's desk and its streams, without a connection."""

import asyncio
from typing import Any

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest

from predictor.kv_cache import BlocksStored
from predictor.types import RequestRecord
from proxy.picker.call import Call
from tests.proxy.picker.told import CHAT, EVENT, FAST, Table, chat
from tests.scheduler.known_physics import endpoint

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Line:
    """Keep what calls answer."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.finished: list[bytes] = []

    def send(self, call: Call, message: bytes) -> None:
        del call
        self.sent.append(message)

    def finish(self, call: Call, block: bytes) -> None:
        del call
        self.finished.append(block)


class SlowTokens:
    """Give the tokens of a prompt when told to; count who asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.go = asyncio.Event()

    async def of(self, path: str, payload: bytes) -> bytes:
        del path, payload
        self.asked += 1
        await self.go.wait()
        return b"\x01\0\0\0" * 9


def _watching(**part: Any) -> bytes:
    """Tell something as Envoy does that waits for no answer."""
    return ProcessingRequest(observability_mode=True, **part).SerializeToString()


def _headers(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"headers": {"headers": [{"key": k, "raw_value": v.encode()} for k, v in pairs]}}


_PLACED = _headers((":method", "POST"), (":path", CHAT))


async def test_a_request_is_placed_once_however_much_comes_while_it_is_tokenized() -> None:
    tokens = SlowTokens()
    table = Table([endpoint(FAST, block_size=16)], tokens=tokens)
    table.scheduler.caches.begin(FAST, whole=True)
    stored = BlocksStored(hashes=[1], parent=None, tokens=b"\x01\0\0\0" * 16, block_tokens=16)
    table.scheduler.caches.hear(FAST, [stored])
    stream = table.picker.accept(Call(Line(), 1, 65_535))
    answered = (":status", "200"), ("content-type", "text/event-stream")

    stream.message(_watching(request_headers=_PLACED))
    stream.message(_watching(request_body={"body": chat(stream=True), "end_of_stream": True}))
    stream.message(_watching(response_headers=_headers(*answered)))
    stream.message(_watching(response_body={"body": EVENT}))
    await asyncio.sleep(0)
    tokens.go.set()
    for _ in range(5):
        await asyncio.sleep(0)
    booked, live = table.scheduler.inflight_requests, table.picker.live_requests
    stream.tokenized(b"")  # a second answer, whoever gives it
    stream.half_closed()

    assert tokens.asked == 1
    assert (booked, live) == (1, 1)
    assert table.scheduler.inflight_requests == 0
    assert table.picker.live_requests == 0
    assert len(table.records) == 1


async def test_a_sink_that_fails_ends_neither_the_call_nor_what_others_have(
    caplog: pytest.LogCaptureFixture,
) -> None:
    line, table = Line(), Table(sinks=[_failing])
    one, two = (table.picker.accept(Call(line, number, 65_535)) for number in (1, 3))
    for stream in (one, two):
        stream.message(ProcessingRequest(request_headers=_PLACED).SerializeToString())
    placed = table.scheduler.inflight_requests

    one.half_closed()
    one.ended()  # as the call says then
    two.ended()

    assert placed == 2
    assert len(line.finished) == 1
    assert table.scheduler.inflight_requests == 0
    assert table.picker.live_requests == 0
    assert [record.message for record in caplog.records] == ["sink_failed"] * 2


def _failing(record: RequestRecord) -> None:
    raise RuntimeError(record.request.request_id)
