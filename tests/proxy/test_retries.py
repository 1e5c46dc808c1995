"""Failures before the first byte go elsewhere, all else is the client's."""

import asyncio

import pytest

from scheduler import SchedulerSettings
from tests.fakes import (
    CLOSE,
    DONE,
    HOLD,
    LAST_CHUNK,
    RESET,
    STREAM_HEAD,
    FakeEndpoint,
    Step,
    chunk,
    json_response,
    response,
)
from tests.proxy.harness import CHAT, running_proxy
from tests.proxy.raw import BODY, STREAM, STREAMED

pytestmark = pytest.mark.anyio

ENGINE_DEAD = chunk(b'data: {"error": {"message": "engine died", "code": 500}}\n\n')


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param([response(b"", status=b"503 Service Unavailable")], id="503"),
        pytest.param([response(b"", status=b"502 Bad Gateway")], id="502"),
        pytest.param([RESET], id="reset"),
        pytest.param([CLOSE], id="closed"),
        pytest.param([b"junk\r\n\r\n"], id="not HTTP"),
        pytest.param(
            [STREAM_HEAD, ENGINE_DEAD, DONE, LAST_CHUNK], id="an error in place of tokens"
        ),
        pytest.param([STREAM_HEAD, RESET], id="reset after the head, before the body"),
    ],
)
async def test_a_failure_before_the_first_byte_goes_to_the_next_best(failure: list[Step]) -> None:
    async with (
        FakeEndpoint(failure) as best,
        FakeEndpoint(STREAM) as next_best,
        running_proxy(best, next_best) as proxy,
    ):
        got = await proxy.client.post(CHAT, json=STREAMED)

        assert got.status_code == 200
        assert got.headers["x-foretoken-endpoint"] == next_best.name
        assert best.seen[0].body == next_best.seen[0].body
        assert proxy.records[0].attempts == 2
        assert proxy.records[0].measurement.outcome == "completed"


async def test_an_endpoint_that_is_not_there_costs_nobody_a_request() -> None:
    async with (
        FakeEndpoint() as best,
        FakeEndpoint() as next_best,
        running_proxy(best, next_best) as proxy,
    ):
        await best.stop()

        got = await proxy.client.post(CHAT, json=BODY)

        assert got.status_code == 200
        assert got.headers["x-foretoken-endpoint"] == next_best.name


@pytest.mark.parametrize(
    "status", [b"400 Bad Request", b"404 Not Found", b"429 Too Many", b"500 X"]
)
async def test_other_errors_of_an_endpoint_are_the_clients(status: bytes) -> None:
    async with (
        FakeEndpoint([json_response({}, status=status)]) as best,
        FakeEndpoint() as other,
        running_proxy(best, other) as proxy,
    ):
        got = await proxy.client.post(CHAT, json=BODY)

        assert got.status_code == int(status[:3])
        assert other.seen == []


async def test_when_every_endpoint_fails_the_client_is_told_when_to_come_back() -> None:
    failing = [response(b"", status=b"503 Service Unavailable")]
    scheduling = SchedulerSettings(max_attempts=2)
    async with (
        FakeEndpoint(default=failing) as one,
        FakeEndpoint(default=failing) as two,
        running_proxy(one, two, scheduling=scheduling) as proxy,
    ):
        got = await proxy.client.post(CHAT, json=BODY)

        assert got.status_code == 503
        assert got.json()["error"]["code"] == "retries_exhausted"
        assert int(got.headers["retry-after"]) >= 1
        assert got.headers["x-llm-d-request-dropped-reason"] == "rejected-no-endpoints"
        assert len(one.seen) + len(two.seen) == 2
        assert proxy.records[0].measurement.outcome == "shed"
        assert len(proxy.records) == 1


async def test_an_endpoint_that_took_the_request_and_is_silent_is_not_tried_elsewhere() -> None:
    async with (
        FakeEndpoint([HOLD]) as silent,
        FakeEndpoint() as other,
        running_proxy(silent, other) as proxy,
    ):
        call = asyncio.ensure_future(proxy.client.post(CHAT, json=BODY))
        await silent.arrived.wait()

        proxy.upstream.sweep(asyncio.get_running_loop().time() + 1801)

        assert (await call).status_code == 504
        assert other.seen == []
        assert proxy.records[0].measurement.outcome == "upstream_error"
        assert proxy.scheduler.inflight_requests == 0


async def test_an_endpoint_with_a_wrong_key_does_not_keep_the_traffic() -> None:
    refusal = json_response({"error": {"message": "no"}}, status=b"401 Unauthorized")
    async with (
        FakeEndpoint(default=[refusal]) as wrong,
        FakeEndpoint() as right,
        running_proxy(wrong, right) as proxy,
    ):
        only_right = {"x-gateway-destination-endpoint-subset": right.name}
        await proxy.client.post(CHAT, json=BODY, headers=only_right)

        answers = [(await proxy.client.post(CHAT, json=BODY)).status_code for _ in range(9)]

        assert answers == [401] * 5 + [200] * 4
