"""Endpoints whose certificate only a private authority vouches for, on real sockets."""

import asyncio
import json
import shutil
import ssl
from pathlib import Path

import pytest

from foretoken.build import build
from foretoken.errors import ConfigurationInvalid
from foretoken.settings import Settings

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate"),
]

PAGE = b'vllm:num_requests_running{engine="0",model_name="m"} 3.0\n'
CARDS = json.dumps({"data": [{"id": "m", "root": "/models/m"}]}).encode()


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, and close."""
    head = await reader.readuntil(b"\r\n\r\n")
    body = PAGE if head.startswith(b"GET /metrics") else CARDS
    lines = b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
    writer.write(b"HTTP/1.1 200 OK\r\n" + lines + body)
    writer.close()


@pytest.mark.parametrize(
    ("upstream", "up"), [("ca", True), ("anybody", True), ("the system's", False)]
)
async def test_it_is_scraped_by_the_authority_that_requests_go_by(
    certificate: tuple[Path, Path], upstream: str, up: bool
) -> None:
    believed = {"ca": {"ca_file": str(certificate[0])}, "anybody": {"verify": False}}
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    name = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    settings = Settings.model_validate(
        {
            "endpoints": [{"url": f"https://{name}"}],
            "proxy": {"upstream": believed.get(upstream, {})},
            "trainer": {"enabled": False},
        }
    )
    service = build(settings).service

    await service.scraper.poll(name)
    server.close()

    (state,) = service.scraper.states
    assert (state.up, state.root) == (up, "/models/m" if up else None)


def test_an_authority_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "endpoints": [{"url": "https://a:1"}],
            "proxy": {"upstream": {"ca_file": str(tmp_path / "none.pem")}},
        }
    )

    with pytest.raises(ConfigurationInvalid, match="ca_file"):
        build(settings)
