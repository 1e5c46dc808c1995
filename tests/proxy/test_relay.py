"""The data path end to end: a client, the proxy, scripted endpoints, all on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from proxy import ProxySettings
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
    usage_event,
)
from tests.proxy.harness import CHAT, RunningProxy, running_proxy, state_of, until

pytestmark = pytest.mark.anyio

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAMED = {**BODY, "stream": True}
STREAM = [STREAM_HEAD, event("a"), event("b"), usage_event(7, 2, 4), DONE, LAST_CHUNK]
ENGINE_DEAD = chunk(b'data: {"error": {"message": "engine died", "code": 500}}\n\n')


async def raw_exchange(proxy: RunningProxy, request: bytes) -> bytes:
    """Send raw bytes and read until the proxy closes."""
    reader, writer = await proxy.connect()
    writer.write(request)
    got = await reader.read()
    writer.close()
    return got


def raw_chat(body: object, *lines: bytes) -> bytes:
    data = json.dumps(body).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + b"".join(
        line + b"\r\n" for line in lines
    )
    return head + b"content-length: %d\r\n\r\n" % len(data) + data


# Bytes and headers


async def test_body_bytes_and_unknown_headers_reach_the_endpoint_untouched() -> None:
    body = b'{ "model":"m","vllm_xargs" : {"a": [1.50, "\\u00e9"]},\n "priority":0 }'
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        await proxy.client.post(
            CHAT + "?a=b%20c&d",
            content=body,
            headers=[("x-two", "1"), ("authorization", "Bearer k"), ("x-two", "2")],
        )

        seen = endpoint.seen[0]
        assert seen.body == body
        assert seen.target == CHAT + "?a=b%20c&d"
        assert [value for name, value in seen.headers if name == "x-two"] == ["1", "2"]
        assert seen.header("authorization") == "Bearer k"
        assert seen.header("host") == endpoint.name
        assert seen.header("content-length") == str(len(body))


async def test_hop_by_hop_headers_end_at_the_proxy_both_ways() -> None:
    answer = response(b"{}", b"connection: x-hop", b"x-hop: 1", b"keep-alive: 5", b"x-kept: 1")
    async with FakeEndpoint([answer]) as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(
            CHAT,
            json=BODY,
            headers={"connection": "keep-alive, x-mine", "x-mine": "1", "te": "trailers"},
        )

        assert endpoint.seen[0].header("x-mine") is None
        assert endpoint.seen[0].header("te") is None
        assert endpoint.seen[0].header("connection") is None
        assert "x-hop" not in got.headers
        assert "keep-alive" not in got.headers
        assert got.headers["x-kept"] == "1"


async def test_the_response_passes_with_its_status_order_and_duplicates() -> None:
    answer = json_response(
        {"detail": "x"},
        b"server: uvicorn",
        b"set-cookie: a=1",
        b"set-cookie: b=2",
        status=b"418 Teapot",
    )
    async with FakeEndpoint([answer]) as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(CHAT, json=BODY)

        assert got.status_code == 418
        assert got.json() == {"detail": "x"}
        assert got.headers["server"] == "uvicorn"
        assert got.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert proxy.records[0].measurement.outcome == "client_error"


async def test_the_decision_is_told_in_headers() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(CHAT, json=BODY, headers={"x-request-id": "mine"})

        assert got.headers["x-request-id"] == "mine"
        assert endpoint.seen[0].header("x-request-id") == "mine"
        assert got.headers["x-foretoken-endpoint"] == endpoint.name
        assert got.headers["x-foretoken-reason"] == "predicted"
        decision = proxy.records[0].decision
        assert decision is not None
        assert decision.predictions is not None
        assert float(got.headers["x-foretoken-predicted-tpot-ms"]) == pytest.approx(
            decision.predictions.tpot_s[0] * 1e3, abs=1e-3
        )
        assert float(got.headers["x-foretoken-predicted-ttft-ms"]) >= 10


async def test_a_request_without_an_id_gets_one_of_its_own() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        first = await proxy.client.post(CHAT, json=BODY)
        second = await proxy.client.post(CHAT, json=BODY)

        assert first.headers["x-request-id"] != second.headers["x-request-id"]
        assert endpoint.seen[0].header("x-request-id") == first.headers["x-request-id"]


async def test_an_id_that_is_in_flight_already_is_made_unique() -> None:
    go = asyncio.Event()
    script = [go, json_response({})]
    async with FakeEndpoint(default=script) as endpoint, running_proxy(endpoint) as proxy:
        calls = [
            asyncio.ensure_future(
                proxy.client.post(CHAT, json=BODY, headers={"x-request-id": "same"})
            )
            for _ in range(2)
        ]
        await until(lambda: len(endpoint.seen) == 2)
        go.set()
        answers = await asyncio.gather(*calls)

        ids = [answer.headers["x-request-id"] for answer in answers]
        assert len(set(ids)) == 2
        assert all(name.startswith("same") for name in ids)


async def test_a_chunked_upload_is_sent_on_with_its_length() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b'{"model": "m", '
        yield b'"prompt": "x"}'

    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        await proxy.client.post("/v1/completions", content=parts())

        assert endpoint.seen[0].body == b'{"model": "m", "prompt": "x"}'
        assert endpoint.seen[0].header("content-length") == "29"
        assert endpoint.seen[0].header("transfer-encoding") is None


async def test_a_client_that_expects_100_continue_is_told_to_go_on() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        reader, writer = await proxy.connect()
        body = b'{"model": "m"}'
        writer.write(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
            b"content-length: %d\r\n\r\n" % len(body)
        )
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
        writer.write(body)

        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert endpoint.seen[0].header("expect") is None
        writer.close()


async def test_head_passes_with_the_length_and_without_a_body() -> None:
    script = [b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"]
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.head("/v1/files")

        assert endpoint.seen[0].method == "HEAD"
        assert got.headers["content-length"] == "500"


async def test_an_upload_that_is_not_json_passes_as_it_is() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(
            "/v1/audio/transcriptions",
            files={"file": ("a.wav", b"\x00\xff\r\n--", "audio/wav")},
            data={"model": "m"},
        )

        assert got.status_code == 200
        assert b"\x00\xff\r\n--" in endpoint.seen[0].body
        assert proxy.records[0].request.model == "m"


# Streams


async def test_a_stream_passes_and_the_usage_nobody_asked_for_stays_here() -> None:
    async with FakeEndpoint(STREAM) as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(CHAT, json=STREAMED)

        assert got.content == token_event("a") + token_event("b") + b"data: [DONE]\n\n"
        assert got.headers["x-accel-buffering"] == "no"
        assert json.loads(endpoint.seen[0].body) == {
            **STREAMED,
            "stream_options": {"include_usage": True},
        }
        measured = proxy.records[0].measurement
        assert (measured.prompt_tokens, measured.cached_tokens, measured.output_tokens) == (7, 4, 2)
        assert proxy.records[0].ttft_s is not None
        assert proxy.records[0].tpot_s is not None


async def test_a_client_that_asked_for_usage_gets_it_and_its_body_is_untouched() -> None:
    body = {**STREAMED, "stream_options": {"include_usage": True}}
    async with FakeEndpoint(STREAM) as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(CHAT, json=body)

        assert b'"usage"' in got.content
        assert json.loads(endpoint.seen[0].body) == body
        assert proxy.records[0].measurement.output_tokens == 2


async def test_usage_is_not_asked_for_when_configured_so() -> None:
    settings = ProxySettings(include_usage=False)
    async with (
        FakeEndpoint(STREAM) as endpoint,
        running_proxy(endpoint, settings=settings) as proxy,
    ):
        await proxy.client.post(CHAT, json=STREAMED)

        assert json.loads(endpoint.seen[0].body) == STREAMED


async def test_tokens_reach_the_client_one_by_one() -> None:
    second, end = asyncio.Event(), asyncio.Event()
    script = [STREAM_HEAD, event("a"), second, event("b"), end, DONE, LAST_CHUNK]
    async with (
        FakeEndpoint(script) as endpoint,
        running_proxy(endpoint) as proxy,
        proxy.client.stream("POST", CHAT, json=STREAMED) as got,
    ):
        parts = got.aiter_raw()
        assert await anext(parts) == token_event("a")
        second.set()
        assert await anext(parts) == token_event("b")
        end.set()
        assert await anext(parts) == b"data: [DONE]\n\n"


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


async def test_a_slow_client_gets_everything() -> None:
    data = b"".join(token_event(f"{number:06d}" * 10) for number in range(20_000))
    pieces = [data[start : start + 65_536] for start in range(0, len(data), 65_536)]
    script = [STREAM_HEAD, *(chunk(piece) for piece in pieces), LAST_CHUNK]
    async with (
        FakeEndpoint(script) as endpoint,
        running_proxy(endpoint) as proxy,
        proxy.client.stream("POST", CHAT, json=STREAMED) as got,
    ):
        parts = []
        async for part in got.aiter_raw():
            await asyncio.sleep(0)
            parts.append(part)

        assert b"".join(parts) == data


# The client goes


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
        writer.close()
        assert len(proxy.records) == 1
        assert proxy.scheduler.inflight_requests == 0


async def test_a_client_that_goes_in_mid_upload_is_forgotten() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        _, writer = await proxy.connect()
        writer.write(raw_chat(BODY)[:-5])
        writer.close()
        await writer.wait_closed()

        assert (await proxy.client.post(CHAT, json=BODY)).status_code == 200
        assert len(endpoint.seen) == 1


# Retries


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


async def test_the_choice_is_restricted_to_the_subset_the_caller_names() -> None:
    async with (
        FakeEndpoint() as best,
        FakeEndpoint() as other,
        running_proxy(best, other) as proxy,
    ):
        headers = {"x-gateway-destination-endpoint-subset": other.name}
        got = await proxy.client.post(CHAT, json=BODY, headers=headers)

        assert got.headers["x-foretoken-endpoint"] == other.name


# Waiting and refusals


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


@pytest.mark.parametrize(
    ("header", "value"),
    [("x-slo-ttft-ms", "-5"), ("x-slo-tpot-ms", "nan"), ("x-llm-d-slo-ttft-ms", "soon")],
)
async def test_a_malformed_objective_is_refused_by_name_and_value(header: str, value: str) -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(CHAT, json=BODY, headers={header: value})

        assert got.status_code == 400
        error = got.json()["error"]
        assert header in error["message"]
        assert value in error["message"]
        assert error["param"] == header
        assert endpoint.seen == []


async def test_an_unknown_model_is_404_in_openai_form() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(CHAT, json={"model": "nope"}, headers={"x-request-id": "i"})

        assert got.status_code == 404
        assert got.json()["error"]["code"] == "model_not_found"
        assert got.headers["x-request-id"] == "i"


async def test_an_unknown_tier_is_400() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(CHAT, json=BODY, headers={"x-slo-tier": "gold"})

        assert got.status_code == 400
        assert got.json()["error"]["code"] == "unknown_tier"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_413(chunked: bool) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 1000

    settings = ProxySettings(max_body_bytes=2000)
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, settings=settings) as proxy:
        content = parts() if chunked else b"x" * 4000
        got = await proxy.client.post(CHAT, content=content)

        assert got.status_code == 413
        assert endpoint.seen == []


async def test_a_body_over_the_limit_in_one_piece_is_413() -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    request = head + b"transfer-encoding: chunked\r\n\r\n" + chunk(b"x" * 4000) + LAST_CHUNK
    settings = ProxySettings(max_body_bytes=2000)
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, settings=settings) as proxy:
        got = await raw_exchange(proxy, request)

        assert got.startswith(b"HTTP/1.1 413")
        assert endpoint.seen == []


@pytest.mark.parametrize("field", ["max_tokens", "priority"])
@pytest.mark.parametrize("number", [-5, 10**30, 10**400, -(10**400)])
async def test_absurd_numbers_pass_and_leave_nothing_behind(field: str, number: int) -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(CHAT, json={**BODY, field: number})

        assert got.status_code == 200
        assert json.loads(endpoint.seen[0].body)[field] == number
        assert proxy.scheduler.inflight_requests == 0


async def test_a_header_that_spans_lines_is_refused() -> None:
    request = raw_chat(BODY, b"x-a: b\r\n c: d", b"connection: close")
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await raw_exchange(proxy, request)

        assert got.startswith(b"HTTP/1.1 400")
        assert endpoint.seen == []


# What is learned


async def test_a_whole_response_teaches_its_counts() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        await proxy.client.post(CHAT, json=BODY)

        measured = proxy.records[0].measurement
        assert (measured.outcome, measured.prompt_tokens, measured.output_tokens) == (
            "completed",
            7,
            3,
        )
        assert proxy.scheduler.inflight_requests == 0


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
