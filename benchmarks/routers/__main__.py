"""What sharing brings to several routers in front of one fleet.

    python -m benchmarks.routers [--part table|cost ...] [--jobs N] [--quick] [--json PATH]

``table``: the same traffic through 1, 2, 4 and 8 routers, in virtual time, with and without
sharing, dealt to the routers by chance; without sharing also as conversations stay at a
router. ``cost``: a real server on this machine; CPU of the server and of a router per 1000
requests a second told, bytes a request, and after how long another router knows. Musts: the
hit rate and the mean TTFT of eight routers that share within 3 and 5 % of one router's.
"""

import argparse
import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.command import run as run_command
from benchmarks.prediction import DEFAULT_DATA
from benchmarks.routers import cost
from benchmarks.routers.several import Dealing, Routers
from foretoken.output_file import write_whole
from foretoken.simulation.arms import ARMS
from foretoken.simulation.comparison import load, rate_at, refusals
from foretoken.simulation.figures import steady_figures
from foretoken.simulation.jobs import play_each
from foretoken.simulation.run import simulate
from scheduler import Scheduler, SchedulerSettings

PARTS: Final = ("table", "cost")
COUNTS: Final = (1, 2, 4, 8)
PLAYS: Final = (("sharegpt-chat", "eight-8b-h100", 0.7), ("tiers-chat", "mixed-8b", 0.8))
MEASURES: Final = {
    "ttft_mean_s": "TTFT mean",
    "ttft_p99_s": "TTFT p99",
    "tpot_mean_s": "TPOT mean",
    "tpot_p99_s": "TPOT p99",
    "e2e_mean_s": "e2e mean",
    "e2e_p99_s": "e2e p99",
    "goodput_ratio": "goodput",
    "hit_ratio": "prefix hits",
    "ttft_error_mdape": "TTFT error",
    "tpot_error_mdape": "TPOT error",
}
QUICK_S: Final = (30.0, 60.0)
MOST_HITS_LOST: Final = 0.03
MOST_TTFT_GAINED: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Name one run.

    Attributes:
        workload: Name.
        fleet: Name.
        load: Share of the capacity.
        routers: How many.
        sharing: Whether they know of each other.
        dealing: Which of them a request comes to.
        seed: Of everything.
        data: Folder of recorded traces.
        window_s: Transient and measured time, ``None`` for the workload's own.
    """

    workload: str
    fleet: str
    load: float
    routers: int
    sharing: bool
    dealing: Dealing
    seed: int
    data: Path
    window_s: tuple[float, float] | None = None

    @property
    def arm(self) -> str:
        """Name what is compared.

        >>> Cell(workload="w", fleet="f", load=0.7, routers=8, sharing=True, dealing="request",
        ...      seed=1, data=Path()).arm
        '8, sharing'
        """
        if self.routers == 1:
            return "1"
        kept = ", conversations kept" if self.dealing == "conversation" else ""
        return f"{self.routers}, {'sharing' if self.sharing else 'alone'}{kept}"


def play(cell: Cell, progress: object = None) -> dict[str, float | None]:  # noqa: ARG001  # as all jobs
    """Play one run and give its figures."""
    workload, fleet = load(cell.workload, cell.fleet, cell.data)
    warmup_s, measure_s = cell.window_s or (workload.warmup_s, workload.measure_s)
    several = cell.routers > 1
    routers = Routers(cell.routers, sharing=cell.sharing, dealing=cell.dealing, seed=cell.seed)
    with refusals():
        run = simulate(
            fleet=fleet,
            workload=workload,
            rate=rate_at(cell.load, workload, fleet),
            seed=cell.seed,
            warmup_s=warmup_s,
            measure_s=measure_s,
            settings=SchedulerSettings(),
            arm=routers.arm() if several else ARMS["predicted_latency"],
            scheduler=routers.scheduler if several else Scheduler,
        )
    traffic = routers.wire.traffic
    told: dict[str, float | None] = {}
    if cell.sharing and several:
        told = {
            "frames_per_s": traffic.frames / traffic.seconds,
            "told_bytes_per_request": traffic.bytes / max(len(run.outcomes), 1),
        }
    return {**steady_figures(run), **told}


def cells(
    data: Path, seeds: Sequence[int], window_s: tuple[float, float] | None, *, quick: bool
) -> Iterator[Cell]:
    """Name all runs; ``quick``: one workload, and one router against eight."""
    for workload, fleet, share in PLAYS[:1] if quick else PLAYS:
        for seed in seeds:
            for routers in (1, 8) if quick else COUNTS:
                arms: tuple[tuple[bool, Dealing], ...] = (
                    (True, "request"),
                    (False, "request"),
                    (False, "conversation"),
                )
                for sharing, dealing in arms[: 1 if routers == 1 else 3]:
                    yield Cell(
                        workload=workload,
                        fleet=fleet,
                        load=share,
                        routers=routers,
                        sharing=sharing,
                        dealing=dealing,
                        seed=seed,
                        data=data,
                        window_s=window_s,
                    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for, print tables; 1 where a must falls short."""
    given = _parse(arguments)
    found: dict[str, object] = {}
    kept = True
    for part in given.part or PARTS:
        found[part], good = (_table if part == "table" else _cost)(given)
        kept &= good
        if given.json is not None:
            write_whole(given.json, (json.dumps(found, indent=2) + "\n").encode())
    return int(not kept)


def _table(given: argparse.Namespace) -> tuple[object, bool]:
    window_s = None if given.window is None else (given.window[0], given.window[1])
    if given.quick:
        window_s = window_s or QUICK_S
    seeds = range(1, given.seeds + 1)
    named = list(cells(given.data, seeds, window_s, quick=given.quick))
    if given.workload:
        named = [cell for cell in named if cell.workload in given.workload]
    played = dict(play_each(named, play, processes=given.jobs))
    kept = True
    for workload in dict.fromkeys(cell.workload for cell in named):
        means = means_of(
            [(cell.arm, played[i]) for i, cell in enumerate(named) if cell.workload == workload]
        )
        _print(workload, means)
        kept &= judged(means)
    rows = [
        {
            "arm": cell.arm,
            **{name: value for name, value in asdict(cell).items() if name != "data"},
            **played[i],
        }
        for i, cell in enumerate(named)
    ]
    return rows, kept


def means_of(
    runs: Sequence[tuple[str, dict[str, float | None]]],
) -> dict[str, dict[str, float | None]]:
    """Give the means over seeds of every figure, by arm.

    >>> means_of([("1", {"hit_ratio": 0.5}), ("1", {"hit_ratio": 0.7})])
    {'1': {'hit_ratio': 0.6}}
    """
    means: dict[str, dict[str, float | None]] = {}
    for arm in dict.fromkeys(arm for arm, _ in runs):
        mine = [figures for name, figures in runs if name == arm]
        means[arm] = {}
        for name in dict.fromkeys(name for figures in mine for name in figures):
            known = [value for figures in mine if (value := figures.get(name)) is not None]
            means[arm][name] = fmean(known) if known else None
    return means


def judged(means: dict[str, dict[str, float | None]]) -> bool:
    """Say whether eight routers that share do as one does, as far as both were played.

    >>> judged({"1": {"hit_ratio": 0.6}, "8, sharing": {"hit_ratio": 0.59}})
    True
    >>> judged({"1": {"hit_ratio": 0.6}, "8, sharing": {"hit_ratio": 0.5}})
    False
    """
    one, eight = means.get("1", {}), means.get("8, sharing", {})

    def ratio(name: str) -> float:
        before, after = one.get(name), eight.get(name)
        return 1.0 if not before or after is None else after / before

    hits, ttft = ratio("hit_ratio"), ratio("ttft_mean_s")
    return hits >= 1.0 - MOST_HITS_LOST and ttft <= 1.0 + MOST_TTFT_GAINED


def _cost(given: argparse.Namespace) -> tuple[object, bool]:
    measured = asyncio.run(cost.measure(seconds=3.0 if given.quick else 10.0))
    table = Table("a real server, on this machine", "")
    for name, value in measured.items():
        table.add_row(cost.MEANINGS[name], cost.shown(name, value))
    Console().print(table)
    return measured, True


def _print(workload: str, means: dict[str, dict[str, float | None]]) -> None:
    table = Table(workload, *means)
    for name, title in MEASURES.items():
        table.add_row(title, *(_shown(name, figures.get(name)) for figures in means.values()))
    for name, title in (("told_bytes_per_request", "bytes told"), ("frames_per_s", "frames/s")):
        values = [figures.get(name) for figures in means.values()]
        table.add_row(title, *("" if value is None else f"{value:,.0f}" for value in values))
    Console(width=200).print(table)


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name.endswith("_s"):
        return f"{value * 1e3:,.1f} ms" if value < 10.0 else f"{value:,.2f} s"
    return f"{value:.1%}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--workload", action="append", help="of the table; default: all")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument(
        "--window",
        type=float,
        nargs=2,
        metavar=("WARMUP_S", "MEASURE_S"),
        help="default: the workload's own",
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args(arguments)
    if "table" in (given.part or PARTS) and not given.data.is_dir():
        parser.error(f"{given.data} is not there; name the data folder with --data")
    return given


if __name__ == "__main__":
    run_command(main)
