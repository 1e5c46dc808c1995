"""``foretoken replay`` at the prompt: what is refused, and how it is said."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from foretoken.cli import app
from foretoken.errors import ForetokenError

runner = CliRunner()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--endpoints", "many"), "neither N nor CLASS=N"),
        (("--endpoints", "a=2000"), "out of bounds"),
        (("--speed", "0"), "out of bounds"),
        (("--from", "yesterday"), "neither seconds"),
        (("--fleet", "mixed-8b", "--speed", "2"), "takes no --endpoints or --speed"),
        (("--policy", "lmetrik"), "did you mean lmetric"),
        ((), "does not exist"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    arguments: tuple[str, ...], why: str, tmp_path: Path
) -> None:
    result = runner.invoke(
        app, ["replay", str(tmp_path / "none"), *arguments], standalone_mode=False
    )

    assert isinstance(result.exception, ForetokenError | typer.BadParameter)
    assert why in str(result.exception)
    assert "\n" not in str(result.exception)
