"""The control plane of a worker among others: its gate, and changes that others take or not."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from foretoken.build import Built, build
from foretoken.settings import Settings
from foretoken.workers.bus import Bus
from foretoken.workers.member import Member
from foretoken.workers.messages import Answered, Asked, Journal, Message
from foretoken.workers.table import SharedTable

ADMIN = "sk-admin-0123456789"
ENDPOINT = "127.0.0.1:9"
DRAIN = f"/foretoken/endpoints/{ENDPOINT}/drain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One of two workers; the other one is a test's."""

    built: Built
    member: Member

    async def call(self, method: str, path: str, **given: object) -> httpx.Response:
        """Ask from another machine."""
        transport = httpx.ASGITransport(self.built.app, client=("10.1.2.3", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://router") as client:
            return await client.request(method, path, **given)  # type: ignore[arg-type]  # as given

    def drained(self) -> bool:
        """Say whether the endpoint is known and drained."""
        state = self.built.service.scheduler.states.get(ENDPOINT)
        return state is not None and state.draining


class Other:
    """Answer as the other worker, always with one status."""

    def __init__(self, folder: Path, status: int) -> None:
        self.bus = Bus(folder, worker=1, workers=2, fresh=False)
        self.status = status
        self.asked: list[Asked] = []

    def heard(self, worker: int, message: Message) -> None:
        if isinstance(message, Asked):
            self.asked.append(message)
            self.bus.tell_one(worker, Answered(message.number, self.status, [], b""))

    def joined(self, worker: int, *, fresh: bool) -> None:
        pass

    def lost(self, worker: int) -> None:
        pass


def play(folder: Path, scenario: Callable[[Worker], Awaitable[None]]) -> None:
    """Run one worker of two that has just begun; the other one leads and says nothing."""
    keys = folder / "keys.toml"
    keys.write_text(f'[admin]\nkey = "{ADMIN}"\nadmin = true\n')
    settings = Settings.model_validate(
        {
            "workers": 2,
            "trainer": {"enabled": False},
            "endpoints": [{"url": f"http://{ENDPOINT}"}],
            "proxy": {"host": "192.0.2.1", "access": {"keys_file": str(keys)}},
        }
    )
    shared = SharedTable.create(2)
    SharedTable(shared.descriptor, workers=2, worker=1).join(0.5)

    async def run() -> None:
        table = SharedTable(shared.descriptor, workers=2, worker=0)
        bus = Bus(folder, worker=0, workers=2, fresh=True)
        member = Member(worker=0, table=table, bus=bus, clock=lambda: 1.0)
        built = build(settings, member=member)
        built.service.scraper.looked.set()  # nobody will tell it of endpoints
        async with asyncio.timeout(30), built.service.running():
            await until((folder / "0.sock").exists)
            await asyncio.sleep(0)  # one that is cancelled while it begins to listen leaks
            await scenario(Worker(built=built, member=member))

    asyncio.run(run())


async def until(true: Callable[[], object]) -> None:
    while not true():
        await asyncio.sleep(0)


def test_nothing_is_shown_to_other_machines_but_to_admins(tmp_path: Path) -> None:
    found: list[int] = []

    async def scenario(worker: Worker) -> None:
        paths = ("events", "endpoints", "decisions", "models", "mode")
        found.extend(
            [(await worker.call("GET", f"/foretoken/{path}")).status_code for path in paths]
        )
        admin = {"authorization": f"Bearer {ADMIN}"}
        found.append((await worker.call("GET", "/foretoken/endpoints", headers=admin)).status_code)

    play(tmp_path, scenario)

    assert found == [401] * 5 + [200]


def test_a_limit_is_of_decisions_alone(tmp_path: Path) -> None:
    found: list[int] = []

    async def scenario(worker: Worker) -> None:
        admin = {"authorization": f"Bearer {ADMIN}"}
        for path in ("endpoints", "routers", "decisions"):
            answer = await worker.call("GET", f"/foretoken/{path}?limit=all", headers=admin)
            found.append(answer.status_code)

    play(tmp_path, scenario)

    assert found == [200, 200, 422]


def test_a_worker_that_begins_takes_drains_over_before_it_is_told_of_endpoints(
    tmp_path: Path,
) -> None:
    async def scenario(worker: Worker) -> None:
        worker.member.heard(1, Journal([Asked(0, "POST", DRAIN)]))
        await until(worker.drained)

    play(tmp_path, scenario)


def test_a_change_is_passed_on_without_the_key_it_was_let_in_by(tmp_path: Path) -> None:
    other = Other(tmp_path, 200)
    statuses: list[int] = []

    async def scenario(worker: Worker) -> None:
        task = asyncio.create_task(other.bus.run(other))
        await until(lambda: worker.member.others)
        headers = {"authorization": f"Bearer {ADMIN}"}
        put = await worker.call("PUT", "/foretoken/mode", json={"mode": "shadow"}, headers=headers)
        statuses.append(put.status_code)
        task.cancel()

    play(tmp_path, scenario)

    (change,) = (each for each in other.asked if each.method == "PUT")
    assert statuses == [200]
    assert json.loads(change.body) == {"mode": "shadow"}
    assert (change.client, change.headers) == (None, [(b"content-type", b"application/json")])


def test_a_change_that_another_worker_refuses_is_not_reported_as_done(tmp_path: Path) -> None:
    other = Other(tmp_path, 404)
    answers: list[httpx.Response] = []

    async def scenario(worker: Worker) -> None:
        task = asyncio.create_task(other.bus.run(other))
        await until(lambda: worker.member.others)
        headers = {"authorization": f"Bearer {ADMIN}"}
        answers.append(await worker.call("POST", DRAIN, headers=headers))
        answers.append(
            await worker.call("DELETE", f"/foretoken/endpoints/{ENDPOINT}", headers=headers)
        )
        task.cancel()

    play(tmp_path, scenario)

    refused, removed = answers
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "workers_differ"
    assert "worker 1: status 404" in refused.json()["error"]["message"]
    assert removed.status_code == 204  # it is gone everywhere
