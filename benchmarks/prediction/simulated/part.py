"""Play the parts one after the other, print each as it ends, and judge."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from benchmarks.prediction.pages import Pages
from benchmarks.prediction.simulated.plan import FULL, PARTS, QUICK, Plan
from benchmarks.prediction.simulated.rows import Row, falls_short, table


def play(
    plan: Plan,
    parts: Sequence[str],
    data: Path,
    kept: Path | None,
    console: Console,
    *,
    pages: Pages,
) -> list[Row]:
    """Play parts.

    Args:
        plan: How much.
        parts: Their names.
        data: Folder of recorded traces.
        kept: Where recordings are kept and looked for, ``None`` for nowhere.
        console: Where tables are printed.
        pages: Where else they go.
    """
    if kept is None:
        with TemporaryDirectory() as folder:  # accuracy and coverage share recordings
            return play(plan, parts, data, Path(folder), console, pages=pages)
    found: list[Row] = []
    for name in parts:
        with Console(stderr=True).status(name) as status:
            rows = list(PARTS[name](plan, data, kept, status.update))
        shown = table(f"Prediction in the simulator: {name}", rows)
        pages.show(console, {f"simulated-{name}": shown})
        found += rows
    return found


def main_part(
    given: argparse.Namespace, console: Console, *, pages: Pages
) -> tuple[dict[str, object], bool]:
    """Play all parts as one part of a larger command; give what goes to JSON, and success."""
    rows = play(
        QUICK if given.quick else FULL, tuple(PARTS), given.data, None, console, pages=pages
    )
    return {"rows": [row.as_json() for row in rows]}, not falls_short(rows)
