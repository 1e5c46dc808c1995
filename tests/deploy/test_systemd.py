"""The unit for systemd starts what there is, as nobody, and gives it time to end."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer.testing

from foretoken.cli import app
from foretoken.settings import Settings

UNIT = Path(__file__).parents[2] / "deploy" / "foretoken.service"


def directives() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", UNIT.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_it_starts_a_command_that_there_is() -> None:
    (start,) = directives()["ExecStart"]
    command, *options = re.findall(r"(?:/bin/foretoken )(\w+)|(--[a-z-]+)", start)

    told = typer.testing.CliRunner().invoke(app, [command[0], "--help"], env={"COLUMNS": "200"})

    assert told.exit_code == 0
    assert [name for _, name in options if name not in told.output] == []


def test_it_runs_as_nobody_with_a_tree_it_cannot_write() -> None:
    told = directives()

    assert told["DynamicUser"] == told["NoNewPrivileges"] == told["ProtectHome"] == ["yes"]
    assert told["ProtectSystem"] == ["strict"]
    assert told["CapabilityBoundingSet"] == [""]
    assert told["StateDirectory"] == ["foretoken"]
    assert "--data-dir /var/lib/foretoken" in told["ExecStart"][0]


def test_it_has_the_time_to_finish_what_runs() -> None:
    assert int(directives()["TimeoutStopSec"][0]) >= Settings().proxy.shutdown_s + 10


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_it_and_finds_it_closed() -> None:
    verified = subprocess.run(
        ["systemd-analyze", "verify", UNIT], capture_output=True, text=True, check=False
    )
    complaints = [
        line
        for line in (verified.stdout + verified.stderr).splitlines()
        if "foretoken.service" in line and "is not executable" not in line  # not installed here
    ]
    exposed = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", UNIT],
        capture_output=True,
        text=True,
        check=False,
    )

    assert complaints == []
    assert exposed.returncode == 0, exposed.stdout[-300:]  # 2.0 of 10; without all this 9.6
