import asyncio
import ssl
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.errors import ScrapeFailed, ScrapeFailure
from collectors.page_reader import PageReader
from collectors.settings import ScrapeSettings
from tests.fakes import CLOSE, HOLD, RESET, FakeEndpoint, Script, chunk, response

PAGE = b'vllm:num_requests_running{engine="0"} 3.0\n' * 200
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"


def reading(
    read: Callable[[PageReader, FakeEndpoint], Awaitable[None]], *scripts: Script, **settings: float
) -> FakeEndpoint:
    async def main() -> FakeEndpoint:
        reader = PageReader(ScrapeSettings.model_validate(settings))
        async with FakeEndpoint(*scripts) as endpoint:
            try:
                await read(reader, endpoint)
            finally:
                reader.close()
            return endpoint

    return asyncio.run(main())


@pytest.mark.parametrize(
    "script",
    [
        [response(PAGE)],
        [b"HTTP/1.1 100 Continue\r\n\r\n", response(PAGE)],
        [CHUNKED, chunk(PAGE[:70]), chunk(PAGE[70:]), b"0\r\n\r\n"],
        [UNTIL_CLOSED, PAGE[:10], PAGE[10:], CLOSE],
        [response(PAGE, b"content-encoding: identity")],
    ],
)
def test_a_page_is_read_however_it_is_framed(script: Script) -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        assert await reader.read(endpoint.url) == PAGE

    endpoint = reading(read, script)

    (seen,) = endpoint.seen
    assert (seen.method, seen.target) == ("GET", "/metrics")
    assert seen.header("host") == endpoint.name
    assert seen.header("accept-encoding") == "identity"
    assert seen.header("authorization") is None


def test_a_key_is_sent_where_one_is_given() -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        await reader.read(endpoint.url, "secret")

    endpoint = reading(read, [response(PAGE)])

    assert endpoint.seen[0].header("authorization") == "Bearer secret"


@pytest.mark.parametrize("key", ["a\r\nhost: b", "sch\u00fcssel", "tab\t"])
def test_a_key_that_cannot_stand_in_a_header_is_not_sent(key: str) -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        with pytest.raises(ScrapeFailed):
            await reader.read(endpoint.url, key)

    assert not reading(read).seen


def test_a_connection_is_kept_from_page_to_page() -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        pages = [await reader.read(endpoint.url) for _ in range(3)]
        assert pages == [b"one", b"two", b"three"]

    script = [[response(body)] for body in (b"one", b"two", b"three")]
    endpoint = reading(read, *script)

    assert endpoint.connections == 1


def test_an_endpoint_that_closed_the_kept_connection_is_asked_on_another() -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        first = await reader.read(endpoint.url)
        assert (first, await reader.read(endpoint.url)) == (b"one", b"two")

    endpoint = reading(read, [response(b"one"), CLOSE], [response(b"two")])

    assert endpoint.connections == 2


def test_a_connection_closed_under_the_question_is_replaced_once() -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        await reader.read(endpoint.url)
        assert await reader.read(endpoint.url) == b"two"

    endpoint = reading(read, [response(b"one")], [RESET], [response(b"two")])

    assert [seen.target for seen in endpoint.seen] == ["/metrics"] * 3


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([response(b"gone", status=b"404 Not Found")], "status"),
        ([response(b"", b"location: /other", status=b"302 Found")], "status"),
        ([response(PAGE, b"content-encoding: gzip")], "status"),
        ([response(b"x" * 2000)], "too_large"),
        ([CHUNKED, chunk(b"x" * 600), chunk(b"x" * 600)], "too_large"),
        ([b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2000], "too_large"),
        ([b"HTTP/1.1 200 OK\r\n", HOLD], "timeout"),
        ([b"not http at all\r\n\r\n"], "refused"),
        ([b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"], "refused"),
        ([response(b"whole")[:-2], CLOSE], "refused"),
        ([CHUNKED, chunk(b"half"), CLOSE], "refused"),
        ([RESET], "refused"),
    ],
)
def test_what_is_no_page_fails_with_its_reason(script: Script, reason: ScrapeFailure) -> None:
    failures: list[ScrapeFailed] = []

    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        with pytest.raises(ScrapeFailed) as caught:
            await reader.read(endpoint.url)
        failures.append(caught.value)
        assert await reader.read(endpoint.url) == b"after"

    script = [*script, HOLD] if reason == "too_large" else script
    endpoint = reading(
        read, script, [response(b"after")], max_page_bytes=1024 if reason == "too_large" else 1e5,
        timeout_s=0.2,
    )  # fmt: skip

    assert failures[0].reason == reason
    assert failures[0].url == f"{endpoint.url}/metrics"


def test_an_error_answer_keeps_the_connection() -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        with pytest.raises(ScrapeFailed):
            await reader.read(endpoint.url)
        await reader.read(endpoint.url)

    endpoint = reading(read, [response(b"", status=b"404 Not Found")], [response(PAGE)])

    assert endpoint.connections == 1


def test_nobody_listening_is_refused() -> None:
    async def main() -> None:
        async with FakeEndpoint() as endpoint:
            pass
        with pytest.raises(ScrapeFailed) as caught:
            await PageReader(ScrapeSettings()).read(endpoint.url)
        assert caught.value.reason == "refused"

    asyncio.run(main())


def test_bytes_nobody_asked_for_end_the_connection() -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        assert await reader.read(endpoint.url) == b"one"
        assert await reader.read(endpoint.url) == b"two"

    endpoint = reading(read, [response(b"one") + response(b"stray")], [response(b"two")])

    assert endpoint.connections == 2


def test_a_cancelled_read_does_not_leave_its_answer_to_the_next() -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        task = asyncio.create_task(reader.read(endpoint.url))
        await endpoint.arrived.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await endpoint.aborted.wait()
        assert await reader.read(endpoint.url) == b"two"

    reading(read, [b"HTTP/1.1 200 OK\r\n", HOLD], [response(b"two")])


def test_two_reads_at_once_do_not_share_a_connection() -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        pages = await asyncio.gather(reader.read(endpoint.url), reader.read(endpoint.url))
        assert sorted(pages) == [b"one", b"two"]

    endpoint = reading(read, [response(b"one")], [response(b"two")])

    assert endpoint.connections == 2


def test_a_forgotten_endpoint_is_connected_anew() -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        await reader.read(endpoint.url)
        reader.forget(endpoint.url)
        reader.forget(endpoint.url)
        await reader.read(endpoint.url)

    endpoint = reading(read, [response(b"one")], [response(b"two")])

    assert endpoint.connections == 2


def test_https_is_spoken_as_tls() -> None:
    hello: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hello.append(await reader.read(1000))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            with pytest.raises(ScrapeFailed) as caught:
                await PageReader(ScrapeSettings()).read(f"https://127.0.0.1:{port}")
        assert caught.value.reason == "refused"
        assert isinstance(caught.value.__cause__, ssl.SSLError)

    asyncio.run(main())

    assert hello[0][0] == 0x16  # a handshake record


@given(cuts=st.lists(st.integers(min_value=1, max_value=400), max_size=6))
def test_an_answer_split_anywhere_is_read(cuts: list[int]) -> None:
    whole = response(PAGE[:300])
    places = sorted({min(cut, len(whole)) for cut in cuts} | {0, len(whole)})
    parts = [whole[a:b] for a, b in pairwise(places)]

    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        assert await reader.read(endpoint.url) == PAGE[:300]

    reading(read, parts)


def test_pages_on_record_are_read_as_they_are() -> None:
    pages = [path.read_bytes() for path in (Path(__file__).parent / "data").glob("metrics_*.txt")]

    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        assert [await reader.read(endpoint.url) for _ in pages] == pages

    endpoint = reading(read, *[[response(page)] for page in pages])

    assert endpoint.connections == 1


def test_an_endpoint_that_is_silent_is_not_asked_again() -> None:
    async def read(reader: PageReader, endpoint: FakeEndpoint) -> None:
        await reader.read(endpoint.url)
        with pytest.raises(ScrapeFailed) as failed:
            await reader.read(endpoint.url)
        assert failed.value.reason == "timeout"

    endpoint = reading(read, [response(b"one")], [HOLD], timeout_s=0.2)

    assert endpoint.connections == 1
