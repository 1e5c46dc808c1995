"""TLS from clients and to endpoints, and IPv6, on real sockets."""

import asyncio
import shutil
import signal
import ssl
from pathlib import Path

import pytest
from pydantic import ValidationError

from proxy import (
    OutgoingRequest,
    ProxySettings,
    Upstream,
    UpstreamSettings,
    UpstreamUnreachable,
    build_server,
)
from tests.fakes import FakeEndpoint
from tests.proxy.harness import running_proxy, until
from tests.proxy.raw import BODY, raw_chat

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates"),
]

POST = OutgoingRequest(start=b"POST /v1/completions HTTP/1.1\r\n", header_lines=b"", body=b"{}")


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request."""
    await reader.readuntil(b"\r\n\r\n{}")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    await reader.read()
    writer.close()


async def ask_by_tls(certificate: tuple[Path, Path], settings: UpstreamSettings) -> bytes:
    """Send a request to an endpoint that speaks TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    async with server, Upstream(settings) as upstream:
        got = await upstream.send(f"https://127.0.0.1:{port}", POST)
        return await got.read()


async def test_an_endpoint_is_believed_by_its_authority(certificate: tuple[Path, Path]) -> None:
    assert await ask_by_tls(certificate, UpstreamSettings(ca_file=certificate[0])) == b"ok"


async def test_an_endpoint_nobody_vouches_for_is_unreachable(
    certificate: tuple[Path, Path],
) -> None:
    with pytest.raises(UpstreamUnreachable):
        await ask_by_tls(certificate, UpstreamSettings())


async def test_whoever_answers_is_believed_when_configured_so(
    certificate: tuple[Path, Path],
) -> None:
    assert await ask_by_tls(certificate, UpstreamSettings(verify=False)) == b"ok"


async def test_clients_are_served_by_tls_and_refused_in_it(certificate: tuple[Path, Path]) -> None:
    settings = ProxySettings(port=0, tls_cert=certificate[0], tls_key=certificate[1])
    trusting = ssl.create_default_context(cafile=str(certificate[0]))
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        server = build_server(proxy.app, settings, closing=asyncio.Event(), relay=proxy.relay)
        serving = asyncio.ensure_future(server.serve())
        await until(lambda: server.started)
        port = server.servers[0].sockets[0].getsockname()[1]
        answers = []
        for request in (raw_chat(BODY, b"connection: close"), raw_chat(BODY, b"a : b")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting)
            writer.write(request)
            answers.append(await reader.read())
            writer.close()
        server.handle_exit(signal.SIGTERM, None)
        await serving

        assert [got[9:12] for got in answers] == [b"200", b"400"]
        rejected = proxy.registry.get_sample_value(
            "foretoken_rejected_requests_total", {"reason": "bad_request"}
        )
        assert rejected == 1.0


def test_a_certificate_without_its_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="belong together"):
        ProxySettings(tls_cert=Path("cert.pem"))


async def test_an_endpoint_of_ipv6_is_reached_by_its_bracketed_name() -> None:
    seen = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n{}"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Upstream() as upstream:
        got = await upstream.send(f"http://[::1]:{port}", POST)

        assert await got.read() == b"ok"
        assert b"host: [::1]:%d\r\n" % port in seen[0]
