"""Several workers as people run them: real processes, real sockets, simulated endpoints.

Starting them costs several seconds of CPU, so the tests share them, in whatever order, and each
leaves them as it found them; where one has ended them, the next one starts them.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from collectors.trace_files import UNFINISHED
from foretoken.processes import free_ports
from tests.foretoken.running import AGAIN_S, PATIENCE_S, Running, asking, may_be_batch

MODEL = "llama-3.1-8b"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "tell me"}], "max_tokens": 8}
LONG = {**ASK, "max_tokens": 400, "stream": True}
SERVING = re.compile(r'foretoken_worker_up\{worker="0"\} 1.0\n.*\{worker="1"\} 1.0')


class Service(NamedTuple):
    running: Running
    url: str
    folder: Path

    def start(self) -> None:
        config = str(self.folder / "foretoken.toml")
        self.running.start("foretoken", "serve", "--config", config, "--log-format", "json")
        self.running.until_logged("foretoken", '"event": "serving"')
        self.running.until("foretoken", f"{self.url}/metrics", SERVING)

    def workers(self) -> list[int]:
        """Give the process ids of those that serve, by number."""
        pids: list[int] = []
        for line in self.running.log("foretoken").splitlines():
            record = json.loads(line)
            if record["event"] == "worker_started":
                number = int(record["worker"])
                pids[number : number + 1] = [int(record["pid"])]
        return pids

    def get(self, path: str) -> httpx.Response:
        """Ask either worker: every request has a connection of its own."""
        with asking(self.url) as client:
            return client.get(path)

    def deaths(self) -> int:
        return self.running.log("foretoken").count('"event": "worker_died"')

    def metric(self, name: str) -> dict[str, float]:
        """Give a family's samples by their labels."""
        page = self.get("/metrics").text
        found = re.findall(rf"^{name}(\{{.*\}})? (\S+)$", page, re.MULTILINE)
        return {labels: float(value) for labels, value in found}


@contextmanager
def started(folder: Path, settings: str, endpoints: dict[str, int]) -> Iterator[Service]:
    """Give two workers that serve, whichever of their endpoints do."""
    (port,) = free_ports(1)
    config = folder / "foretoken.toml"
    urls = [f'[[endpoints]]\nurl = "http://127.0.0.1:{each}"\n' for each in endpoints.values()]
    config.write_text(f"workers = 2\n{settings}[proxy]\nport = {port}\n{''.join(urls)}")
    with Running(folder) as running:
        for name, its in endpoints.items():
            running.start_endpoint(name, its)
        service = Service(running, f"http://127.0.0.1:{port}", folder)
        service.start()
        yield service
        for pid in service.workers():  # they end with their parent; a test must not leave one
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two simulated endpoints and two workers in front of them."""
    folder = tmp_path_factory.mktemp("workers")
    one, two = free_ports(2)
    settings = f'data_dir = "{folder / "data"}"\n'
    with started(folder, settings, {"one": one, "two": two}) as service:
        yield service


@pytest.fixture
def service(shared: Service) -> Service:
    """Give them ready."""
    if not shared.running.runs("foretoken"):
        shared.start()
    shared.running.until("foretoken", f"{shared.url}/ready", '"down":[]')
    return shared


def ask_each_on_its_own_connection(url: str, count: int) -> list[httpx.Response]:
    """Ask at the same time, so that connections go to both workers."""

    async def scenario() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as c:
            asked = [c.post(f"{url}/v1/chat/completions", json=ASK) for _ in range(count)]
            return await asyncio.gather(*asked)

    return asyncio.run(scenario())


@pytest.mark.skipif(not may_be_batch(), reason="no SCHED_BATCH here")
def test_workers_wait_for_their_turn_where_no_core_is_free(service: Service) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:  # the leader does not while the trainer works
        policies = {os.sched_getscheduler(pid) for pid in service.workers()}
        if policies == {os.SCHED_BATCH}:
            break
        time.sleep(AGAIN_S)

    assert policies == {os.SCHED_BATCH}


def test_whichever_worker_is_asked_answers_for_all(service: Service) -> None:
    before = sum(service.metric("foretoken_requests_total").values())
    answers = ask_each_on_its_own_connection(service.url, 12)
    ids = {answer.headers["x-request-id"] for answer in answers}
    explained = {service.get(f"/foretoken/decisions/{each}").json()["request_id"] for each in ids}
    listed = [
        {one["request_id"] for one in service.get("/foretoken/decisions?limit=12").json()}
        for _ in range(4)
    ]
    counted = [sum(service.metric("foretoken_requests_total").values()) for _ in range(4)]
    scraped = service.metric("foretoken_scrapes_total")
    with asking(service.url) as client, client.stream("GET", "/foretoken/events") as events:
        first = next(line for line in events.iter_lines() if line.startswith("data: "))

    assert [answer.status_code for answer in answers] == [200] * 12
    assert explained == ids
    assert listed == [ids] * 4
    assert counted == [before + 12.0] * 4
    assert service.get("/foretoken/decisions/never").status_code == 404
    shown = json.loads(first[6:])
    assert {one["request_id"] for one in shown["decisions"][:12]} == ids
    assert shown["requests"] == before + 12.0
    assert len(shown["points"]) >= 12
    assert shown["endpoints"][0]["typical_ttft_s"] > 0
    assert len(scraped) == 2
    assert service.metric("foretoken_worker_leads") in (
        {'{worker="0"}': 1.0, '{worker="1"}': 0.0},
        {'{worker="0"}': 0.0, '{worker="1"}': 1.0},
    )


def test_a_change_at_one_worker_holds_for_all_and_for_those_that_come(service: Service) -> None:
    drained = service.get("/foretoken/endpoints").json()[0]["endpoint"]

    def states() -> set[tuple[str, bool]]:
        return {
            (
                service.get("/foretoken/mode").json()["mode"],
                next(
                    one["draining"]
                    for one in service.get("/foretoken/endpoints").json()
                    if one["endpoint"] == drained
                ),
            )
            for _ in range(8)
        }

    with asking(service.url) as client:
        changes = [
            client.put("/foretoken/mode", json={"mode": "shadow"}),
            client.post(f"/foretoken/endpoints/{drained}/drain"),
        ]
        refused = client.put("/foretoken/mode", json={"mode": "absent"})
        before = states()
        restarts = service.metric("foretoken_worker_restarts_total")['{worker="0"}']
        os.kill(service.workers()[0], signal.SIGKILL)
        again = f'restarts_total{{worker="0"}} {restarts + 1.0}'
        service.running.until("foretoken", f"{service.url}/metrics", again)
        service.running.until("foretoken", f"{service.url}/metrics", SERVING)
        service.running.until_logged("foretoken", '"event": "change_taken_over"')
        after = states()
        served = {
            answer.headers["x-foretoken-endpoint"]
            for answer in ask_each_on_its_own_connection(service.url, 8)
        }
        client.put("/foretoken/mode", json={"mode": "predicted"}).raise_for_status()
        client.post(f"/foretoken/endpoints/{drained}/undrain").raise_for_status()

    assert [change.status_code for change in changes] == [200, 200]
    assert refused.status_code == 422
    assert before == after == {("shadow", True)}
    assert drained not in served


def test_a_killed_worker_costs_its_own_connections_and_leaves_no_booking(service: Service) -> None:
    async def stream(client: httpx.AsyncClient, begun: asyncio.Semaphore) -> str:
        url, text = f"{service.url}/v1/chat/completions", ""
        try:
            async with client.stream("POST", url, json=LONG) as got:
                async for part in got.aiter_text():
                    if not text:
                        begun.release()
                    text += part
        except httpx.TransportError:
            return "cut"
        return "whole" if "[DONE]" in text else "cut"

    def inflight() -> float:
        return sum(service.metric("foretoken_inflight_requests").values())

    async def scenario() -> list[str]:
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as c:
            begun = asyncio.Semaphore(0)
            tasks = [asyncio.create_task(stream(c, begun)) for _ in range(8)]
            for _ in tasks:
                await begun.acquire()
            os.kill(service.workers()[0], signal.SIGKILL)
            return await asyncio.gather(*tasks)

    died_before = service.deaths()
    ends = asyncio.run(scenario())
    left = inflight()
    after = ask_each_on_its_own_connection(service.url, 8)
    service.running.until("foretoken", f"{service.url}/metrics", SERVING)
    again = ask_each_on_its_own_connection(service.url, 8)

    assert set(ends) == {"cut", "whole"}  # each worker had some, four where neither was busy
    assert left == 0
    assert [answer.status_code for answer in (*after, *again)] == [200] * 16
    assert service.deaths() == died_before + 1


def test_sigterm_lets_all_workers_finish_and_ends_with_0(service: Service) -> None:
    async def stream(client: httpx.AsyncClient, begun: asyncio.Event) -> bool:
        text = ""
        async with client.stream("POST", f"{service.url}/v1/chat/completions", json=LONG) as got:
            async for part in got.aiter_text():
                text += part
                begun.set()
        return "[DONE]" in text

    async def scenario() -> tuple[list[bool], int]:
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as c:
            begun = [asyncio.Event() for _ in range(6)]
            tasks = [asyncio.create_task(stream(c, each)) for each in begun]
            await asyncio.gather(*(each.wait() for each in begun))
            code = asyncio.to_thread(service.running.terminate, "foretoken")
            return await asyncio.gather(*tasks), await code

    traces = service.folder / "data" / "traces"
    before = set(traces.glob("*.parquet"))
    whole, code = asyncio.run(scenario())
    finished = set(traces.glob("*.parquet")) - before
    unfinished = list(traces.glob(UNFINISHED))

    assert whole == [True] * 6
    assert code == 0
    assert {file.stem.rpartition("-")[2] for file in finished} == {"w0", "w1"}
    assert len(unfinished) <= service.deaths()  # by those that were killed before
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service.url}/health")


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    settings = '[trainer]\nenabled = false\n[[endpoints]]\nurl = "http://127.0.0.1:9"\n'
    with started(tmp_path, settings, {}) as service:
        pids = service.workers()

        service.running.kill("foretoken")

        for pid in pids:  # until it is gone, or nobody's to wait for
            subprocess.run(["tail", f"--pid={pid}", "-f", "/dev/null"], check=True, timeout=60)


def test_a_service_that_cannot_start_says_what_is_wrong_and_ends(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    (tmp_path / "tokenizer.json").write_text("not one")
    config = tmp_path / "foretoken.toml"
    config.write_text(
        f'workers = 2\n[proxy]\nhost = "0.0.0.0"\nport = {port}\n[[endpoints]]\nurl = "http://127.0.0.1:9"\n'
        f'[tokens.files]\nm = "{tmp_path / "tokenizer.json"}"\n'
    )

    with Running(tmp_path) as running:
        running.start("foretoken", "serve", "--config", str(config), "--log-format", "json")
        code = running.wait("foretoken")
        log = running.log("foretoken")

    assert code == 1
    assert '"event": "open_to_the_network"' in log
    assert '"event": "worker_cannot_start"' in log
