"""What commands write: tables for people, JSON for programs, and never both into one stream.

Decides that text which others chose (names of models, ids of requests) reaches a terminal
without control characters, and that JSON on standard output has it for itself: whatever
else a command says goes to standard error then.
"""

import json
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from foretoken.output_file import write_whole

PIPE_WIDTH: Final = 200
"""Characters a line may have where no terminal ends it: names stay whole for grep."""

STDOUT: Final = Path("-")
"""Stands for standard output where a file to write is named."""


def plain(text: str) -> str:
    r"""Give text with its control characters spelled out.

    >>> plain("model\x1b[2J"), plain("modèle")
    ('model\\x1b[2J', 'modèle')
    """
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def console_for_tables() -> Console:
    """Give standard output for tables, wide where it is a pipe or a file."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, PIPE_WIDTH)
    return console


def print_json(document: object, *, indent: int | None = 2) -> None:
    """Write a document to standard output."""
    sys.stdout.write(json.dumps(document, indent=indent) + "\n")
    sys.stdout.flush()


def console_beside(json_path: Path | None) -> Console:
    """Give the console for people where figures go to a file, standard output perhaps."""
    return Console(stderr=json_path == STDOUT)


def write_figures(path: Path | None, document: object) -> None:
    """Write figures where they were asked for, if they were.

    Raises:
        FileNotWritable: They cannot be.
    """
    if path == STDOUT:
        print_json(document)
    elif path is not None:
        write_whole(path, (json.dumps(document, indent=2) + "\n").encode())


def say_error(text: str) -> None:
    """Write one line to standard error, red where that is a terminal with colours."""
    line = Text(plain(" ".join(text.split())), style="red")
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)
