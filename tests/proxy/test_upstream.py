"""The upstream client against a scripted endpoint on real sockets."""

import asyncio

import pytest

from proxy import (
    OutgoingRequest,
    Upstream,
    UpstreamBroken,
    UpstreamResponse,
    UpstreamSettings,
    UpstreamSilent,
    UpstreamUnreachable,
)
from proxy.errors import UpstreamDown
from tests.fakes import CLOSE, HOLD, OK, RESET, FakeEndpoint, Step, chunk, response
from tests.proxy.harness import until

pytestmark = pytest.mark.anyio

POST = OutgoingRequest(
    start=b"POST /v1/chat/completions HTTP/1.1\r\n",
    header_lines=b"x-one: 1\r\n",
    body=b"{}",
)
HEAD = OutgoingRequest(
    start=b"HEAD /v1/x HTTP/1.1\r\n", header_lines=b"", body=None, head_only=True
)


async def whole(response: UpstreamResponse) -> bytes:
    body = b""
    while data := await response.read():
        body += data
    return body


async def test_a_request_goes_out_as_given_with_the_endpoints_host() -> None:
    async with FakeEndpoint() as endpoint, Upstream() as upstream:
        await upstream.send(endpoint.url, POST)

        seen = endpoint.seen[0]
        assert (seen.method, seen.target, seen.body) == ("POST", "/v1/chat/completions", b"{}")
        assert seen.headers == [("host", endpoint.name), ("x-one", "1"), ("content-length", "2")]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([response(b"hello")], id="content-length"),
        pytest.param(
            [
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                chunk(b"he"),
                chunk(b"llo"),
                b"0\r\ntrailer: x\r\n\r\n",
            ],
            id="chunked, with a trailer",
        ),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\nhello", CLOSE], id="closed at the end"),
        pytest.param(
            [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"]
            + [bytes([byte]) for byte in response(b"hello")],
            id="after informational ones, byte by byte",
        ),
    ],
)
async def test_a_body_arrives_whole_however_it_is_framed(steps: list[Step]) -> None:
    async with FakeEndpoint(steps) as endpoint, Upstream() as upstream:
        got = await upstream.send(endpoint.url, POST)

        assert got.status == 200
        assert await whole(got) == b"hello"
        assert b"link" not in dict(got.headers)
        assert b"trailer" not in dict(got.headers)


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_response_without_body_is_complete_at_its_head(status: bytes) -> None:
    async with FakeEndpoint([b"HTTP/1.1 %b\r\n\r\n" % status]) as endpoint, Upstream() as upstream:
        got = await upstream.send(endpoint.url, POST)

        assert got.complete
        assert await got.read() == b""


async def test_a_response_to_head_has_a_length_and_no_body() -> None:
    script = [b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"]
    async with FakeEndpoint(script) as endpoint, Upstream() as upstream:
        got = await upstream.send(endpoint.url, HEAD)

        assert dict(got.headers)[b"content-length"] == b"500"
        assert await got.read() == b""


async def test_a_connection_is_used_again_after_a_complete_response() -> None:
    async with FakeEndpoint() as endpoint, Upstream() as upstream:
        for _ in range(3):
            await whole(await upstream.send(endpoint.url, POST))

        assert len(endpoint.seen) == 3
        assert endpoint.connections == 1


async def test_a_connection_is_not_used_again_when_the_endpoint_says_close() -> None:
    async with (
        FakeEndpoint([response(b"x", b"connection: close")]) as endpoint,
        Upstream() as upstream,
    ):
        await whole(await upstream.send(endpoint.url, POST))
        await whole(await upstream.send(endpoint.url, POST))

        assert endpoint.connections == 2


async def test_bytes_after_the_response_end_the_connection_and_not_the_response() -> None:
    async with FakeEndpoint([response(b"one") + b"junk"]) as endpoint, Upstream() as upstream:
        assert await whole(await upstream.send(endpoint.url, POST)) == b"one"
        await whole(await upstream.send(endpoint.url, POST))

        assert endpoint.connections == 2


async def test_a_kept_connection_that_dies_unheard_is_replaced() -> None:
    async with FakeEndpoint(OK, [RESET], OK) as endpoint, Upstream() as upstream:
        await whole(await upstream.send(endpoint.url, POST))

        got = await upstream.send(endpoint.url, POST)

        assert got.status == 200
        assert endpoint.connections == 2
        assert len(endpoint.seen) == 3


async def test_a_fresh_connection_that_dies_is_an_error() -> None:
    async with FakeEndpoint([CLOSE]) as endpoint, Upstream() as upstream:
        with pytest.raises(UpstreamBroken):
            await upstream.send(endpoint.url, POST)

        assert len(endpoint.seen) == 1


async def test_nobody_listening_is_unreachable() -> None:
    async with FakeEndpoint() as endpoint:
        url = endpoint.url
    async with Upstream() as upstream:
        with pytest.raises(UpstreamUnreachable):
            await upstream.send(url, POST)


async def test_a_name_that_no_host_can_have_is_unreachable() -> None:
    async with Upstream() as upstream:
        with pytest.raises(UpstreamUnreachable):
            await asyncio.wait_for(upstream.send("http://a..b:80", POST), 5)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel", CLOSE], id="length"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", chunk(b"hel"), CLOSE],
            id="chunked",
        ),
    ],
)
async def test_a_body_that_ends_early_raises_after_what_came(steps: list[Step]) -> None:
    async with FakeEndpoint(steps) as endpoint, Upstream() as upstream:
        got = await upstream.send(endpoint.url, POST)

        assert await got.read() == b"hel"
        with pytest.raises(UpstreamBroken):
            await got.read()


@pytest.mark.parametrize(
    "junk",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: y\r\n folded: z\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused(junk: bytes) -> None:
    async with FakeEndpoint([junk, HOLD]) as endpoint, Upstream() as upstream:
        with pytest.raises(UpstreamBroken):
            await upstream.send(endpoint.url, POST)

        await endpoint.aborted.wait()


async def test_giving_up_a_body_closes_the_connection() -> None:
    script = [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel", HOLD]
    async with FakeEndpoint(script) as endpoint, Upstream() as upstream:
        got = await upstream.send(endpoint.url, POST)

        got.abort()

        await endpoint.aborted.wait()
        assert upstream.connections(endpoint.url) == 0


async def test_cancelling_a_send_closes_the_connection() -> None:
    async with FakeEndpoint([HOLD]) as endpoint, Upstream() as upstream:
        sending = asyncio.ensure_future(upstream.send(endpoint.url, POST))
        await endpoint.arrived.wait()

        sending.cancel()

        await endpoint.aborted.wait()
        with pytest.raises(asyncio.CancelledError):
            await sending


async def test_a_silent_endpoint_is_given_up() -> None:
    async with FakeEndpoint([HOLD]) as endpoint, Upstream() as upstream:
        sending = asyncio.ensure_future(upstream.send(endpoint.url, POST))
        await endpoint.arrived.wait()

        upstream.sweep(asyncio.get_running_loop().time() + 1801)

        with pytest.raises(UpstreamSilent):
            await sending
        await endpoint.aborted.wait()


async def test_a_request_at_an_endpoint_found_down_fails_and_does_not_go_there_again() -> None:
    async with FakeEndpoint(OK, [HOLD]) as endpoint, Upstream() as upstream:
        await whole(await upstream.send(endpoint.url, POST))  # the connection is kept
        sending = asyncio.create_task(upstream.send(endpoint.url, POST))
        await until(lambda: len(endpoint.seen) == 2)

        upstream.give_up_silent(endpoint.url)

        with pytest.raises(UpstreamDown):
            await sending
        assert len(endpoint.seen) == 2


async def test_a_response_that_has_begun_is_left_alone_when_its_endpoint_is_found_down() -> None:
    script = [b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc", HOLD]
    async with FakeEndpoint(script) as endpoint, Upstream() as upstream:
        got = await upstream.send(endpoint.url, POST)
        begun = await got.read()

        upstream.give_up_silent(endpoint.url)

        assert begun == b"abc"
        assert upstream.connections(endpoint.url) == 1


async def test_idle_connections_are_closed_in_time() -> None:
    async with FakeEndpoint() as endpoint, Upstream() as upstream:
        await whole(await upstream.send(endpoint.url, POST))
        assert upstream.connections(endpoint.url) == 1

        upstream.sweep(asyncio.get_running_loop().time() + 4.5)

        assert upstream.connections(endpoint.url) == 0


async def test_idle_connections_are_bounded_in_number() -> None:
    settings = UpstreamSettings(max_idle_connections=1)
    async with FakeEndpoint() as endpoint, Upstream(settings) as upstream:
        await asyncio.gather(*(upstream.send(endpoint.url, POST) for _ in range(4)))

        assert upstream.connections(endpoint.url) == 1


async def test_nothing_is_kept_of_an_endpoint_that_has_left() -> None:
    rest = asyncio.Event()
    script: list[Step] = [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", rest, b"k"]
    async with FakeEndpoint(OK, script) as endpoint, Upstream() as upstream:
        upstream.authorize(endpoint.url, "sk-of-the-endpoint")
        await whole(await upstream.send(endpoint.url, POST))
        under_way = await upstream.send(endpoint.url, POST)

        upstream.forget(endpoint.url)
        kept = upstream.endpoints
        rest.set()
        body = await whole(under_way)
        upstream.sweep(asyncio.get_running_loop().time())

        assert (kept, body) == (1, b"ok")
        assert upstream.endpoints == 0


async def test_an_idle_endpoint_is_forgotten_at_once_and_comes_back_without_its_key() -> None:
    async with FakeEndpoint() as endpoint, Upstream() as upstream:
        upstream.authorize(endpoint.url, "sk-of-the-endpoint")
        await whole(await upstream.send(endpoint.url, POST))

        upstream.forget(endpoint.url)
        await until(lambda: upstream.connections(endpoint.url) == 0)
        await whole(await upstream.send(endpoint.url, POST))

        assert endpoint.seen[1].header("authorization") is None
        assert endpoint.connections == 2


async def test_a_slow_reader_holds_the_endpoint_back() -> None:
    settings = UpstreamSettings(buffer_bytes=65_536)
    size = 8 * 2**20
    script = [b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, bytes(size)]
    async with FakeEndpoint(script) as endpoint, Upstream(settings) as upstream:
        got = await upstream.send(endpoint.url, POST)
        await until(lambda: got.buffered_bytes > 65_536)
        held = got.buffered_bytes
        for _ in range(200):
            await asyncio.sleep(0)

        assert got.buffered_bytes == held
        assert held < 65_536 + 2**19  # what was read at once before reading stopped
        assert len(await whole(got)) == size


async def test_a_large_body_is_sent_whole() -> None:
    body = bytes(range(256)) * 8192
    request = OutgoingRequest(start=POST.start, header_lines=b"", body=body)
    async with FakeEndpoint() as endpoint, Upstream() as upstream:
        await upstream.send(endpoint.url, request)

        assert endpoint.seen[0].body == body
