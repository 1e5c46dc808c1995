"""Responses that break, and a server that stops, in the middle."""

import httpx
import pytest

from tests.fakes import (
    CLOSE,
    DONE,
    HOLD,
    LAST_CHUNK,
    RESET,
    STREAM_HEAD,
    FakeEndpoint,
    chunk,
    event,
    token_event,
)
from tests.proxy.harness import CHAT, running_proxy
from tests.proxy.raw import BODY, STREAMED, raw_chat, raw_exchange

pytestmark = pytest.mark.anyio

ENGINE_DEAD = chunk(b'data: {"error": {"message": "engine died", "code": 500}}\n\n')


async def test_a_stream_cut_in_the_middle_ends_with_an_error_event_and_a_broken_connection() -> (
    None
):
    script = [STREAM_HEAD, event("a"), RESET]
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        got = await raw_exchange(proxy, raw_chat(STREAMED))

        assert token_event("a") in got
        assert b'data: {"error":' in got
        assert b"[DONE]" not in got
        assert not got.endswith(LAST_CHUNK)
        assert len(endpoint.seen) == 1
        assert proxy.records[0].measurement.outcome == "cut"


async def test_a_whole_response_cut_in_the_middle_is_a_broken_connection() -> None:
    script = [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel", CLOSE]
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        with pytest.raises(httpx.RemoteProtocolError):
            await proxy.client.post(CHAT, json=BODY)

        assert proxy.records[0].measurement.outcome == "cut"


async def test_an_error_inside_a_stream_counts_as_cut() -> None:
    script = [STREAM_HEAD, event("a"), ENGINE_DEAD, DONE, LAST_CHUNK]
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(CHAT, json=STREAMED)

        assert b"engine died" in got.content
        assert proxy.records[0].measurement.outcome == "cut"


async def test_a_server_that_stops_in_mid_stream_ends_the_request_once_and_upstream() -> None:
    async with FakeEndpoint([STREAM_HEAD, event("a"), HOLD]) as endpoint:
        async with running_proxy(endpoint) as proxy:
            reader, writer = await proxy.connect()
            writer.write(raw_chat(STREAMED))
            await reader.readuntil(b'"a"')

        await endpoint.aborted.wait()
        rest = await reader.read()
        writer.close()
        assert [record.measurement.outcome for record in proxy.records] == ["shutdown"]
        assert b'"code":"shutting_down"' in rest
        assert b"[DONE]" not in rest
        assert proxy.scheduler.inflight_requests == 0


async def test_a_server_that_stops_tells_those_it_has_not_begun_to_answer() -> None:
    async with FakeEndpoint([HOLD]) as endpoint:
        async with running_proxy(endpoint) as proxy:
            reader, writer = await proxy.connect()
            writer.write(raw_chat(BODY))
            await endpoint.arrived.wait()

        head = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        assert head.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in head
        assert [record.measurement.outcome for record in proxy.records] == ["shutdown"]
