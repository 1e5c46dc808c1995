"""``status``, ``endpoints`` and ``explain`` against a real router, and against none."""

import http.server
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from foretoken.cli import run
from foretoken.control_client import ControlClient, base_of
from foretoken.errors import NotThere, ServerUnusable
from foretoken.processes import ALL_UP, free_ports
from tests.foretoken.running import PATIENCE_S, Running


def test_ctrl_c_ends_a_watch_without_a_word() -> None:
    asked = threading.Event()
    with answering(200, b"[]", asked) as url:
        command = [sys.executable, "-m", "foretoken", "endpoints", "--watch", "--url", url]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Whoever runs the tests in the background has it ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # the other thread only waits
        ) as watching:
            assert asked.wait(PATIENCE_S)
            watching.send_signal(signal.SIGINT)
            _, err = watching.communicate(timeout=PATIENCE_S)

    assert watching.returncode == 130
    assert err == b""


class Said:
    """Run commands and hold what they said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], url: str) -> None:
        self._capsys = capsys
        self._url = url

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        status = run([*arguments, "--url", self._url])
        captured = self._capsys.readouterr()
        return status, captured.out, captured.err

    def json(self, *arguments: str) -> Any:
        status, out, _ = self(*arguments, "--json")
        assert status in {0, 3}
        return json.loads(out)


def test_a_running_fleet_is_looked_at_and_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    endpoint_port, port, other_port = free_ports(3)
    name, url = f"127.0.0.1:{endpoint_port}", f"http://127.0.0.1:{port}"
    said = Said(capsys, url)
    with Running(tmp_path) as running:
        running.start_endpoint("endpoint", endpoint_port)
        running.start("router", "serve", "--port", str(port), "--endpoint", f"http://{name}")
        running.until("router", f"{url}/ready", ALL_UP)
        body = {"model": "llama-3.1-8b", "prompt": "hi", "max_tokens": 4}
        headers = {"x-request-id": "a/b c"}
        httpx.post(f"{url}/v1/completions", json=body, headers=headers).raise_for_status()

        _check_looking(said, name)
        _check_changing(said, name, f"127.0.0.1:{other_port}")


def _check_looking(said: Said, name: str) -> None:
    status, out, _ = said("status")
    assert status == 0
    assert "all is well, 1 of 1 endpoints up" in out
    assert said.json("status")["well"]

    status, out, _ = said("endpoints", "--prompt-tokens", "500")
    assert status == 0
    assert name in out
    assert "for 500 prompt tokens" in out
    assert said.json("endpoints")[0]["endpoint"] == name

    status, out, _ = said("explain")
    assert status == 0
    assert "a/b c" in out
    status, out, _ = said("explain", "a/b c", "--all")
    assert status == 0
    assert name in out
    assert "happened" in out
    assert said.json("explain", "a/b c")["request_id"] == "a/b c"

    status, out, err = said("explain", "nobody")
    assert (status, out) == (3, "")
    assert "'nobody'" in err


def _check_changing(said: Said, name: str, other: str) -> None:
    assert said("endpoints", "drain", name)[0] == 0
    status, out, _ = said("status")
    assert status == 3
    assert f"{name} is draining" in out
    assert said("endpoints", "undrain", name)[0] == 0
    assert said("endpoints", "drain", "127.0.0.1:1")[0] == 3
    assert said("endpoints", "add", f"http://{other}")[0] == 0
    assert said("endpoints", "add", f"http://{other}")[0] == 1
    assert said("status")[0] == 3
    assert said("endpoints", "remove", other)[0] == 0
    assert said("status")[0] == 0


def test_nobody_there_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    (port,) = free_ports(1)
    said = Said(capsys, f"http://127.0.0.1:{port}")

    for command in (["status"], ["endpoints"], ["explain"], ["explain", "x"]):
        status, out, err = said(*command)
        assert (status, out) == (1, "")
        assert err.count("\n") == 1
        assert "foretoken serve" in err


@contextmanager
def answering(status: int, body: bytes, asked: threading.Event | None = None) -> Iterator[str]:
    """Run a server that gives everybody the same answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)
            if asked is not None:
                asked.set()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"<html>", "is not Foretoken's control plane"),
        (404, b'{"detail": "Not Found"}', "is not Foretoken's control plane"),
        (401, b'{"error": {"message": "no"}}', "FORETOKEN_API_KEY"),
        (500, b'{"error": {"message": "internal error"}}', "internal error"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for_is_one_line(
    status: int, body: bytes, expected: str
) -> None:
    with (
        answering(status, body) as url,
        ControlClient(url) as client,
        pytest.raises(ServerUnusable, match=expected),
    ):
        client.get("endpoints")


def test_what_is_not_there_is_told_from_what_failed() -> None:
    body = b'{"error": {"message": "no such", "code": "decision_not_found"}}'

    with (
        answering(404, body) as url,
        ControlClient(url) as client,
        pytest.raises(NotThere, match="no such"),
    ):
        client.get("decisions", "x")


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("http://[::1]:8000/v1", "http://[::1]:8000"),
        ("https://r/foretoken/#x", "https://r"),
    ],
)
def test_a_url_is_taken_as_it_was_meant(said: str, meant: str) -> None:
    assert base_of(said) == meant
