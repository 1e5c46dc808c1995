"""No secret of anybody's stands in what the service says about itself.

A whole service runs with known secrets in every place that may hold one, everything that makes
it log or refuse is done to it, and all it said to anyone but the caller is searched.
"""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from foretoken.cli import app
from foretoken.processes import free_ports
from tests.foretoken.echoing import EchoingEndpoint
from tests.foretoken.running import PATIENCE_S, Running
from tests.proxy.tracing.receiver import receiving

CLIENT = "sk-client-5eCr37-1"
ADMIN = "sk-admin-5eCr37-2"
STRANGER = "sk-wrong-5eCr37-3"
ENDPOINT = "sk-endpoint-5eCr37-4"
PROMPT = "prompt-5eCr37-5"
OUTPUT = "output-5eCr37-6"
COLLECTOR = "collector-5eCr37-7"
QUERY = "query-5eCr37-8"
COOKIE = "cookie-5eCr37-9"
WHOSE = (
    "a client's key",
    "an admin's key",
    "a key nobody knows",
    "an endpoint's key",
    "a prompt",
    "an output",
    "a collector's password",
    "a query",
    "a cookie",
)
ANY = re.compile(r"5eCr37-(\d)")

CASES: list[dict[str, object]] = [
    {"case": "well"},
    {"case": "stream", "stream": True},
    {"case": "error_event", "stream": True},
    {"case": "garbage"},
    {"case": "bad_chunk", "stream": True},
    {"case": "cut", "stream": True},
    {"case": "head"},
    *({"case": "status", "code": code} for code in (400, 401, 404, 422, 429, 500, 503)),
]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the service said: text by where it was said."""

    texts: dict[str, str]

    def holds(self) -> dict[str, str]:
        """Give whose secrets were found, and where."""
        return {
            f"{WHOSE[int(found[1]) - 1]} in {where}": text[max(0, found.start() - 80) : found.end()]
            for where, text in self.texts.items()
            for found in ANY.finditer(text)
        }


def config(folder: Path, endpoints: list[int], collector: str) -> Path:
    keys = folder / "keys.toml"
    keys.write_text(f'[boss]\nkey = "{ADMIN}"\nadmin = true\n')
    path = folder / "foretoken.toml"
    path.write_text(
        f'data_dir = "{folder / "data"}"\n'
        f'[proxy.access]\nkeys_file = "{keys}"\nrequests_per_minute = 500\n'
        f'[tracing]\nenabled = true\nendpoint = "{collector.replace("//", f"//u:{COLLECTOR}@")}"\n'
        '[log]\nlevel = "debug"\nformat = "json"\n'
        "[proxy]\nmax_body_bytes = 100_000\n"
        '[scheduler.shadow]\nkind = "round_robin"\n'
        + "".join(
            f'[[endpoints]]\nurl = "http://127.0.0.1:{port}"\napi_key_env = "VLLM_KEY"\n'
            for port in endpoints
        )
    )  # fmt: skip
    return path


async def provoke(url: str) -> None:
    """Do everything that is logged, refused or goes wrong."""
    good = {"authorization": f"Bearer {CLIENT}", "cookie": COOKIE}
    wrong = {"authorization": f"Bearer {STRANGER}"}
    chat = f"{url}/v1/chat/completions?key={QUERY}"
    said = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": PROMPT}]}
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
        for case in CASES * 2:
            try:
                await client.post(chat, json={**said, **case}, headers=good)
            except httpx.RemoteProtocolError:
                assert case["case"] in {"bad_chunk", "cut"}
        texts = [
            {"prompt": PROMPT, "model": "m"},
            {"model": PROMPT, "messages": PROMPT},
            {"model": "m", "messages": [PROMPT], "max_tokens": PROMPT},
        ]
        for body in texts:
            await client.post(f"{url}/v1/completions", json=body, headers=good)
        for content in (
            f'{{"model": "m", "{PROMPT}": '.encode(),
            b"[" * 9000 + PROMPT.encode(),
            PROMPT.encode() * 10_000,
        ):
            await client.post(chat, content=content, headers=good)
        await client.post(chat, json=said, headers=wrong)
        await client.post(chat, json=said)
        await client.get(f"{url}/nope?key={QUERY}", headers=good)
        await client.post(
            chat, json=said, headers={**good, "x-slo-ttft-ms": COOKIE}
        )  # fmt: skip
        await client.post(f"{url}/foretoken/mode", content=PROMPT, headers=wrong)
        await client.put(f"{url}/foretoken/mode", json={"mode": PROMPT}, headers=good)


async def raw(port: int) -> None:
    """Send what is no HTTP, and leave in the middle of a request."""
    for wire in (
        f"{PROMPT}\r\n\r\n",
        f"POST /v1/completions HTTP/1.1\r\n{COOKIE}\r\n\r\n",
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 900\r\n\r\n" + PROMPT,
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(wire.encode())
        await writer.drain()
        writer.close()


async def looked_at(url: str) -> Iterator[tuple[str, str]]:
    """Give every page that the service has of itself."""
    admin = {"authorization": f"Bearer {ADMIN}"}
    found = []
    async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False, headers=admin) as client:
        paths = (await client.get(f"{url}/foretoken/openapi.json")).json()["paths"]
        plain = [path for path, methods in paths.items() if "get" in methods and "{" not in path]
        recent = (await client.get(f"{url}/foretoken/decisions?limit=100")).json()
        ids = re.findall(r'"request_id": ?"([^"]+)"', json.dumps(recent))
        explained = [f"/foretoken/decisions/{each}" for each in ids]
        pages = ["/metrics", "/health", "/ready", "/v1/models", "/foretoken/", *plain, *explained]
        assert len(ids) > 10
        for path in pages:
            if path.endswith(("/events", "/stream", "/live")):
                continue  # without end; the same snapshots are at the other pages
            found.append((path, (await client.get(f"{url}{path}")).text))
    return iter(found)


def strings_of(folder: Path) -> str:
    """Give all text of recorded traces and stored models."""
    tables = [pq.read_table(path) for path in sorted(folder.rglob("*.parquet"))]
    assert sum(table.num_rows for table in tables) > 10
    stored = [path.read_text() for path in folder.rglob("*.json")]
    return "\n".join([json.dumps(table.to_pylist(), default=str) for table in tables] + stored)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Said:
    folder = tmp_path_factory.mktemp("secrets")
    texts: dict[str, str] = {}

    async def scenario() -> None:
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        with receiving() as collector, Running(folder) as running:
            async with EchoingEndpoint(OUTPUT) as one, EchoingEndpoint(OUTPUT) as two:
                path = config(folder, [one.port, two.port], collector.url)
                running.environment = {
                    "FORETOKEN_API_KEYS": f"team={CLIENT}",
                    "VLLM_KEY": ENDPOINT,
                    "COLUMNS": "300",
                }
                flags = ("--config", str(path), "--port", str(port))
                running.start("foretoken", "serve", *flags)
                await asyncio.to_thread(running.until, "foretoken", f"{url}/ready", '"down":[]')
                await provoke(url)
                await raw(port)
                (folder / "keys.toml").write_text(f"[{ADMIN}\n")
                await asyncio.to_thread(running.until_logged, "foretoken", "keys_not_reloaded")
                broken = path.read_text() + f'\n[[endpoints]]\nurl = "http://u:{OUTPUT}@h:1/v1"\n'
                path.write_text(broken)
                await asyncio.to_thread(
                    running.until_logged, "foretoken", "configuration_not_reloaded"
                )
                texts.update(await looked_at(url))
                running.start("checked", "check-config", str(path))
                await asyncio.to_thread(running.wait, "checked")
                await asyncio.to_thread(running.terminate, "foretoken")
                assert any(ENDPOINT.encode() in head for head in one.heads)
            texts["standard output and error"] = running.log("foretoken")
            texts["check-config"] = running.log("checked")
        texts["spans"] = repr(collector)
        texts["files"] = strings_of(folder / "data")

    asyncio.run(scenario())
    return Said(texts=texts)


def test_everything_was_said_that_there_is_to_say(said: Said) -> None:
    log = said.texts["standard output and error"]

    for event in (
        *("request_finished", "dispatch_failed", "keys_not_reloaded", "configuration_not_reloaded"),
        *("serving", "stopped"),
    ):
        assert f'"event": "{event}"' in log.replace('"event":"', '"event": "'), event
    assert '"traceback"' not in log
    assert "endpoints.2.url" in said.texts["check-config"]
    assert "foretoken_request_ttft_seconds" in said.texts["/metrics"]


def test_nobodys_secret_stands_in_any_of_it(said: Said) -> None:
    assert said.holds() == {}


@pytest.mark.parametrize(
    "url",
    [
        "http://me:{}@10.0.0.1:8000",
        "http://me:{}@10.0.0.1:8000/v1",
        "ftp://me:{}@10.0.0.1:8000",
        "http://me:{}@10.0.0.1:eighty",
        "rediss://:{}@10.0.0.1:6379/0",
        "http://{}@" + "long" * 30 + ":8000/v1",
    ],
)
def test_a_configuration_that_is_refused_does_not_repeat_its_passwords(
    tmp_path: Path, url: str
) -> None:
    path = tmp_path / "foretoken.toml"
    path.write_text(
        f'[[endpoints]]\nurl = "{url.format(OUTPUT)}"\n'
        f'api_key = "{ENDPOINT}"\n'
        f'[proxy.access]\nkeys = ["{CLIENT}"]\n'
    )

    told = CliRunner().invoke(app, ["check-config", str(path)], env={"COLUMNS": "300"})
    served = CliRunner().invoke(app, ["serve", "--config", str(path)])

    assert told.exit_code == 1
    assert "endpoints.0.url" in told.output
    assert ANY.search(told.output + told.stderr + served.output + str(served.exception)) is None
