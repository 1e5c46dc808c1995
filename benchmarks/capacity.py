"""How much a fleet can take of a workload: the largest rate without a growing queue.

    python -m benchmarks.capacity [WORKLOAD:FLEET ...] [--data DIR] [--jobs N] [--out PATH]

Bisects, with seed 1, for the largest rate (users, of a closed loop) at which the best of
three heuristics keeps the mean TTFT of the last third of the window under twice its idle
value plus one second. Idle is the same workload at a fiftieth of the first guess. Writes
``simulator/workloads/capacity.json``, which ``--load`` is a share of.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.command import run as run_command
from benchmarks.policies.cells import WHOLE
from benchmarks.prediction import DEFAULT_DATA
from foretoken.errors import SimulationRefused
from foretoken.output_file import why_not_writable, write_whole
from foretoken.simulation.comparison import cores, load, play_job
from foretoken.simulation.figures import rounded, steady_figures
from foretoken.simulation.jobs import Job, Progress, play_each
from foretoken.simulation.outcome import Run

CAPACITY: Final = Path(__file__).parents[1] / "simulator" / "workloads" / "capacity.json"
POLICIES: Final = ("lmetric", "weighted_blend", "prefix_affinity")
PRECISION: Final = 1.06
STEP: Final = 1.5
"""First steps up and down from the guess: a doubling would play far into overload."""
IDLE_SHARE: Final = 0.02
GUESS_PER_ENDPOINT: Final = 2.0
"""Requests a second or users, where neither a capacity nor a rate of the workload is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Name what is measured.

    Attributes:
        workload: Name of a workload, or path of its file.
        fleet: Likewise.
        data: Folder of recorded traces.
    """

    workload: str
    fleet: str
    data: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Say what a search has found.

    Attributes:
        rate: Largest rate that held.
        idle_ttft_s: Mean TTFT at almost no load.
        tried: Rates tried, in order, and whether each held.
    """

    rate: float
    idle_ttft_s: float
    tried: tuple[tuple[float, bool], ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the pairs asked for and write the file; 1 where one was refused."""
    given = _parse(arguments)
    console, refused = Console(stderr=True), 0
    pairs = [Pair(workload=one, fleet=other, data=given.data) for one, other in given.pairs]
    for index, found in play_each(pairs, measure, processes=given.jobs):
        workload, fleet = given.pairs[index]
        if isinstance(found, str):
            refused += 1
            console.print(
                f"{workload} on {fleet}: {found}", style="red", markup=False, soft_wrap=True
            )
            continue
        record(given.out, workload, fleet, found.rate)
        tried = ", ".join(f"{rate:.4g} {'held' if held else 'fell'}" for rate, held in found.tried)
        console.print(
            f"{workload} on {fleet}: {found.rate:.4g} "
            f"(idle TTFT {found.idle_ttft_s:.3g} s; {tried})",
            highlight=False,
            soft_wrap=True,
        )
    return 1 if refused else 0


def measure(pair: Pair, _progress: Progress) -> Found | str:
    """Measure one pair; give why where it cannot be played."""
    try:
        job = _first_job(pair)
        workload, _ = load(pair.workload, pair.fleet, pair.data)
        return search(
            lambda policy, rate: play_job(replace(job, policy=policy, rate=rate), lambda _: None),
            guess=job.rate,
            whole=workload.loop == "closed",
        )
    except SimulationRefused as error:
        return str(error)


def search(play: Callable[[str, float], Run], *, guess: float, whole: bool) -> Found:
    """Bisect for the capacity.

    Args:
        play: Plays a policy at a rate.
        guess: Where to begin.
        whole: Whether rates are counts of users.

    Raises:
        SimulationRefused: Nothing has a TTFT at almost no load.
    """
    idle_rate = max(1.0, round(guess * IDLE_SHARE)) if whole else guess * IDLE_SHARE
    idle_s = steady_figures(play(POLICIES[0], idle_rate))["ttft_mean_s"]
    if idle_s is None:
        raise SimulationRefused(
            f"no request was answered at {idle_rate:g}: the window is too short"
        )
    limit_s = 2 * idle_s + 1.0
    order = list(POLICIES)
    tried: list[tuple[float, bool]] = []

    def holds(rate: float) -> bool:
        for policy in order:
            late_s = steady_figures(play(policy, rate))["ttft_late_mean_s"]
            if late_s is not None and late_s < limit_s:
                order.remove(policy)
                order.insert(0, policy)  # it holds first the next time too, mostly
                tried.append((rate, True))
                return True
        tried.append((rate, False))
        return False

    rate = largest(holds, guess, whole=whole)
    return Found(rate=rate, idle_ttft_s=idle_s, tried=tuple(tried))


def largest(holds: Callable[[float], bool], guess: float, *, whole: bool = False) -> float:
    """Give the largest rate that holds, to ``PRECISION``.

    >>> largest(lambda rate: rate < 18.2, 5.0) / 18.2 > 1 / PRECISION
    True
    """
    low, high = _bracket(holds, guess, whole=whole)
    while high / low > PRECISION:
        middle = _rate((low * high) ** 0.5, whole=whole)
        if middle in {low, high}:
            break
        if holds(middle):
            low = middle
        else:
            high = middle
    return rounded(low)


def _bracket(holds: Callable[[float], bool], guess: float, *, whole: bool) -> tuple[float, float]:
    """Give a rate that holds and one that does not."""
    rate = _rate(guess, whole=whole)
    if holds(rate):
        while True:
            above = _rate(max(rate * STEP, rate + 1 if whole else 0), whole=whole)
            if not holds(above):
                return rate, above
            rate = above
    while True:
        below = _rate(rate / STEP, whole=whole)
        if below < guess / 1e3 or below == rate:
            raise SimulationRefused(f"not even a rate of {below:g} holds")
        if holds(below):
            return below, rate
        rate = below


def _rate(rate: float, *, whole: bool) -> float:
    return max(1.0, float(round(rate))) if whole else rate


def record(path: Path, workload: str, fleet: str, rate: float) -> None:
    """Write one capacity into the file, beside what it holds, sorted."""
    known: dict[str, dict[str, float]] = json.loads(path.read_text()) if path.is_file() else {}
    known.setdefault(workload, {})[fleet] = rate
    write_whole(path, (json.dumps(known, indent=2, sort_keys=True) + "\n").encode())


def _first_job(pair: Pair) -> Job:
    """Give a run at the first guess: what is known already, else the workload's own rate."""
    workload, fleet = load(pair.workload, pair.fleet, pair.data)
    known = workload.capacity(fleet.name)
    return Job(
        workload=pair.workload,
        fleet=pair.fleet,
        policy=POLICIES[0],
        data=pair.data,
        rate=known or workload.rate or GUESS_PER_ENDPOINT * len(fleet.endpoints),
        seed=1,
        warmup_s=workload.warmup_s,
        measure_s=workload.measure_s,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pairs = list(dict.fromkeys((cell.workload, cell.fleet) for cell in WHOLE))
    parser.add_argument(
        "pairs", nargs="*", type=_pair, default=pairs, help="default: every pair of the matrix"
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--out", type=Path, default=CAPACITY)
    parser.add_argument("--jobs", type=int, default=cores())
    given = parser.parse_args(arguments)
    if not given.data.is_dir():
        parser.error(f"{given.data} is not there; name the data folder with --data")
    problem = why_not_writable(given.out)
    if problem is not None:
        parser.error(problem)
    return given


def _pair(text: str) -> tuple[str, str]:
    workload, colon, fleet = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f"{text!r} is not WORKLOAD:FLEET")
    return workload, fleet


if __name__ == "__main__":
    run_command(main)
