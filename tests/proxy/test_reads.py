"""Streams read by read: what is one chunk passes as it is, and nobody sees a difference."""

import asyncio

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


async def under_way(proxy: RunningProxy) -> Connection:
    await until(lambda: any(live.way is not None for live in proxy.relay.live.values()))
    (live,) = proxy.relay.live.values()
    await until(lambda: live.exchange.shown)
    assert isinstance(live.way, Connection)
    return live.way


@pytest.mark.parametrize("usage", [False, True])
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_whatever_a_read_holds_the_client_gets_the_stream(
    version: bytes, usage: bool
) -> None:
    body = {**STREAMED, "stream_options": {"include_usage": True}} if usage else STREAMED
    request = raw_chat(body, b"connection: close").replace(b"HTTP/1.1", b"HTTP/" + version)
    async with (
        FakeEndpoint([STREAM_HEAD, event("a"), HOLD]) as endpoint,
        running_proxy(endpoint) as proxy,
    ):
        reader, writer = await proxy.connect()
        writer.write(request)
        way = await under_way(proxy)
        for read in READS:
            way.data_received(read)
        got = await reader.read()
        writer.close()

        record = proxy.records[0]

    before, after = (b"".join(map(token_event, texts)) for texts in TOKENS)
    told = b"".join(data_of(usage_event(7, 2, 4))) if usage else b""
    last = token_event("l") + b"data: [DONE]\n\n"
    expected = token_event("a") + before + b": comment\n\n" + after[: -len(token_event("l"))]
    assert body_of(got) == expected + told + last
    assert record.measurement.outcome == "completed"
    assert (record.measurement.token_events, record.measurement.output_tokens) == (13, 2)


async def test_a_client_that_leaves_between_chunks_is_let_go_once() -> None:
    async with (
        FakeEndpoint([STREAM_HEAD, event("a"), HOLD]) as endpoint,
        running_proxy(endpoint) as proxy,
    ):
        reader, writer = await proxy.connect()
        writer.write(raw_chat(STREAMED))
        way = await under_way(proxy)
        way.data_received(event("b"))
        await reader.readuntil(token_event("b"))
        writer.close()
        await until(lambda: bool(proxy.records))
        way.data_received(event("c"))

        assert [record.measurement.outcome for record in proxy.records] == ["client_gone"]
        assert proxy.records[0].measurement.token_events == 2


async def test_a_client_that_does_not_read_stops_the_endpoint_chunk_by_chunk_too() -> None:
    async with (
        FakeEndpoint([STREAM_HEAD, event("a"), HOLD]) as endpoint,
        running_proxy(endpoint) as proxy,
    ):
        reader, writer = await proxy.connect()
        writer.write(raw_chat(STREAMED))
        way = await under_way(proxy)
        sent = 0
        while not way.paused:
            for _ in range(100):
                way.data_received(event("x" * 40))
            sent += 100
            await asyncio.sleep(0)
        got = b""
        while got.count(b"x" * 40) < sent:
            got += await reader.read(1 << 20)
        await until(lambda: not way.paused)
        writer.close()

        assert sent * 40 > 10_000


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
