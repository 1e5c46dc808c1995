"""``foretoken check-config`` and ``foretoken version``: the commands."""

from pathlib import Path
from typing import Annotated

import typer

from foretoken.cli_options import AsJson

_SHOWN = ("fastapi", "httptools", "lightgbm", "msgspec", "numba", "numpy", "uvicorn", "uvloop")


def check_config(
    config: Annotated[Path, typer.Argument(help="TOML file.")], *, as_json: AsJson = False
) -> None:
    """Check a configuration file: everything that is wrong with it, at once.

    Of one that is right, what differs from the defaults is shown; --json has
    every setting. Exit status 1: it cannot be used.

    Example:
      foretoken check-config foretoken.toml
      foretoken check-config foretoken.toml --json
    """
    from rich.console import Console

    from foretoken.config_check import check, report
    from foretoken.terminal import print_json

    checked = check(config)
    if as_json:
        print_json(checked.as_json())
    else:
        console = Console(stderr=bool(checked.problems), highlight=False)
        headline, rest = report(checked)
        console.print(headline, soft_wrap=True)
        console.print(rest)
    raise typer.Exit(1 if checked.problems else 0)


def version(*, as_json: AsJson = False) -> None:
    """Print the version and the build, and with --json what it runs on.

    The model schema is what stored models must have been made with.

    Example:
      foretoken version
      foretoken version --json
    """
    from importlib.metadata import version as version_of

    from foretoken.kind import kind

    if not as_json:
        typer.echo(f"{version_of('foretoken')} {kind()}")
        return
    import platform

    from foretoken.terminal import print_json
    from predictor import MODEL_SCHEMA

    print_json(
        {
            "version": version_of("foretoken"),
            "build": kind(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "model_schema": MODEL_SCHEMA,
            "packages": {name: version_of(name) for name in _SHOWN},
        }
    )
