"""The part on recorded rows: every set there is, in every order of labels."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.prediction import b200, h200
from benchmarks.prediction.ours import Ours
from benchmarks.prediction.play import Played, play
from benchmarks.prediction.rowset import RowSet

QUICK_LABELS = 1500


def read_sets(data: Path, *, factor: float = 1.0) -> Iterator[RowSet]:
    """Give every recorded set of a data folder in each of its orders."""
    for path in h200.paths(data):
        yield from h200.read(path, factor=factor)
    for orders in b200.read(data, factor=factor):
        yield from orders


def main_part(given: argparse.Namespace, console: Console) -> tuple[dict[str, object], bool]:
    """Play and print; give what goes to JSON, and whether every must is met."""
    table = Table(
        "set", "labels", "all: mean / median", "first 100", "first 500", "after 500", "p90 covers",
        title="Absolute percentage error, prequential",
    )  # fmt: skip
    document: dict[str, object] = {}
    for rows in read_sets(given.data):
        if given.sets and rows.name not in given.sets:
            continue
        played = play(rows.first_labels(QUICK_LABELS) if given.quick else rows, Ours())
        for target, seen in played.items():
            name = f"{rows.name}, {rows.order}, {target.upper()}"
            table.add_row(name, str(len(seen.actual_s)), *_cells(seen))
    console.print(table)
    return document, True


def _cells(seen: Played) -> list[str]:
    error = seen.error
    covered = seen.actual_s <= seen.p90_s
    return [
        f"{error.mean():.1%} / {np.median(error):.1%}",
        f"{error[:100].mean():.0%}",
        f"{error[:500].mean():.0%}",
        f"{error[500:].mean():.1%} / {np.median(error[500:]):.1%}",
        f"{covered[500:].mean():.0%}",
    ]
