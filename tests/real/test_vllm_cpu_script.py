"""``scripts/vllm_cpu.sh`` by itself, with shell scripts in place of Python and vLLM."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from foretoken.processes import free_ports
from foretoken.vllm_cpu import SCRIPT

FAKE_PYTHON = """#!/bin/sh
# Called as `python -m venv --clear DIR`: makes DIR/bin with a python and a vllm.
echo venv >>"$LOG"
rm -rf "$4"; mkdir -p "$4/bin"
cp "$FAKES/venv_python" "$4/bin/python"
cp "$FAKES/vllm" "$4/bin/vllm"
"""
FAKE_SERVER = """#!/bin/bash
# A server whose engine is a process of its own.
bash -c 'exec -a vllm-engine sleep 60' &
echo $! >"$FAKES/engine"
wait
"""
FAKE_VENV_PYTHON = """#!/bin/sh
# Called as `python -m pip install ...` and as `python -c 'print where packages go'`.
echo "$@" >>"$LOG"
if [ "$1" = -m ]; then exit "${PIP_STATUS:-0}"; fi
echo "$(dirname "$0")/../site"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    folder: Path

    def call(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        places = {
            "VLLM_VENV": str(self.folder / "venv"),
            "VLLM_WORK": str(self.folder / "work"),
            "VLLM_PYTHON": str(self.folder / "python"),
            "FAKES": str(self.folder),
            "LOG": str(self.folder / "calls"),
        }
        return subprocess.run(
            [str(SCRIPT), *arguments],
            env=os.environ | places | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def script(tmp_path: Path) -> Script:
    fakes = {
        "python": FAKE_PYTHON,
        "venv_python": FAKE_VENV_PYTHON,
        "vllm": "#!/bin/sh\necho a reason to die\n",
    }
    for name, text in fakes.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return Script(folder=tmp_path)


def start_fake(script: Script) -> subprocess.CompletedProcess[str]:
    script.call("install")
    model = script.folder / "work" / "tiny"
    model.mkdir()
    (model / "config.json").write_text("{}")
    return script.call("start", "a", str(free_ports(1)[0]), "tiny")


def until_written(path: Path) -> None:
    """Poll for another process's file; pytest's own timeout ends it."""
    while not path.exists() or not path.read_text():
        time.sleep(0.01)


def test_a_second_install_does_nothing(script: Script) -> None:
    first = script.call("install")
    done = script.calls()

    second = script.call("install")

    assert (first.returncode, second.returncode) == (0, 0)
    assert done[0] == "venv"
    assert script.calls() == done


def test_a_failed_install_is_named_and_built_from_nothing_the_next_time(script: Script) -> None:
    failed = script.call("install", PIP_STATUS="1")

    repaired = script.call("install")

    assert failed.returncode == 1
    assert "TORCH_INDEX_URL" in failed.stderr
    assert repaired.returncode == 0
    assert script.calls().count("venv") == 2


def test_an_index_for_torch_is_passed_on(script: Script) -> None:
    script.call("install", TORCH_INDEX_URL="https://index.invalid/cpu")

    assert any("--extra-index-url https://index.invalid/cpu" in call for call in script.calls())


def test_the_distribution_vllm_asks_for_has_metadata(script: Script) -> None:
    script.call("install")

    (metadata,) = (script.folder / "venv" / "site").glob("vllm-*+cpu.dist-info/METADATA")
    assert "Name: vllm\n" in metadata.read_text()


def test_a_missing_python_is_named(script: Script) -> None:
    result = script.call("install", VLLM_PYTHON="python3.11-of-nowhere")

    assert result.returncode == 1
    assert "python3.11-of-nowhere" in result.stderr


def test_waiting_for_a_server_that_died_fails_with_its_log(script: Script) -> None:
    started = start_fake(script)

    waited = script.call("wait", "a")

    assert started.returncode == 0
    assert waited.returncode == 1
    assert "a reason to die" in waited.stderr


def test_stopping_a_killed_server_ends_the_engine_it_left(script: Script) -> None:
    script.call("install")
    (script.folder / "venv" / "bin" / "vllm").write_text(FAKE_SERVER)
    start_fake(script)
    until_written(script.folder / "engine")
    os.kill(int((script.folder / "work" / "a.pid").read_text()), signal.SIGKILL)

    stopped = script.call("stop", "a")

    engine = Path("/proc", (script.folder / "engine").read_text().strip(), "cmdline")
    assert stopped.returncode == 0
    assert not engine.exists() or engine.read_text() == ""  # gone, or waits to be reaped


def test_stopping_what_does_not_run_is_no_error(script: Script) -> None:
    assert script.call("stop", "nobody").returncode == 0


@pytest.mark.parametrize("arguments", [[], ["start", "a"], ["wait"], ["dance"]])
def test_a_wrong_call_shows_how_it_is_called(script: Script, arguments: list[str]) -> None:
    result = script.call(*arguments)

    assert result.returncode == 2
    assert "vllm_cpu.sh start NAME PORT MODEL" in result.stderr
