"""Train on 0.2, 2 and 20 million rows, and tell time, memory and error.

Must: peak memory stays below ``--memory``, and the error on rows of another run is at most
15 % above that of a model of the newest 20,000 rows, which is what a live trainer sees; the
models of three such windows differ by as much among themselves.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table as Printed

from benchmarks.command import run
from benchmarks.prediction import DEFAULT_DATA
from benchmarks.training.measured import Taken, errors, errors_of, train
from benchmarks.training.traces import play_run, rows_of, write_trace
from collectors.trace_batches import TraceBatches
from predictor import TrainingSettings
from predictor.settings import PhysicsSettings
from predictor.table import Table
from predictor.training import train_first

ROWS: Final = (200_000, 2_000_000, 20_000_000)
QUICK_ROWS: Final = (20_000, 200_000)
_TOLERANCE: Final = 1.15
_WINDOW: Final = 20_000
_WIDTH: Final = 120


def main() -> int:
    """Run the benchmark; give the exit status."""
    options = _options()
    sizes = options.rows or (QUICK_ROWS if options.quick else ROWS)
    console, held_out = Console(width=_WIDTH), rows_of(play_run(options.data, seed=2))
    records = play_run(options.data, seed=1)
    results = []
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        for rows in sizes:
            folder = Path(scratch) / f"{rows}"
            size = write_trace(records, folder / "traces", rows, seed=rows)
            taken = train(folder / "traces", folder / "models", "--memory", str(options.memory))
            window = train_first(_newest(folder / "traces"), TrainingSettings(), PhysicsSettings())
            results.append(
                {
                    "rows": rows,
                    "trace_gib": size / 2**30,
                    **_figures(taken),
                    "error": errors(folder / "models", held_out),
                    "window_error": errors_of(window.snapshot, held_out),
                }
            )
            shutil.rmtree(folder)
            console.print(_table(results))
    failed = _judge(results, options.memory)
    for what in failed:
        console.print(f"falls short: {what}")
    if options.json:
        document = {"memory_gib": options.memory, "failed": failed, "results": results}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.plot:
        from benchmarks.training.plot import draw  # noqa: PLC0415  # needs matplotlib

        draw(results, options.memory, options.plot)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="recorded data")
    parser.add_argument("--rows", type=int, nargs="*", help="sizes of the traces")
    parser.add_argument("--memory", type=float, default=4.0, help="GiB the training may take")
    parser.add_argument("--scratch", type=Path, help="folder for the traces: 200 bytes a row")
    parser.add_argument("--json", type=Path, help="write the figures and memory curves here")
    parser.add_argument("--plot", type=Path, help="draw the memory curves here")
    parser.add_argument("--quick", action="store_true", help="20,000 and 200,000 rows")
    return parser.parse_args()


def _newest(traces: Path) -> Table:
    """Give the newest rows of a trace: what a live trainer's window holds."""
    batches = TraceBatches(sorted(traces.glob("*.parquet"))[-2:])
    (fleet,) = batches.counts()
    table = Table.joined(list(batches.tables(fleet)))
    return table.part(max(0, len(table) - _WINDOW), len(table))


def _figures(taken: Taken) -> dict[str, object]:
    return {
        "wall_s": taken.wall_s,
        "cpu_s": taken.cpu_s,
        "peak_gib": taken.peak_gib,
        "told": taken.told,
        "curve": taken.curve[:: max(1, len(taken.curve) // 400)],
    }


# Any: figures of every kind, as they are written.
def _table(results: Sequence[dict]) -> Printed:  # type: ignore[type-arg]  # as above
    table = Printed(box=None)
    heads = ("rows", "trace GiB", "used rows", "wall s", "CPU s", "peak GiB")
    for head in (*heads, "TTFT error", "of window", "TPOT error", "of window"):
        table.add_column(head, justify="right")
    for one in results:
        (told,) = one["told"].values()
        table.add_row(
            f"{one['rows']:,}",
            f"{one['trace_gib']:.2f}",
            f"{told['used_rows']:,}",
            f"{one['wall_s']:.0f}",
            f"{one['cpu_s']:.0f}",
            f"{one['peak_gib']:.2f}",
            *(
                f"{one[whose][target]:.1%}"
                for target in ("ttft", "tpot")
                for whose in ("error", "window_error")
            ),
        )
    return table


def _judge(results: Sequence[dict], memory_gib: float) -> list[str]:  # type: ignore[type-arg]  # as above
    failed = []
    for one in results:
        if one["peak_gib"] > memory_gib:
            failed.append(f"{one['rows']:,} rows took {one['peak_gib']:.2f} GiB")
        failed += [
            f"{one['rows']:,} rows: {target} error {error:.1%}"
            for target, error in one["error"].items()
            if error > _TOLERANCE * one["window_error"][target]
        ]
    return failed


if __name__ == "__main__":
    run(main)
