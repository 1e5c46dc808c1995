"""Prediction in the simulator: the production scheduler and predictor in virtual time.

    python -m benchmarks.prediction.simulated [--only PART ...] [--quick] [--json PATH]
        [--recordings DIR] [--record DIR] [--cells TEXT] [--data DIR]

Parts: ``accuracy`` (errors beside the reference's on the same traffic, and beside what
nobody can know), ``cold`` (regret of the first picks), ``odd`` (one endpoint becomes slower,
one of another class joins), ``coverage`` (of the stated p90). Exits with 1 where a must falls
short. ``--recordings`` keeps each cell's run, and does not play again what is there;
``--record`` only plays them, for ``recording.read_recording`` and ``player.replay``.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.command import run as run_command
from benchmarks.prediction import DEFAULT_DATA
from benchmarks.prediction.pages import Pages
from benchmarks.prediction.simulated.part import play
from benchmarks.prediction.simulated.plan import FULL, PARTS, QUICK, Plan, record
from benchmarks.prediction.simulated.rows import falls_short
from foretoken.output_file import why_not_writable, write_whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what is asked for, print it; 1 where a must falls short."""
    given = _parse(arguments)
    plan = QUICK if given.quick else FULL
    plan = replace(plan, cells=tuple(cell for cell in plan.cells if given.cells in cell.name))
    if given.record is not None:
        return _record(plan, given.data, given.record)
    rows = play(plan, given.only, given.data, given.recordings, Console(), pages=Pages())
    if given.json is not None:
        write_whole(given.json, (json.dumps([row.as_json() for row in rows]) + "\n").encode())
    return int(falls_short(rows))


def _record(plan: Plan, data: Path, folder: Path) -> int:
    console = Console(stderr=True)
    for cell in plan.cells:
        recording = record(cell, plan, data, folder)
        console.print(f"{cell.name}: {len(recording)} dispatches", highlight=False)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prediction.simulated",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS))
    parser.add_argument("--quick", action="store_true", help="one cell, few requests")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--recordings", type=Path, metavar="DIR", help="kept, and used again")
    parser.add_argument("--record", type=Path, metavar="DIR", help="play the cells, no more")
    parser.add_argument("--cells", default="", help="only recorded cells with this in their name")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args(arguments)
    if not given.data.is_dir():
        parser.error(f"{given.data} is not there; name the data folder with --data")
    problem = None if given.json is None else why_not_writable(given.json)
    if problem is not None:
        parser.error(problem)
    for folder in (given.recordings, given.record):
        try:
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"{folder}: {error.strerror}")
    return given


if __name__ == "__main__":
    run_command(main)
