"""The server as it is started in earnest."""

import asyncio
import signal

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from proxy import ProxySettings, build_server
from proxy.answers import send_answer
from tests.fakes import HOLD, LAST_CHUNK, STREAM_HEAD, FakeEndpoint, event
from tests.proxy.harness import running_proxy, until
from tests.proxy.raw import STREAMED, raw_chat

pytestmark = pytest.mark.anyio


class App:
    """Answer everything; hold requests to /slow until told."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.held = asyncio.Event()
        self.events: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                message: Message = await receive()
                self.events.append(message["type"])
                await send({"type": f"lifespan.{phase}.complete"})
            return
        if scope["path"] == "/slow":
            self.held.set()
            await self.go.wait()
        await send_answer(send, 200, b"{}")


async def test_shutdown_lets_running_requests_finish_and_says_that_it_began() -> None:
    app, closing = App(), asyncio.Event()
    server = build_server(app, ProxySettings(port=0), closing=closing)
    serving = asyncio.ensure_future(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(trust_env=False) as client:
        slow = asyncio.ensure_future(client.get(f"http://127.0.0.1:{port}/slow"))
        await app.held.wait()

        server.handle_exit(signal.SIGTERM, None)

        assert closing.is_set()
        app.go.set()
        assert (await slow).status_code == 200
    await serving
    assert app.events == ["lifespan.startup", "lifespan.shutdown"]


async def test_it_adds_no_headers_of_its_own() -> None:
    app = App()
    server = build_server(app, ProxySettings(port=0), closing=asyncio.Event())
    serving = asyncio.ensure_future(server.serve())
    await until(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]

    async with httpx.AsyncClient(trust_env=False) as client:
        got = await client.get(f"http://127.0.0.1:{port}/")

    assert set(got.headers) == {"content-type", "content-length"}
    server.handle_exit(signal.SIGTERM, None)
    await serving


async def test_what_runs_past_its_time_is_told_so_and_the_server_ends() -> None:
    async with (
        FakeEndpoint([STREAM_HEAD, event("a"), HOLD]) as endpoint,
        running_proxy(endpoint) as proxy,
    ):
        settings = ProxySettings(port=0, shutdown_s=0)
        server = build_server(proxy.app, settings, closing=asyncio.Event(), relay=proxy.relay)
        serving = asyncio.ensure_future(server.serve())
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw_chat(STREAMED))
        await reader.readuntil(b'"a"')

        server.handle_exit(signal.SIGTERM, None)

        rest = await reader.read()
        assert b'"code":"shutting_down"' in rest
        assert b"[DONE]" not in rest
        assert not rest.endswith(LAST_CHUNK)
        assert await idle.read() == b""
        await serving
        writer.close()
        idle_writer.close()
        assert [record.measurement.outcome for record in proxy.records] == ["shutdown"]
