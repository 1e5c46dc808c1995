"""The data path end to end: a client, the proxy, scripted endpoints, all on real sockets."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from proxy import ProxySettings
from tests.fakes import (
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    FakeEndpoint,
    chunk,
    event,
    json_response,
    response,
    token_event,
)
from tests.proxy.harness import CHAT, running_proxy, until
from tests.proxy.raw import BODY, STREAM, STREAMED, raw_chat, raw_exchange

pytestmark = pytest.mark.anyio

ENGINE_DEAD = chunk(b'data: {"error": {"message": "engine died", "code": 500}}\n\n')


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


async def test_the_choice_is_restricted_to_the_subset_the_caller_names() -> None:
    async with (
        FakeEndpoint() as best,
        FakeEndpoint() as other,
        running_proxy(best, other) as proxy,
    ):
        headers = {"x-gateway-destination-endpoint-subset": other.name}
        got = await proxy.client.post(CHAT, json=BODY, headers=headers)

        assert got.headers["x-foretoken-endpoint"] == other.name


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
