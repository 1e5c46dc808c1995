"""Streams read by read: what is one chunk passes as it is, and nobody sees a difference."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from proxy.connection import Connection
from tests.fakes import (
    DONE,
    HOLD,
    LAST_CHUNK,
    STREAM_HEAD,
    FakeEndpoint,
    chunk,
    event,
    token_event,
    usage_event,
)
from tests.proxy.harness import RunningProxy, running_proxy, until
from tests.proxy.raw import STREAMED, raw_chat

pytestmark = pytest.mark.anyio

READS = [
    event(" b"),
    event(' "quoted"'),
    event("é"),
    event("d")[:20],
    event("d")[20:],
    event("e") + event("f"),
    chunk(token_event("g") + token_event("h")),
    chunk(b": comment\n\n"),
    event("i")[:-1],
    event("i")[-1:] + event("j"),
    event("k"),
    usage_event(7, 2, 4),
    event("l") + DONE,
    LAST_CHUNK,
]
TOKENS = [" b", ' "quoted"', "é", *"defgh"], [*"ijkl"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Streaming:
    """Hold a stream whose first token has been shown, and both its ends."""

    proxy: RunningProxy
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    way: Connection


@asynccontextmanager
async def streaming(request: bytes) -> AsyncIterator[Streaming]:
    async with (
        FakeEndpoint([STREAM_HEAD, event("a"), HOLD]) as endpoint,
        running_proxy(endpoint) as proxy,
    ):
        reader, writer = await proxy.connect()
        writer.write(request)
        await until(lambda: any(live.exchange.shown for live in proxy.relay.live.values()))
        (live,) = proxy.relay.live.values()
        assert isinstance(live.way, Connection)
        yield Streaming(proxy=proxy, reader=reader, writer=writer, way=live.way)
        writer.close()


@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_whatever_a_read_holds_the_client_gets_the_stream(
    version: bytes, usage: bool
) -> None:
    body = {**STREAMED, "stream_options": {"include_usage": True}} if usage else STREAMED
    request = raw_chat(body, b"connection: close").replace(b"HTTP/1.1", b"HTTP/" + version)
    async with streaming(request) as stream:
        for read in READS:
            stream.way.data_received(read)
        got = await stream.reader.read()
        record = stream.proxy.records[0]

    before, after = (b"".join(map(token_event, texts)) for texts in TOKENS)
    told = b"".join(data_of(usage_event(7, 2, 4))) if usage else b""
    last = token_event("l") + b"data: [DONE]\n\n"
    expected = token_event("a") + before + b": comment\n\n" + after[: -len(token_event("l"))]
    assert body_of(got) == expected + told + last
    assert record.measurement.outcome == "completed"
    assert (record.measurement.token_events, record.measurement.output_tokens) == (13, 2)


async def test_a_client_that_leaves_between_chunks_is_let_go_once() -> None:
    async with streaming(raw_chat(STREAMED)) as stream:
        stream.way.data_received(event("b"))
        await stream.reader.readuntil(token_event("b"))
        stream.writer.close()
        await until(lambda: bool(stream.proxy.records))
        stream.way.data_received(event("c"))

        (record,) = stream.proxy.records

    assert record.measurement.outcome == "client_gone"
    assert record.measurement.token_events == 2


async def test_a_client_that_does_not_read_stops_the_endpoint_chunk_by_chunk_too() -> None:
    text = "x" * 40
    async with streaming(raw_chat(STREAMED)) as stream:
        sent = 0
        while not stream.way.paused:
            for _ in range(100):
                stream.way.data_received(event(text))
            sent += 100
            await asyncio.sleep(0)
        got = b""
        while got.count(text.encode()) < sent:
            got += await stream.reader.read(1 << 20)
        await until(lambda: not stream.way.paused)

        assert sent * len(text) > 10_000


def data_of(framed: bytes) -> list[bytes]:
    """Take chunks out of their framing."""
    found, rest = [], framed
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        found.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return found


def body_of(got: bytes) -> bytes:
    """Give the body of a response, whole in chunks or to the end of the connection."""
    head, _, body = got.partition(b"\r\n\r\n")
    return b"".join(data_of(body)) if b"transfer-encoding: chunked" in head else body
