"""The command line: it explains itself, and errors are one line that says what to do."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from foretoken.cli import app, run
from foretoken.cli_names import (
    POLICY_NAMES,
    complete_fleet,
    complete_policy,
    complete_profile,
    complete_workload,
)
from foretoken.errors import CannotListen, ConfigurationInvalid, FolderNotWritable, ForetokenError
from foretoken.kind import kind
from scheduler import POLICIES

runner = CliRunner()
ENDPOINT = ("--endpoint", "http://127.0.0.1:1")
ROOT = Path(__file__).parents[2]


# Any: typer keeps its own copy of click's classes to itself.
def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = dict(commands(typer.main.get_command(app)))


def examples(command: Any) -> list[list[str]]:
    _, _, after = (command.help or "").partition("Example:")
    lines = (line.split(">")[0].split() for line in after.splitlines())
    return [words for words in lines if words]


def refused(*arguments: str) -> ForetokenError:
    result = runner.invoke(app, list(arguments))
    assert isinstance(result.exception, ForetokenError), result.output
    assert "\n" not in str(result.exception)
    return result.exception


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "foretoken")
def test_every_command_explains_itself_with_an_example(path: tuple[str, ...]) -> None:
    result = runner.invoke(app, [*path, "--help"], env={"COLUMNS": "80"})

    assert result.exit_code == 0
    assert "Usage" in result.output
    assert "Example:" in result.output
    assert max(map(len, result.output.splitlines())) <= 80


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "foretoken")
def test_every_example_is_a_command_with_options_that_exist(path: tuple[str, ...]) -> None:
    found = examples(COMMANDS[path])

    assert found
    for program, *arguments in found:
        assert program == "foretoken"
        command, rest = COMMANDS[()], arguments
        while hasattr(command, "commands") and rest and rest[0] in command.commands:
            command, rest = command.commands[rest[0]], rest[1:]
        context = command.make_context("foretoken", list(rest), resilient_parsing=True)
        assert not [word for word in context.args if word.startswith("-")]


def test_every_option_says_what_it_is_for() -> None:
    silent = [
        (path, parameter.name)
        for path, command in COMMANDS.items()
        for parameter in command.params
        if not getattr(parameter, "help", None)
    ]

    assert silent == []


def test_no_help_is_taken_for_markup_and_lost() -> None:
    lost = [
        (path, text)
        for path, command in COMMANDS.items()
        for text in (command.help, *(getattr(one, "help", None) for one in command.params))
        if text and "[" in text
    ]

    assert lost == []


def test_the_version_is_printed() -> None:
    assert runner.invoke(app, ["--version"]).output.strip() == f"0.1.0 {kind()}"
    assert runner.invoke(app, ["version"]).output.strip() == f"0.1.0 {kind()}"

    facts = json.loads(runner.invoke(app, ["version", "--json"]).output)

    assert facts["version"] == "0.1.0"
    assert facts["packages"]["numpy"]


def test_the_policies_one_can_name_are_the_policies_there_are() -> None:
    assert sorted(POLICIES) == sorted(POLICY_NAMES)


def test_names_are_completed() -> None:
    assert complete_policy("lm") == ["lmetric", "lmetric_own", "lmetric_speed"]
    assert complete_workload("sharegpt-") == ["sharegpt-chat"]
    assert complete_fleet("mixed-8") == ["mixed-8b"]
    assert "h100_sxm/llama-3.1-8b" in complete_profile("h100_sxm/")


def test_a_shell_completes_a_policy() -> None:
    asked = {
        **os.environ,
        "_FORETOKEN_COMPLETE": "complete_bash",
        "COMP_WORDS": "foretoken serve --policy pre",
        "COMP_CWORD": "3",
    }

    done = subprocess.run(
        [sys.executable, "-m", "foretoken"],
        capture_output=True, text=True, env=asked, cwd=ROOT, check=True,
    )  # fmt: skip

    assert done.stdout.split()[:2] == ["predicted_latency", "prefix_affinity"]


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        error = refused("serve", *ENDPOINT, "--port", port)

    assert isinstance(error, CannotListen)
    assert error.exit_status == 1
    assert f"127.0.0.1:{port}" in str(error)
    assert "--port" in str(error)


def test_a_simulated_endpoint_says_so_too(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        status = run(["simulate-endpoint", "--port", str(taken.getsockname()[1])])

    assert status == 1
    assert "choose another with --port" in capsys.readouterr().err


def test_a_data_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    error = refused("serve", *ENDPOINT, "--data-dir", str(file))

    assert isinstance(error, FolderNotWritable)
    assert str(file) in str(error)


def test_serving_without_an_endpoint_says_how_to_name_one() -> None:
    error = refused("serve")

    assert isinstance(error, ConfigurationInvalid)
    assert error.exit_status == 2
    assert "--endpoint" in str(error)


def test_a_bad_endpoint_or_file_is_named(tmp_path: Path) -> None:
    url = refused("serve", "--endpoint", "10.0.0.1:8000")
    absent = refused("serve", "--config", str(tmp_path / "absent.toml"))

    assert "10.0.0.1:8000" in str(url)
    assert "absent.toml" in str(absent)
    assert "No such file" in str(absent)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("serv", "foretoken: No such command 'serv'. Did you mean 'serve'"),
        ("serve --prt 1", "--port"),
        ("serve --port 70000", "'--port': must be less than or equal to 65535"),
        ("serve --policy lmetrik", "did you mean lmetric?"),
        ("demo --policy best", "round_robin"),
        ("demo --json /nowhere/at/all.json", "not a folder"),
        ("simulate-endpoint --profile h100_sxm/llama-3.1-8", "did you mean h100_sxm/llama-3.1-8b?"),
        ("simulate -w sharegtp -f mixed-8b", "did you mean sharegpt?"),
        ("simulate -w sharegpt -f mixed-8c", "did you mean mixed-8b?"),
        ("simulate -w sharegpt -f mixed-8b -p lmetrik", "did you mean lmetric?"),
        ("check-config", "Missing argument"),
        ("status --url ftp://x", "not a URL such as http://"),
    ],
)
def test_wrong_usage_is_one_line_before_anything_starts(
    capsys: pytest.CaptureFixture[str], arguments: str, expected: str
) -> None:
    status = run(arguments.split())
    said = capsys.readouterr()

    assert status == 2
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert expected in said.err


def test_nothing_to_do_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    said = capsys.readouterr()

    assert "Usage" in said.out
    assert said.err == ""


def test_what_the_system_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    status = run(["models", "verify", "--store", str(tmp_path / "file")])
    said = capsys.readouterr()

    assert status == 1
    assert said.err == f"foretoken: {tmp_path / 'file'} is not a folder\n"


def test_a_closed_pipe_is_no_news() -> None:
    command = f"{sys.executable} -m foretoken simulate --list | true; exit ${{PIPESTATUS[0]}}"

    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert done.returncode in {0, 1}
    assert done.stderr == ""


def test_colour_is_only_where_it_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "foretoken", "models", "verify", "--store"]
    command.append(str(tmp_path / "file"))
    coloured = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    coloured.pop("NO_COLOR", None)

    plain, colour = (
        subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
        for env in ({**coloured, "NO_COLOR": "1"}, coloured)
    )

    assert "\x1b[31m" in colour.stderr
    assert not re.search(r"\x1b\[3\dm", plain.stderr)
    assert plain.returncode == colour.returncode == 1


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        (
            "foretoken.cli",
            {"asyncio", "fastapi", "httpx", "lightgbm", "numpy", "pydantic", "river", "sklearn"},
        ),
        ("foretoken.logs", {"collectors", "lightgbm", "numba", "numpy", "predictor", "pyarrow"}),
    ],
)
def test_help_and_logs_wait_for_no_model_library(module: str, slow: set[str]) -> None:
    code = f"import sys, {module}; print({slow} & set(sys.modules))"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout

    assert loaded == "set()\n"
