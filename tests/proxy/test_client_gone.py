"""Clients that leave: the endpoint hears of it at once, the booking ends once."""

import asyncio

import pytest

from scheduler import SchedulerSettings
from tests.fakes import (
    CLOSE,
    HOLD,
    RESET,
    STREAM_HEAD,
    FakeEndpoint,
    Step,
    event,
    response,
)
from tests.proxy.harness import CHAT, running_proxy, state_of, until
from tests.proxy.raw import BODY, STREAM, STREAMED, raw_chat

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("body", "script"),
    [
        pytest.param(BODY, [HOLD], id="not streamed"),
        pytest.param(STREAMED, [HOLD], id="prefill, before the head"),
        pytest.param(STREAMED, [STREAM_HEAD, HOLD], id="prefill, after the head"),
    ],
)
async def test_a_client_that_goes_before_any_byte_ends_the_request_upstream(
    body: dict[str, object], script: list[Step]
) -> None:
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        _, writer = await proxy.connect()
        writer.write(raw_chat(body))
        await endpoint.arrived.wait()

        writer.close()

        await endpoint.aborted.wait()
        await proxy.ended.wait()
        assert [record.measurement.outcome for record in proxy.records] == ["client_gone"]
        assert proxy.scheduler.inflight_requests == 0
        assert proxy.relay.live_requests == 0


async def test_a_client_that_goes_in_mid_stream_ends_the_request_upstream() -> None:
    async with (
        FakeEndpoint([STREAM_HEAD, event("a"), HOLD]) as endpoint,
        running_proxy(endpoint) as proxy,
    ):
        async with proxy.client.stream("POST", CHAT, json=STREAMED) as got:
            await anext(got.aiter_raw())

        await endpoint.aborted.wait()
        await proxy.ended.wait()
        assert proxy.records[0].measurement.outcome == "client_gone"
        assert proxy.records[0].measurement.output_tokens == 1
        assert proxy.scheduler.inflight_requests == 0


async def test_a_client_that_goes_while_it_waits_leaves_the_queue() -> None:
    async with (
        FakeEndpoint() as endpoint,
        running_proxy(endpoint, states=[state_of(endpoint, up=False)]) as proxy,
    ):
        _, writer = await proxy.connect()
        writer.write(raw_chat(BODY))
        await until(lambda: proxy.scheduler.waiting_requests == 1)

        writer.close()

        await proxy.ended.wait()
        assert proxy.scheduler.waiting_requests == 0
        assert proxy.records[0].measurement.outcome == "client_gone"
        assert endpoint.seen == []


async def test_a_client_that_goes_in_mid_upload_is_forgotten() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        _, writer = await proxy.connect()
        writer.write(raw_chat(BODY)[:-5])
        writer.close()
        await writer.wait_closed()

        assert (await proxy.client.post(CHAT, json=BODY)).status_code == 200
        assert len(endpoint.seen) == 1


async def test_many_requests_at_once_leave_nothing_behind() -> None:
    async with FakeEndpoint() as one, FakeEndpoint() as two, running_proxy(one, two) as proxy:
        answers = await asyncio.gather(*(proxy.client.post(CHAT, json=BODY) for _ in range(50)))

        assert {answer.status_code for answer in answers} == {200}
        assert len(proxy.records) == 50
        assert proxy.scheduler.inflight_requests == 0
        assert proxy.relay.live_requests == 0


async def test_whatever_becomes_of_requests_each_ends_once_and_books_nothing() -> None:
    scripts: list[list[Step]] = [
        [HOLD],
        [STREAM_HEAD, event("a"), HOLD],
        [STREAM_HEAD, event("a"), RESET],
        [response(b"", status=b"503 Service Unavailable")],
        [CLOSE],
        STREAM,
    ]
    async with (
        FakeEndpoint(*scripts * 3, default=STREAM) as one,
        FakeEndpoint(*scripts * 3, default=STREAM) as two,
        running_proxy(one, two, scheduling=SchedulerSettings(failure_backoff_s=0.001)) as proxy,
    ):
        writers = []
        for number in range(30):
            _, writer = await proxy.connect()
            writer.write(raw_chat(STREAMED, b"x-request-id: r%d" % number))
            writers.append(writer)
        await until(lambda: proxy.relay.live_requests > 0)
        await until(lambda: proxy.relay.live_requests + len(proxy.records) == 30)

        for writer in writers:
            writer.close()
        await until(lambda: len(proxy.records) == 30)

        ids = sorted(record.request.request_id for record in proxy.records)
        assert ids == sorted(f"r{number}" for number in range(30))
        assert proxy.relay.live_requests == 0
        assert proxy.scheduler.inflight_requests == 0
        assert proxy.scheduler.waiting_requests == 0
