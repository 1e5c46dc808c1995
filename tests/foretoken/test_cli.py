"""The command line: errors are one line that says what to do."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from foretoken.cli import POLICY_NAMES, app
from foretoken.errors import CannotListen, ConfigurationInvalid, FolderNotWritable, ForetokenError
from foretoken.kind import kind
from scheduler import POLICIES

runner = CliRunner()
ENDPOINT = ("--endpoint", "http://127.0.0.1:1")


def refused(*arguments: str) -> ForetokenError:
    result = runner.invoke(app, list(arguments))
    assert isinstance(result.exception, ForetokenError), result.output
    assert "\n" not in str(result.exception)
    return result.exception


@pytest.mark.parametrize(
    "command",
    [[], ["serve"], ["predictor"], ["demo"], ["demo-vllm"], ["simulate-endpoint"], ["train"],
     ["check-config"], ["models"], ["models", "list"], ["models", "promote"]],
)  # fmt: skip
def test_every_command_explains_itself(command: list[str]) -> None:
    result = runner.invoke(app, [*command, "--help"])

    assert result.exit_code == 0
    assert "Usage" in result.output


def test_the_version_is_printed() -> None:
    assert runner.invoke(app, ["--version"]).output.strip() == f"0.1.0 {kind()}"


def test_the_policies_named_in_the_help_are_the_policies_there_are() -> None:
    assert sorted(POLICIES) == sorted(POLICY_NAMES.split(", "))


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])

        error = refused("serve", *ENDPOINT, "--port", port)

    assert isinstance(error, CannotListen)
    assert f"127.0.0.1:{port}" in str(error)
    assert "--port" in str(error)


def test_a_data_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    error = refused("serve", *ENDPOINT, "--data-dir", str(file))

    assert isinstance(error, FolderNotWritable)
    assert str(file) in str(error)


def test_serving_without_an_endpoint_says_how_to_name_one() -> None:
    error = refused("serve")

    assert isinstance(error, ConfigurationInvalid)
    assert "--endpoint" in str(error)


def test_a_bad_endpoint_or_policy_is_named(tmp_path: Path) -> None:
    url = refused("serve", "--endpoint", "10.0.0.1:8000")
    policy = refused("serve", *ENDPOINT, "--policy", "best")
    absent = refused("check-config", str(tmp_path / "absent.toml"))

    assert "10.0.0.1:8000" in str(url)
    assert "round_robin" in str(policy)
    assert "absent.toml" in str(absent)
    assert "No such file" in str(absent)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["demo", "--policy", "best"], "round_robin"),
        (["demo", "--json", "/nowhere/at/all.json"], "not a folder"),
        (["simulate-endpoint", "--profile", "abacus/llama"], "h100_sxm/llama-3.1-8b"),
    ],
)
def test_bad_options_are_refused_before_anything_starts(
    arguments: list[str], expected: str
) -> None:
    result = runner.invoke(app, arguments)

    assert result.exit_code == 2
    assert expected in result.output


def test_help_waits_for_no_model_library() -> None:
    code = "import sys, foretoken.cli; print({'lightgbm', 'sklearn', 'river'} & set(sys.modules))"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout

    assert loaded == "set()\n"
