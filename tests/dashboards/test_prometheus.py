"""A real Prometheus scrapes a real router, keeps its traces, and fires an alert."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboards import prometheus
from dashboards.recording import RECORDINGS
from foretoken.processes import free_ports
from tests.foretoken.running import PATIENCE_S, Running, asking

pytestmark = [
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
    pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed"),
    pytest.mark.timeout(300),
]

TRACE = "0af7651916cd43dd8448eb211c80319c"
# Rates look back over minutes; a test has seconds.
ONE_SECOND = {"scrape_interval": "1s", "evaluation_interval": "1s"}


class Prometheus:
    """Ask a Prometheus that runs."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.url = url
        self._process = process
        self._log = log

    def until(self, path: str, **query: str) -> list[Any]:
        """Ask again and again until the answer is not empty."""
        deadline_s = time.monotonic() + 2 * PATIENCE_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            found = self._ask(path, query)
            if found:
                return found
            time.sleep(0.2)
        raise AssertionError(f"{path} {query} stayed empty:\n{self._log.read_text()[-3000:]}")

    def _ask(self, path: str, query: dict[str, str]) -> list[Any]:
        try:
            with asking(self.url) as client:
                answer = client.get(f"/api/v1/{path}", params=query)
        except httpx.TransportError:
            return []
        if answer.status_code != 200:  # it replays its log yet
            return []
        data = answer.json()["data"]
        return list(data["result"] if isinstance(data, dict) else data)


@contextmanager
def prometheus_of(folder: Path, router: str) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes a router every second, with our rules, but hasty."""
    rules = folder / "rules"
    rules.mkdir()
    for name in ("recording.yml", "alerts.yml"):
        text = (prometheus() / name).read_text()
        (rules / name).write_text(text.replace('for: "1m"', 'for: "1s"'))
    config = {
        "global": ONE_SECOND,
        "rule_files": [f"{rules}/*.yml"],
        "scrape_configs": [{"job_name": "foretoken", "static_configs": [{"targets": [router]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    (port,) = free_ports(1)
    listens = f"127.0.0.1:{port}"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={listens}",
        "--enable-feature=exemplar-storage",
    ]
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield Prometheus(f"http://{listens}", process, log)
    finally:
        process.kill()
        process.wait()


def ask(router: str, number: int) -> None:
    """Put a streamed request of a trace."""
    body = {
        "model": "llama-3.1-8b",
        "messages": [{"role": "user", "content": f"tell me of {number}"}],
        "max_tokens": 4,
        "stream": True,
    }
    headers = {
        "traceparent": f"00-{TRACE}-b7ad6b7169203331-01",
        "x-slo-ttft-ms": "5000",
    }
    with asking(f"http://{router}") as client:
        client.post("/v1/chat/completions", json=body, headers=headers).raise_for_status()


def test_workers_that_lost_an_endpoint_make_an_alert_fire(tmp_path: Path) -> None:
    one, two, port = free_ports(3)
    router, lost = f"127.0.0.1:{port}", f"127.0.0.1:{two}"
    with Running(tmp_path) as running:
        running.start_endpoint("one", one)
        running.start_endpoint("two", two)
        urls = [part for at in (one, two) for part in ("--endpoint", f"http://127.0.0.1:{at}")]
        running.start("router", "serve", "--workers", "2", "--port", str(port), *urls)
        running.until("router", f"http://{router}/ready", '"down":[]')
        with prometheus_of(tmp_path, router) as server:
            server.until("query", query='foretoken_endpoint_up{job="foretoken"} == 1')
            for number in range(30):
                ask(router, number)
                time.sleep(0.1)  # growth shows between two scrapes only

            recorded = [server.until("query", query=one.name) for one in RECORDINGS]
            traces = server.until(
                "query_exemplars",
                query="foretoken_request_ttft_seconds_bucket",
                start=str(time.time() - 600),
                end=str(time.time() + 60),
            )
            running.kill("two")
            ((firing),) = server.until(
                "query", query='ALERTS{alertname="ForetokenEndpointDown",alertstate="firing"}'
            )

    assert all(recorded)
    assert {each["labels"]["trace_id"] for one in traces for each in one["exemplars"]} == {TRACE}
    assert firing["metric"]["endpoint"] == lost
    assert firing["metric"]["severity"] == "ticket"


@pytest.mark.parametrize("name", ["alerts.yml", "recording.yml"])
def test_prometheus_accepts_every_rule(name: str) -> None:
    checked = subprocess.run(
        ["promtool", "check", "rules", str(prometheus() / name)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr
    assert "SUCCESS" in checked.stdout
