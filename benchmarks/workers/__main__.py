"""What several workers cost and lose against one.

    python -m benchmarks.workers [--part cost|delay|quality ...] [--workers N] [--quick]

``cost``: CPU per request of the whole process tree, in turns. ``delay``: how old bookings
and words are when another worker sees them. ``quality``: hits, prediction error and fairness
of the same traffic, in virtual time. Musts: 1.1x, 10 ms, and 2 % of one worker's.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from math import inf
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.command import run as run_command
from benchmarks.prediction import DEFAULT_DATA
from benchmarks.workers import cost, delay, quality
from foretoken.output_file import write_whole
from foretoken.simulation.jobs import play_each

PARTS: Final = ("cost", "delay", "quality")
MOST_COST: Final = 1.1
MOST_DELAY_S: Final = 0.010
MOST_LOST: Final = 0.02
JUDGED: Final = ("hit_ratio", "ttft_error_mdape", "tpot_error_mdape", "quiet_prompt_ratio")
LEAST_HITS: Final = 0.01
"""Where one worker finds less than that, there is nothing to lose."""

Row = tuple[str, str, str, str, bool | None]
"""What, one worker, several, must, and whether it is kept (``None``: there is none)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for, print the table; 1 where a must falls short."""
    given = _parse(arguments)
    found: dict[str, object] = {"workers": given.workers}
    rows: list[Row] = []
    for part in given.part or PARTS:
        measured, told = _PLAY[part](given)
        found[part] = measured
        rows += told
    _print(rows, given.workers)
    if given.json is not None:
        write_whole(given.json, (json.dumps(found, indent=2) + "\n").encode())
    return int(any(kept is False for *_, kept in rows))


def lost(one: float, several: float, measure: str) -> float:
    """Give what several workers lose of one's figure, as a fraction; below zero: nothing.

    Of shares and of errors alike: an error of 6 % for one of 5 % is a fifth more.

    >>> round(lost(0.5, 0.49, "hit_ratio"), 3), round(lost(0.05, 0.06, "ttft_error_mdape"), 3)
    (0.02, 0.2)
    """
    worse = several - one if "error" in measure else one - several
    if one == 0.0:
        return 0.0 if worse <= 0.0 else inf
    return worse / one


def _cost(given: argparse.Namespace) -> tuple[object, list[Row]]:
    rounds = 2 if given.quick else 5
    with TemporaryDirectory(prefix="foretoken-") as folder:
        measured = cost.run(Path(folder), workers=given.workers, rounds=rounds, quick=given.quick)
    one, several = fmean(measured.one_s), fmean(measured.several_s)
    return {**asdict(measured), "ratio": measured.ratio}, [
        (
            "CPU per request",
            f"{one * 1e3:.3f} ms",
            f"{several * 1e3:.3f} ms, {measured.ratio:.2f}x",
            f"at most {MOST_COST}x",
            measured.ratio <= MOST_COST,
        ),
    ]


def _delay(given: argparse.Namespace) -> tuple[object, list[Row]]:
    with TemporaryDirectory(prefix="foretoken-") as folder:
        ages = asyncio.run(delay.measure(Path(folder), seconds=3.0 if given.quick else 15.0))
    measured = {name: delay.figures(each) for name, each in ages.items()}
    return measured, [
        (
            f"{name} seen after (median, p99)",
            "",
            f"{each['p50_s'] * 1e3:.1f}, {each['p99_s'] * 1e3:.1f} ms",
            f"p99 within {MOST_DELAY_S * 1e3:.0f} ms",
            each["p99_s"] <= MOST_DELAY_S,
        )
        for name, each in measured.items()
    ]


def _quality(given: argparse.Namespace) -> tuple[object, list[Row]]:
    seeds = range(1, (1 if given.quick else given.seeds) + 1)
    cells = list(
        quality.cells(data=given.data, workers=given.workers, seeds=seeds, quick=given.quick)
    )
    played = dict(play_each(cells, quality.play, processes=given.jobs))
    rows: list[Row] = []
    for group in {(c.workload, c.load): None for c in cells}:
        mine = {i: c for i, c in enumerate(cells) if (c.workload, c.load) == group}
        for measure in (*quality.MEASURES, *quality.OF_TENANTS):
            one, several = (
                [played[i].get(measure) for i, c in mine.items() if (c.workers == 1) is alone]
                for alone in (True, False)
            )
            told = quality_row(measure, one, several)
            if told is not None:
                rows.append((f"{group[0]} at {group[1]:g}: {measure}", *told))
    return [{**asdict(c), "data": str(c.data), **played[i]} for i, c in enumerate(cells)], rows


def quality_row(
    measure: str, one: Sequence[float | None], several: Sequence[float | None]
) -> tuple[str, str, str, bool | None] | None:
    """Judge one figure of all runs; ``None``: it is not judged, and some run lacks it.

    >>> quality_row("hit_ratio", [0.5, None], [0.5, 0.5])
    ('', '', 'not judged: unknown in 1 of 4 runs', None)
    >>> quality_row("hit_ratio", [0.5, 0.5], [0.5, 0.4])
    ('0.5000', '0.4500, -10.0% (±10.0%)', 'loses at most 2%', False)
    """
    before, after = _known(one), _known(several)
    judged = measure in JUDGED and not (measure in quality.OF_TENANTS and not before + after)
    unknown = len(one) + len(several) - len(before) - len(after)
    if unknown:
        of = f"unknown in {unknown} of {len(one) + len(several)} runs"
        return ("", "", f"not judged: {of}", None) if judged else None
    kept = lost(fmean(before), fmean(after), measure) <= MOST_LOST if judged else None
    must = f"loses at most {MOST_LOST:.0%}" if judged else ""
    if measure == "hit_ratio" and fmean(before) < LEAST_HITS:
        kept, must = None, "not judged: hardly anything is found"
    return f"{fmean(before):.4f}", f"{fmean(after):.4f}{_change(before, after)}", must, kept


def _change(before: Sequence[float], after: Sequence[float]) -> str:
    """Say by how much runs of the same seeds differ, with the standard error of that.

    >>> _change([1.0, 1.0], [1.0, 1.02]), _change([1.0], [1.02]), _change([0.0, 1.0], [1.0, 1.0])
    (', +1.0% (±1.0%)', '', '')
    """
    if len(before) < 2 or 0.0 in before:
        return ""
    ratios = [after / before - 1.0 for before, after in zip(before, after, strict=True)]
    return f", {fmean(ratios):+.1%} (±{stdev(ratios) / len(ratios) ** 0.5:.1%})"


def _known(figures: Sequence[float | None]) -> list[float]:
    return [figure for figure in figures if figure is not None]


_PLAY: Final = {"cost": _cost, "delay": _delay, "quality": _quality}


def _print(rows: Sequence[Row], workers: int) -> None:
    table = Table("", "1 worker", f"{workers} workers", "must", "")
    for what, one, several, must, kept in rows:
        table.add_row(what, one, several, must, {True: "kept", False: "SHORT", None: ""}[kept])
    Console().print(table)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.workers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--seeds", type=int, default=quality.SEEDS, help="of quality, default: 5")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args(arguments)
    if given.seeds < 1:
        parser.error("--seeds must be at least 1")
    if given.workers < 2:
        parser.error("--workers must be at least 2: one is what they are compared with")
    if "quality" in (given.part or PARTS) and not given.data.is_dir():
        parser.error(f"{given.data} is not there; name the data folder with --data")
    return given


if __name__ == "__main__":
    run_command(main)
