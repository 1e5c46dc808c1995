"""Comments while a prefill is long: when they come, and what they commit the response to."""

import asyncio
import json

import pytest

from proxy import ProxySettings
from scheduler import SchedulerSettings
from tests.fakes import HOLD, LAST_CHUNK, RESET, FakeEndpoint, Step, json_response, token_event
from tests.proxy.harness import CHAT, RunningProxy, running_proxy, state_of, until
from tests.proxy.raw import BODY, STREAM, STREAMED, raw_chat

pytestmark = pytest.mark.anyio

COMMENT = b": keepalive\n\n"
SETTINGS = ProxySettings(sse_keepalive_s=5)


async def ask(
    proxy: RunningProxy, body: object
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await proxy.connect()
    writer.write(raw_chat(body))
    return reader, writer


def tick(proxy: RunningProxy, after_s: float) -> None:
    """Let the proxy think that so much time has passed for its live requests."""
    for delivery in proxy.relay.live.values():
        delivery.tick(proxy.relay.now() + after_s)


async def test_a_waiting_stream_gets_comments_and_then_its_tokens() -> None:
    go = asyncio.Event()
    async with (
        FakeEndpoint([go, *STREAM]) as endpoint,
        running_proxy(endpoint, settings=SETTINGS) as proxy,
    ):
        reader, writer = await ask(proxy, STREAMED)
        await endpoint.arrived.wait()

        tick(proxy, 4)
        tick(proxy, 6)
        tick(proxy, 12)
        head = await reader.readuntil(b"\r\n\r\n")
        got = await reader.readuntil(COMMENT + b"\r\n")
        got += await reader.readuntil(COMMENT + b"\r\n")
        go.set()
        rest = await reader.readuntil(LAST_CHUNK)

        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"content-type: text/event-stream" in head
        assert b"x-accel-buffering: no" in head
        assert got.count(COMMENT) == 2
        assert token_event("a") in rest
        assert b"data: [DONE]" in rest
        assert proxy.records[0].measurement.outcome == "completed"
        tick(proxy, 100)
        writer.close()


async def test_without_the_setting_or_a_stream_nothing_is_sent() -> None:
    async with FakeEndpoint([HOLD], [HOLD]) as endpoint, running_proxy(endpoint) as proxy:
        _, writer = await ask(proxy, STREAMED)
        _, other = await ask(proxy, BODY)
        await until(lambda: proxy.relay.live_requests == 2)

        tick(proxy, 1000)

        assert proxy.acceptor.unsent_bytes == 0
        assert len(proxy.relay.live) == 2
        writer.close()
        other.close()


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param([RESET], id="reset"),
        pytest.param([json_response({}, status=b"503 Service Unavailable")], id="503"),
    ],
)
async def test_a_failure_after_comments_alone_goes_elsewhere(failure: list[Step]) -> None:
    go = asyncio.Event()
    async with (
        FakeEndpoint([go, *failure]) as best,
        FakeEndpoint(STREAM) as other,
        running_proxy(best, other, settings=SETTINGS) as proxy,
    ):
        reader, writer = await ask(proxy, STREAMED)
        await best.arrived.wait()
        tick(proxy, 6)
        go.set()

        got = await reader.readuntil(LAST_CHUNK)

        assert COMMENT in got
        assert b"data: [DONE]" in got
        assert proxy.records[0].attempts == 2
        writer.close()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        pytest.param([RESET], b'"code":"retries_exhausted"', id="all fail"),
        pytest.param(
            [json_response({"error": {"message": "too long"}}, status=b"400 Bad Request")],
            b'data: {"error": {"message": "too long"}}',
            id="the endpoint refuses",
        ),
    ],
)
async def test_a_failure_for_good_is_an_event_of_a_broken_stream(
    script: list[Step], told: bytes
) -> None:
    go = asyncio.Event()
    scheduling = SchedulerSettings(max_attempts=1)
    async with (
        FakeEndpoint([go, *script]) as endpoint,
        running_proxy(endpoint, settings=SETTINGS, scheduling=scheduling) as proxy,
    ):
        reader, writer = await ask(proxy, STREAMED)
        await endpoint.arrived.wait()
        tick(proxy, 6)
        go.set()

        got = await reader.read()

        assert told in got
        assert b"[DONE]" not in got
        assert not got.endswith(LAST_CHUNK)
        writer.close()


async def test_a_stream_that_waits_for_an_endpoint_gets_comments_too() -> None:
    async with FakeEndpoint(STREAM) as endpoint:
        states = [state_of(endpoint, up=False)]
        async with running_proxy(endpoint, states=states, settings=SETTINGS) as proxy:
            reader, writer = await ask(proxy, STREAMED)
            await until(lambda: proxy.scheduler.waiting_requests == 1)
            tick(proxy, 6)
            await reader.readuntil(COMMENT)

            proxy.scheduler.update([state_of(endpoint)])
            proxy.relay.tick()

            assert b"data: [DONE]" in await reader.readuntil(LAST_CHUNK)
            writer.close()


@pytest.mark.parametrize("good", [True, False])
async def test_comments_are_of_each_client_alone_though_they_share_an_answer(good: bool) -> None:
    go = asyncio.Event()
    refused = json_response({"error": {"message": "no"}}, status=b"400 Bad Request")
    script: list[Step] = [go, *STREAM] if good else [go, refused]
    async with (
        FakeEndpoint(script, default=STREAM) as endpoint,
        running_proxy(endpoint, settings=SETTINGS) as proxy,
    ):
        on = b"x-foretoken-cache: on"
        _, to_leader = await proxy.connect()
        to_leader.write(raw_chat(STREAMED, on))
        await endpoint.arrived.wait()
        tick(proxy, 6)
        following, to_follower = await proxy.connect()
        to_follower.write(raw_chat(STREAMED, on))
        await until(lambda: proxy.guard.cache.counts.coalesced == 1)
        for client in list(proxy.acceptor._connections):
            if client._serving is not None:
                client._serving.tick(proxy.relay.now() + 12)
        go.set()
        followed = await following.readuntil(LAST_CHUNK)
        third = await proxy.client.post(
            CHAT, content=json.dumps(STREAMED), headers={"x-foretoken-cache": "on"}
        )

        assert followed.count(COMMENT) == 1
        assert token_event("a") in followed
        assert b"data: [DONE]" in followed
        assert COMMENT not in third.content
        assert third.headers["x-foretoken-cache"] == ("hit" if good else "miss")
        assert proxy.scheduler.inflight_requests == 0
        for writer in (to_leader, to_follower):
            writer.close()
