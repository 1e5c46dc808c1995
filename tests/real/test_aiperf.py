"""The proxy in front of two real vLLM servers, under aiperf: a load generator nobody here wrote."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from foretoken.vllm_cpu import ROOT, WORK
from tests.real.metrics_page import sample

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]  # the first one may install vLLM

REQUESTS = 40
OUTPUT_TOKENS = 24
PATIENCE_S = 120.0
"""Ten times what a run takes; most of that is the start of its eight processes."""


@pytest.fixture(scope="module")
def aiperf() -> Path:
    """Give aiperf's command, installed where it is missing."""
    installed = subprocess.run(
        [ROOT / "scripts" / "aiperf.sh"], check=True, stdout=subprocess.PIPE, text=True
    )
    return Path(installed.stdout.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What aiperf says of its streams, and by how much the proxy's own counts grew meanwhile."""

    report: dict[str, Any]  # Any: a foreign file, as is the next
    scraped: dict[str, Any]
    completed: float
    ended: float


@pytest.fixture(scope="module", params=["chat", "completions"])
def run(
    request: pytest.FixtureRequest,
    aiperf: Path,
    proxy: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    folder = tmp_path_factory.mktemp("aiperf")
    completed, ended = counts(proxy)
    send_streams(aiperf, proxy, request.param, folder)
    now_completed, now_ended = counts(proxy)
    return Run(
        report=json.loads((folder / "profile_export_aiperf.json").read_text()),
        scraped=json.loads((folder / "server_metrics_export.json").read_text()),
        completed=now_completed - completed,
        ended=now_ended - ended,
    )


def counts(proxy: str) -> tuple[float, float]:
    """Give how many requests the proxy says were completed, and ended in any way."""
    name = "foretoken_requests_total"
    return sample(proxy, name, outcome="completed"), sample(proxy, name)


def send_streams(aiperf: Path, proxy: str, kind: str, folder: Path) -> None:
    """Send streams of one kind, eight at a time; ``folder`` gets aiperf's reports.

    A tokenizer named by a path is looked for nowhere else, so no model hub is asked.
    """
    subprocess.run(
        [
            *(aiperf, "profile", "--url", proxy, "--model", "tiny", "--endpoint-type", kind),
            *("--streaming", "--concurrency", "8", "--request-count", str(REQUESTS)),
            *("--isl", "200", "--osl", str(OUTPUT_TOKENS), "--extra-inputs", "ignore_eos:true"),
            *("--tokenizer", WORK / "tiny", "--use-server-token-count"),
            *("--workers-max", "1", "--record-processors", "1"),
            *("--ui", "none", "--no-gpu-telemetry", "--artifact-dir", folder),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S,
        env=os.environ | {"HF_HOME": str(folder / "hub")},
    )


def test_aiperf_completes_every_stream_through_the_proxy(run: Run) -> None:
    report = run.report

    assert (report["is_complete"], report["was_cancelled"]) == (True, False)
    assert (report["error_summary"], report.get("error_request_count")) == ([], None)
    assert report["request_count"]["avg"] == REQUESTS
    assert report["total_output_tokens"]["avg"] == REQUESTS * OUTPUT_TOKENS


def test_aiperf_sees_first_tokens_and_gaps_of_every_stream(run: Run) -> None:
    first_tokens, gaps = run.report["time_to_first_token"], run.report["inter_token_latency"]

    assert (first_tokens["count"], gaps["count"]) == (REQUESTS, REQUESTS)
    assert first_tokens["min"] > 0
    # Not of each: vLLM on CPU writes some streams in one piece, with nothing before it as well.
    assert gaps["avg"] > 0


def test_the_proxy_counts_the_requests_that_aiperf_counts(run: Run) -> None:
    assert (run.completed, run.ended) == (REQUESTS, REQUESTS)


def test_aiperf_reads_our_metrics_page(run: Run, proxy: str) -> None:
    assert run.scraped["summary"]["endpoints_successful"] == [f"{proxy}/metrics"]
    assert "foretoken_requests" in run.scraped["metrics"]
