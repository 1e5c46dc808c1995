"""Several workers and one source of discovery: real processes, one of which dies."""

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from foretoken.processes import free_ports
from tests.foretoken.running import Running, asking

WITHIN_S = 30.0


def found(running: Running, count: int) -> int:
    """Count how often workers took in that so many endpoints were found."""
    records = map(json.loads, running.log("foretoken").splitlines())
    return sum(
        record["event"] == "endpoints_found" and record["count"] == count for record in records
    )


def until_found(running: Running, count: int, times: int) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while found(running, count) < times:
        assert time.monotonic() < deadline_s, running.log("foretoken")[-3000:]
        time.sleep(0.1)


def put(path: Path, ports: list[int]) -> None:
    other = path.with_suffix(".new")
    other.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}" for port in ports]}]))
    other.replace(path)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with Running(tmp_path) as started:
        yield started
        for line in started.log("foretoken").splitlines():
            record = json.loads(line)
            if record["event"] == "worker_started":
                with suppress(ProcessLookupError):
                    os.kill(int(record["pid"]), signal.SIGKILL)


def test_all_workers_learn_what_the_one_that_leads_finds_and_so_does_its_heir(
    running: Running, tmp_path: Path
) -> None:
    one, two, port = free_ports(3)
    fleet, config = tmp_path / "fleet.json", tmp_path / "foretoken.toml"
    put(fleet, [])
    config.write_text(
        f"workers = 2\n[proxy]\nport = {port}\n[trainer]\nenabled = false\n"
        f'[[discovery]]\nkind = "file"\nfiles = ["{fleet}"]\ninterval_s = 0.1\n'
    )
    running.start_endpoint("one", one)
    running.start_endpoint("two", two)
    running.start("foretoken", "serve", "--config", str(config), "--log-format", "json")
    url = f"http://127.0.0.1:{port}"
    running.until_logged("foretoken", '"event": "serving"')
    with asking(url) as client:
        empty = client.get("/ready").status_code

        put(fleet, [one, two])
        until_found(running, 2, times=2)
        running.until("foretoken", f"{url}/ready", '"down":[]')
        page = client.get("/metrics").text
        (leader,) = re.findall(r'foretoken_worker_leads\{worker="(\d)"\} 1\.0', page)
        records = map(json.loads, running.log("foretoken").splitlines())
        (pid,) = [
            int(record["pid"])
            for record in records
            if record["event"] == "worker_started" and str(record["worker"]) == leader
        ]
        os.kill(pid, signal.SIGKILL)
        put(fleet, [two])
        until_found(running, 1, times=2)
        left = [row["endpoint"] for row in client.get("/foretoken/endpoints").json()]

    assert empty == 503
    assert 'foretoken_discovery_endpoints{source="file"} 2.0' in page
    assert left == [f"127.0.0.1:{two}"]
