"""The data path when endpoints fail, clients leave, requests wait, or the server stops."""

import asyncio

import httpx
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
    event,
    json_response,
    response,
    token_event,
)
from tests.proxy.harness import CHAT, running_proxy, state_of, until
from tests.proxy.raw import BODY, STREAM, STREAMED, raw_chat, raw_exchange

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


async def test_a_client_that_goes_in_mid_upload_is_forgotten() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        _, writer = await proxy.connect()
        writer.write(raw_chat(BODY)[:-5])
        writer.close()
        await writer.wait_closed()

        assert (await proxy.client.post(CHAT, json=BODY)).status_code == 200
        assert len(endpoint.seen) == 1


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


async def test_a_refused_request_comes_back_after_a_wait_for_another_endpoint() -> None:
    scheduling = SchedulerSettings(failure_backoff_s=60)
    async with (
        FakeEndpoint([CLOSE]) as endpoint,
        FakeEndpoint() as later,
        running_proxy(endpoint, scheduling=scheduling) as proxy,
    ):
        call = asyncio.ensure_future(proxy.client.post(CHAT, json=BODY))
        await until(lambda: proxy.scheduler.waiting_requests == 1)

        proxy.scheduler.update([state_of(endpoint), state_of(later)])
        proxy.relay.tick()

        assert (await call).headers["x-foretoken-endpoint"] == later.name
        assert proxy.records[0].attempts == 2


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


async def test_a_waiting_request_goes_when_an_endpoint_comes() -> None:
    async with (
        FakeEndpoint() as endpoint,
        running_proxy(endpoint, states=[state_of(endpoint, up=False)]) as proxy,
    ):
        call = asyncio.ensure_future(proxy.client.post(CHAT, json=BODY))
        await until(lambda: proxy.scheduler.waiting_requests == 1)

        proxy.scheduler.update([state_of(endpoint)])
        proxy.relay.tick()

        assert (await call).status_code == 200


async def test_a_request_that_waits_too_long_is_given_up() -> None:
    scheduling = SchedulerSettings(max_wait_s=0)
    async with FakeEndpoint() as endpoint:
        states = [state_of(endpoint, up=False)]
        async with running_proxy(endpoint, states=states, scheduling=scheduling) as proxy:
            got = await proxy.client.post(CHAT, json=BODY)

            assert got.status_code == 503
            assert got.headers["x-llm-d-request-dropped-reason"] == "rejected-ttl-expired"
            assert "retry-after" in got.headers


async def test_a_sheddable_request_that_no_endpoint_can_serve_in_time_gets_429() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(
            CHAT, json=BODY, headers={"x-slo-tier": "batch", "x-slo-ttft-ms": "0.001"}
        )

        assert got.status_code == 429
        assert got.headers["x-llm-d-request-dropped-reason"] == "rejected-saturated"
        assert got.json()["error"]["type"] == "rate_limit_error"
        assert endpoint.seen == []


async def test_a_tenant_that_fills_its_share_of_the_queue_is_told_so() -> None:
    scheduling = SchedulerSettings(max_waiting_requests=2)
    named = {"x-llm-d-inference-fairness-id": "greedy", "x-llm-d-inference-objective": "batch"}
    async with FakeEndpoint() as endpoint:
        states = [state_of(endpoint, up=False)]
        async with running_proxy(endpoint, states=states, scheduling=scheduling) as proxy:
            first = asyncio.ensure_future(proxy.client.post(CHAT, json=BODY, headers=named))
            await until(lambda: proxy.scheduler.waiting_requests == 1)

            got = await proxy.client.post(CHAT, json=BODY, headers=named)

            assert got.status_code == 429
            assert got.json()["error"]["code"] == "tenant_queue_full"
            assert got.headers["x-llm-d-request-dropped-reason"] == "rejected-saturated"
            assert int(got.headers["retry-after"]) >= 1
            assert proxy.records[0].refused == "tenant_queue_full"
            assert proxy.records[0].request.tier == "batch"
            first.cancel()
            await until(lambda: proxy.scheduler.waiting_requests == 0)


async def test_an_unknown_objective_name_is_refused_with_the_known_tiers() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(
            CHAT, json=BODY, headers={"x-llm-d-inference-objective": "gold"}
        )

        assert got.status_code == 400
        assert "interactive" in got.json()["error"]["message"]


async def test_a_request_held_back_from_a_full_endpoint_goes_when_another_has_ended() -> None:
    async with FakeEndpoint([HOLD]) as endpoint:
        states = [state_of(endpoint, max_seqs=1)]
        async with running_proxy(endpoint, states=states) as proxy:
            first = asyncio.ensure_future(proxy.client.post(CHAT, json=BODY))
            await until(lambda: proxy.scheduler.inflight_requests == 1)
            second = asyncio.ensure_future(proxy.client.post(CHAT, json=BODY))
            await until(lambda: proxy.scheduler.waiting_requests == 1)

            first.cancel()

            assert (await second).status_code == 200
            assert proxy.records[-1].waited_for == "endpoints_full"
            assert proxy.records[-1].queued_s > 0


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
