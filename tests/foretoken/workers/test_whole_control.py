"""What clients can ask of all workers at once."""

import asyncio
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from foretoken.workers.asking import METRICS, SNAPSHOT, Asking
from foretoken.workers.bus import Bus
from foretoken.workers.whole import Changes, WholeControl

NOT_FOUND = b'{"error": {}}'


class Alone:
    """The only worker there is."""

    others = ()
    leader = None


async def control(scope: Scope, receive: Receive, send: Send) -> None:
    """Know two lists, nothing else."""
    known = scope["method"] == "GET" and scope["path"] == "/foretoken/decisions"
    status, body = (200, b"[]") if known else (404, NOT_FOUND)
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


def ask(folder: Path, method: str, path: str) -> tuple[httpx.Response, Changes]:
    """Ask the control plane of all workers, of whom there is one."""

    async def scenario() -> httpx.Response:
        asking = Asking(Bus(folder, worker=0, workers=1, fresh=False))
        asking.serve(control, {METRICS: lambda _: b"page", SNAPSHOT: lambda _: b"snapshot"})
        whole = WholeControl(
            control,
            asking=asking,
            crew=Alone(),
            changes=changes,
            extra_page=lambda _, __: b"",
            closing=asyncio.Event(),
            interval_s=1.0,
            most_body_bytes=1000,
            most_pages=1,
        )
        transport = httpx.ASGITransport(whole)
        async with httpx.AsyncClient(transport=transport, base_url="http://router") as client:
            return await client.request(method, path)

    changes = Changes()
    return asyncio.run(scenario()), changes


@pytest.mark.parametrize("name", [METRICS, SNAPSHOT, "snapshot", "metrics"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_what_workers_ask_each_other_is_no_path_of_clients(
    method: str, name: str, tmp_path: Path
) -> None:
    answer, changes = ask(tmp_path, method, f"/foretoken/{name}")

    assert (answer.status_code, answer.content) == (404, NOT_FOUND)
    assert changes.all() == []


@pytest.mark.parametrize("query", ["limit=abc&limit=5", "limit=5&x=%ff", "limit="])
def test_of_several_limits_the_last_counts_as_it_does_for_one_worker(
    query: str, tmp_path: Path
) -> None:
    answer, _ = ask(tmp_path, "GET", f"/foretoken/decisions?{query}")

    assert (answer.status_code, answer.content) == (200, b"[]")
