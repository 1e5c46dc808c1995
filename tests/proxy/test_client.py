"""Client connections on real sockets: refusals, order, limits in size and time, TLS."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from proxy import ProxySettings
from tests.fakes import CLOSE, LAST_CHUNK, STREAM_HEAD, FakeEndpoint, Step, chunk, json_response
from tests.proxy.harness import running_proxy, until
from tests.proxy.raw import BODY, STREAM, STREAMED, raw_chat, raw_exchange
from tests.proxy.test_http_request import SMUGGLED

pytestmark = pytest.mark.anyio

CLOSE_LINE = b"connection: close"


async def read_response(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one response with a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    return head, await reader.readexactly(length)


async def test_smuggling_is_400_in_openai_form_and_the_connection_closed() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        for name, wire in SMUGGLED.items():
            got = await raw_exchange(proxy, wire)

            head, _, body = got.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 "), name
            assert b"connection: close" in head, name
            assert b'"type":"invalid_request_error"' in body, name
        assert endpoint.seen == []


async def test_pipelined_requests_are_answered_in_order() -> None:
    go = asyncio.Event()
    async with (
        FakeEndpoint([go, json_response({"n": 1})], [json_response({"n": 2})]) as endpoint,
        running_proxy(endpoint) as proxy,
    ):
        reader, writer = await proxy.connect()
        own = b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n"
        bad = raw_chat(BODY, b"x-slo-ttft-ms: never")
        writer.write(raw_chat(BODY) + bad + own + raw_chat(BODY))
        await endpoint.arrived.wait()
        go.set()

        answers = [await read_response(reader) for _ in range(4)]

        assert [head[9:12] for head, _ in answers] == [b"200", b"400", b"200", b"200"]
        assert answers[0][1] == b'{"n": 1}'
        assert answers[2][1] == b'{"status":"alive"}'
        assert answers[3][1] == b'{"n": 2}'
        writer.close()


async def test_very_many_pipelined_requests_are_all_answered() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        reader, writer = await proxy.connect()
        bad = raw_chat(BODY, b"x-slo-ttft-ms: never")
        writer.write(bad * 2000)

        answers = [await read_response(reader) for _ in range(2000)]

        assert {head[9:12] for head, _ in answers} == {b"400"}
        writer.close()


async def test_a_connection_carries_one_request_after_the_other() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        reader, writer = await proxy.connect()
        for _ in range(3):
            writer.write(raw_chat(BODY))
            head, _ = await read_response(reader)
            assert CLOSE_LINE not in head

        writer.write(raw_chat(BODY, b"connection: close"))
        head, _ = await read_response(reader)

        assert CLOSE_LINE in head
        assert await reader.read() == b""
        assert endpoint.connections == 1
        writer.close()


@pytest.mark.parametrize("script", [STREAM, [json_response({})]])
async def test_a_client_of_http_1_0_gets_no_chunks(script: list[Step]) -> None:
    body = b'{"model":"m","stream":true}'
    request = b"POST /v1/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        got = await raw_exchange(proxy, request)

        head, _, body = got.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head
        assert body == b"{}" or body.endswith(b"data: [DONE]\n\n")


async def test_a_large_head_is_431() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await raw_exchange(proxy, raw_chat(BODY, b"x-a: " + b"b" * 70_000))

        assert got.startswith(b"HTTP/1.1 431 ")
        assert endpoint.seen == []


async def test_a_body_announced_too_large_is_refused_before_it_comes() -> None:
    settings = ProxySettings(max_body_bytes=2000)
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, settings=settings) as proxy:
        got = await raw_exchange(proxy, head + b"content-length: 4000\r\n\r\n")

        assert got.startswith(b"HTTP/1.1 413 ")
        assert endpoint.seen == []


async def test_a_body_nested_without_end_is_400_and_reaches_no_endpoint() -> None:
    deep = b'{"model":"m","messages":' + b"[" * 5000 + b"]" * 5000 + b"}"
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await raw_exchange(proxy, head + b"content-length: %d\r\n\r\n" % len(deep) + deep)

        assert got.startswith(b"HTTP/1.1 400 ")
        assert b'"body_too_deep"' in got
        assert endpoint.seen == []


async def test_a_refused_client_that_goes_on_sending_reads_its_answer() -> None:
    settings = ProxySettings(max_body_bytes=2000)
    size = 4 * 2**20
    head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, settings=settings) as proxy:
        reader, writer = await proxy.connect()
        writer.write(head + bytes(size))
        await writer.drain()

        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
        writer.close()


@pytest.mark.parametrize(
    ("sent", "after_s", "status"),
    [
        pytest.param(b"POST /v1/comp", 21, b"408", id="in the head"),
        pytest.param(raw_chat(BODY)[:-3], 61, b"408", id="in the body"),
    ],
)
async def test_a_request_that_stops_coming_is_408(
    sent: bytes, after_s: float, status: bytes
) -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        reader, writer = await proxy.connect()
        writer.write(sent)
        await until(lambda: proxy.acceptor.coming == 1)
        now = asyncio.get_running_loop().time()

        proxy.acceptor.sweep(now + after_s - 10)
        proxy.acceptor.sweep(now + after_s)

        got = await reader.read()
        assert got[9:12] == status
        assert b'"code":"request_timeout"' in got
        writer.close()


async def test_idle_connections_are_closed_in_time() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        reader, writer = await proxy.connect()
        writer.write(raw_chat(BODY))
        await read_response(reader)

        proxy.acceptor.sweep(asyncio.get_running_loop().time() + 76)

        assert await reader.read() == b""
        writer.close()


async def test_a_connection_is_idle_from_its_last_answer_on() -> None:
    go = asyncio.Event()
    steps: list[Step] = [go, json_response({}), json_response({})]
    async with FakeEndpoint(steps) as endpoint, running_proxy(endpoint) as proxy:
        reader, writer = await proxy.connect()
        writer.write(raw_chat(BODY))
        await endpoint.arrived.wait()
        begun_s = asyncio.get_running_loop().time()
        await asyncio.sleep(0.05)
        go.set()
        await read_response(reader)

        proxy.acceptor.sweep(begun_s + 75.02)  # 75 s are allowed, and have not passed since

        writer.write(raw_chat(BODY))
        head, _ = await read_response(reader)
        assert head.startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_who_reads_no_answers_is_read_no_further() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        _, writer = await proxy.connect()
        refused = raw_chat(BODY, b"x-slo-ttft-ms: soon")

        sent = 0
        for _ in range(300):  # 20 MB of them, if they were taken
            writer.write(refused * 400)
            sent += 400
            for _ in range(20):
                await asyncio.sleep(0)
            if writer.transport.get_write_buffer_size() > 8 * len(refused) * 400:
                break

        assert sent < 300 * 400
        assert proxy.acceptor.unsent_bytes < 2**21
        writer.transport.abort()


async def test_a_request_that_is_served_has_no_limit_in_time_here() -> None:
    go = asyncio.Event()
    async with FakeEndpoint([go, json_response({})]) as endpoint, running_proxy(endpoint) as proxy:
        reader, writer = await proxy.connect()
        writer.write(raw_chat(BODY))
        await endpoint.arrived.wait()

        proxy.acceptor.sweep(asyncio.get_running_loop().time() + 1000)
        go.set()

        head, _ = await read_response(reader)
        assert head.startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_one_connection_too_many_is_told_so() -> None:
    settings = ProxySettings(max_connections=1)
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, settings=settings) as proxy:
        reader, writer = await proxy.connect()
        writer.write(raw_chat(BODY))
        await read_response(reader)

        got = await raw_exchange(proxy, raw_chat(BODY))

        assert got.startswith(b"HTTP/1.1 503 ")
        assert b'"code":"too_many_connections"' in got
        writer.close()


async def test_a_client_that_does_not_read_holds_its_endpoint_back_and_is_cut_in_time() -> None:
    script = [STREAM_HEAD, *([chunk(b"data: %b\n\n" % (b"y" * 65_536))] * 200), LAST_CHUNK]
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        _, writer = await proxy.connect()
        writer.transport.pause_reading()
        writer.write(raw_chat(STREAMED))
        await until(lambda: proxy.acceptor.unsent_bytes > 0)
        for _ in range(2000):
            await asyncio.sleep(0)
        sent = proxy.acceptor.unsent_bytes
        for _ in range(2000):
            await asyncio.sleep(0)

        assert proxy.acceptor.unsent_bytes == sent
        assert sent < 2**20

        now = asyncio.get_running_loop().time()
        proxy.acceptor.sweep(now)
        proxy.acceptor.sweep(now + 121)

        await proxy.ended.wait()
        await endpoint.aborted.wait()
        assert proxy.records[0].measurement.outcome == "client_gone"
        writer.close()


async def test_trailers_reach_a_client_that_takes_them() -> None:
    script = [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        chunk(b"{}") + b"0\r\nx-checksum: 7\r\n\r\n",
    ]
    async with FakeEndpoint(default=script) as endpoint, running_proxy(endpoint) as proxy:
        wanted = await raw_exchange(proxy, raw_chat(BODY, b"te: trailers", b"connection: close"))
        unwanted = await raw_exchange(proxy, raw_chat(BODY, b"connection: close"))

        assert wanted.endswith(b"0\r\nx-checksum: 7\r\n\r\n")
        assert unwanted.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_response_without_a_body_is_one(status: bytes) -> None:
    script = [b"HTTP/1.1 %b\r\netag: x\r\n\r\n" % status]
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        got = await raw_exchange(proxy, raw_chat(BODY, b"connection: close"))

        assert got.startswith(b"HTTP/1.1 " + status[:3])
        assert b"transfer-encoding" not in got
        assert got.endswith(b"\r\n\r\n")


async def test_a_body_without_a_length_reaches_the_client_whole() -> None:
    script = [b"HTTP/1.1 200 OK\r\n\r\nhello", CLOSE]
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        got = await raw_exchange(proxy, raw_chat(BODY, b"connection: close"))

        assert b"transfer-encoding: chunked" in got
        assert got.endswith(LAST_CHUNK)
        assert b"hello" in got
        assert proxy.records[0].measurement.outcome == "completed"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Echo what came, or stream until the client has gone."""
    if scope["path"] == "/foretoken/echo":
        message = await receive()
        body = b"%b?%b %b" % (scope["raw_path"], scope["query_string"], message["body"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})
        return
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
    assert (await receive())["type"] == "http.disconnect"
    GONE.set()


GONE = asyncio.Event()


async def test_the_control_plane_gets_the_whole_request() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, control=app) as proxy:
        got = await proxy.client.post("/foretoken/echo?a=%20", content=b"hello")

        assert got.content == b"/foretoken/echo?a=%20 hello"


async def test_the_control_plane_hears_that_its_client_has_gone() -> None:
    GONE.clear()
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, control=app) as proxy:
        async with proxy.client.stream("GET", "/foretoken/live") as got:
            assert await anext(got.aiter_raw()) == b"data: 1\n\n"

        await GONE.wait()
