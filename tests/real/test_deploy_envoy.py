"""Envoy as the Kubernetes overlay has it: it goes where the picker says, and nowhere else."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from foretoken.processes import free_ports
from tests.foretoken.running import PATIENCE_S, Running
from tests.real.envoy import ROOT, binary

pytestmark = pytest.mark.real
CONFIG = ROOT / "deploy" / "kubernetes" / "overlays" / "envoy" / "envoy.yaml"
ASK = {
    "model": "llama-3.1-8b",
    "messages": [{"role": "user", "content": "say"}],
    "max_tokens": 5,
}
DESTINATION = "x-gateway-destination-endpoint"


def test_envoy_accepts_the_configuration_of_the_overlay() -> None:
    checked = subprocess.run(
        [binary(), "--mode", "validate", "-c", CONFIG], capture_output=True, check=False
    )

    assert checked.returncode == 0, checked.stderr.decode()


@contextmanager
def envoy(folder: Path, port: int, picker_port: int, admin: int) -> Iterator[str]:
    text = CONFIG.read_text()
    for told, wanted in ((8080, port), (9002, picker_port), (9901, admin)):
        assert text.count(f"port_value: {told}") == 1
        text = text.replace(f"port_value: {told}", f"port_value: {wanted}")
    path = folder / "envoy.yaml"
    path.write_text(text)
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            [binary(), "-c", path, "--disable-hot-restart", "--concurrency", "1", "-l", "warning"],
            stdout=log,
            stderr=log,
        )
        try:
            _until_ready(f"http://127.0.0.1:{admin}/ready")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def test_a_request_goes_where_the_picker_says_and_without_one_nowhere(tmp_path: Path) -> None:
    one, stranger, port, picker_port, admin, control = free_ports(6)
    with Running(tmp_path) as running, envoy(tmp_path, port, picker_port, admin) as url:
        running.start_endpoint("one", one)
        running.start_endpoint("stranger", stranger)  # not of the fleet
        running.start(
            *("picker", "picker", "--endpoint", f"http://127.0.0.1:{one}"),
            *("--grpc-port", str(picker_port), "--port", str(control)),
        )
        running.until("picker", f"http://127.0.0.1:{control}/ready", '"down":[]')
        chat = f"{url}/v1/chat/completions"

        plain = _until_answered(chat)
        led_astray = httpx.post(
            chat, json=ASK, headers={DESTINATION: f"127.0.0.1:{stranger}"}, timeout=PATIENCE_S
        )
        asked = httpx.get(f"http://127.0.0.1:{stranger}/metrics").text
        running.kill("picker")
        alone = httpx.post(
            chat, json=ASK, headers={DESTINATION: f"127.0.0.1:{stranger}"}, timeout=PATIENCE_S
        )
        asked_since = httpx.get(f"http://127.0.0.1:{stranger}/metrics").text

    assert plain.headers["x-foretoken-endpoint"] == f"127.0.0.1:{one}"
    assert led_astray.status_code == 200
    assert led_astray.headers["x-foretoken-endpoint"] == f"127.0.0.1:{one}"
    assert alone.status_code in {500, 503}
    assert _served(asked) == _served(asked_since) == 0


def _served(page: str) -> float:
    lines = [line for line in page.splitlines() if line.startswith("vllm:request_success_total")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def _until_ready(url: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise AssertionError(f"{url} was never ready")


def _until_answered(url: str) -> httpx.Response:
    """Ask until Envoy has found the picker."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        answer = httpx.post(url, json=ASK, timeout=PATIENCE_S)
        if answer.status_code == 200:
            return answer
        time.sleep(0.1)
    raise AssertionError(answer.text)
