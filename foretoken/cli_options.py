"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from foretoken.cli_names import complete_policy, known_policy
from foretoken.output_file import why_not_writable
from foretoken.terminal import STDOUT


def writable(path: Path | None) -> Path | None:
    """Find out before the work, not after it, that its outcome cannot be written.

    Raises:
        BadParameter: It cannot.
    """
    problem = None if path in {None, STDOUT} or path is None else why_not_writable(path)
    if problem is not None:
        raise typer.BadParameter(problem)
    return path


JsonPath = Annotated[
    Path | None,
    typer.Option(
        "--json",
        help="Write the figures here; - is standard output.",
        dir_okay=False,
        allow_dash=True,
        callback=writable,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; docs/configuration.md.", dir_okay=False),
]
Endpoints = Annotated[
    list[str] | None,
    typer.Option("--endpoint", help="Base URL of a vLLM server; may be repeated."),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on. (default: 127.0.0.1)")]
Port = Annotated[
    int | None, typer.Option(help="Port to listen on. (default: 8000)", min=0, max=65_535)
]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder for traces and models; none are kept without.")
]
Policy = Annotated[
    str | None,
    typer.Option(
        help="Who decides; foretoken simulate --list names them.",
        callback=known_policy,
        autocompletion=complete_policy,
    ),
]
Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        "-p",
        help="May be repeated. By default five.",
        autocompletion=complete_policy,
    ),
]
Seeds = Annotated[int, typer.Option(help="Runs per policy, of seeds 1 to this.", min=1, max=1000)]
Jobs = Annotated[int | None, typer.Option(help="Runs at once. By default one a core.", min=1)]
LogFormat = Annotated[
    Literal["json", "console"] | None,
    typer.Option(help="By default plain lines on a terminal, JSON otherwise."),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option(help="The least that is logged; each finished request is info, the default."),
]

Url = Annotated[
    str,
    typer.Option(help="Where Foretoken serves.", envvar="FORETOKEN_URL", show_envvar=True),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        help="An admin's key, for a router on another machine; better in the environment.",
        envvar="FORETOKEN_API_KEY",
        show_envvar=True,
    ),
]
URL = "http://127.0.0.1:8000"
