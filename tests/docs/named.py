"""What texts name: lines of code, calls of the command line, and whether these exist."""

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from foretoken.cli import app

ROOT = Path(__file__).parents[2]
SKILL = ROOT / "skills" / "foretoken"

_CODE = re.compile(
    r"^( *)```\w*\n(.*?)^ *```|^((?: {4}.*\n)+)|`([^`\n]+)`", re.MULTILINE | re.DOTALL
)


def texts(folder: Path) -> dict[Path, str]:
    """Read every page below a folder."""
    return {path.relative_to(folder): path.read_text("utf-8") for path in folder.rglob("*.md")}


def code_lines(pages: Iterable[str]) -> Iterator[str]:
    """Give each line of code, continued lines joined."""
    for page in pages:
        for _, fenced, indented, inline in _CODE.findall(page):
            for line in (fenced or indented or inline).replace("\\\n", " ").splitlines():
                yield line.strip().removeprefix("$ ")


def commands(pages: Iterable[str]) -> list[list[str]]:
    """Give the words of every call of the command line, each once."""
    calls = [line for line in code_lines(pages) if re.match(r"foretoken [a-z]", line)]
    words = [shlex.split(line.rstrip("& "), comments=True)[1:] for line in calls]
    return [list(each) for each in dict.fromkeys(map(tuple, words))]


def check_command(words: list[str]) -> None:
    """Follow the words down the command line.

    Raises:
        AssertionError: No command, or no option of it, has such a name.
    """
    command: Any = typer.main.get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        name = rest.pop(0)
        assert name in command.commands, f"foretoken {' '.join(words)}: no such command"
        command = command.commands[name]
    options = {text for parameter in command.params for text in parameter.opts}
    dashed = (word for word in rest if word.startswith("-") and word != "-")  # - is a file
    unknown = [word for word in dashed if word not in options]
    assert unknown == [], f"foretoken {' '.join(words)}: no such option"
