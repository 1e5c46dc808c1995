"""Prediction in the simulator.

    python -m benchmarks.prediction_simulated --record DIR [--data DIR] [--cells TEXT]

Plays each cell (``cells.py``) from an empty store and writes what passed to a file of
its own, for ``recording.read_recording`` and ``player.replay``.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.command import run as run_command
from benchmarks.prediction import DEFAULT_DATA
from benchmarks.prediction_simulated.cells import CELLS
from benchmarks.prediction_simulated.record import record_cell
from benchmarks.prediction_simulated.recording import write_recording


def main(arguments: Sequence[str] | None = None) -> int:
    """Record the cells asked for."""
    given = _parse(arguments)
    console = Console(stderr=True)
    for cell in CELLS:
        if given.cells not in cell.name:
            continue
        recording = record_cell(cell, given.data, settled=2000, sampled=200)
        path = given.record / f"{cell.name}.npz"
        write_recording(path, recording)
        console.print(f"{path}: {len(recording)} dispatches", highlight=False, soft_wrap=True)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.prediction_simulated",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--record", type=Path, required=True, metavar="DIR")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--cells", default="", help="only cells with this in their name")
    given = parser.parse_args(arguments)
    if not given.data.is_dir():
        parser.error(f"{given.data} is not there; name the data folder with --data")
    try:
        given.record.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"{given.record}: {error.strerror}")
    return given


if __name__ == "__main__":
    run_command(main)
