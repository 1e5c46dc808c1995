"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from foretoken.output_file import why_not_writable


def writable(path: Path | None) -> Path | None:
    """Find out before the work, not after it, that its outcome cannot be written.

    Raises:
        BadParameter: It cannot.
    """
    problem = None if path is None else why_not_writable(path)
    if problem is not None:
        raise typer.BadParameter(problem)
    return path


JsonPath = Annotated[
    Path | None,
    typer.Option("--json", help="Write the figures here.", dir_okay=False, callback=writable),
]
