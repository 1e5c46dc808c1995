"""Goodput: the highest load at which promises are kept, for ours and every baseline."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.flow_control.runs import BASELINES, OURS, Figures, Scene, figures, kept, play
from benchmarks.policies.cells import HOMOGENEOUS
from benchmarks.policies.ratios import geomean
from foretoken.errors import SimulationRefused
from foretoken.simulation.jobs import Progress

LEAST_KEPT: Final = 0.95
STEP: Final = 1.2
PRECISION: Final = 1.05
MUST: Final = {"all": 1.15, "mixed": 1.3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Say where to search.

    Attributes:
        scene: What to play.
        guess: Requests per second to begin with.
    """

    scene: Scene
    guess: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """Hold what a search has found.

    Attributes:
        scene: Where.
        rate: Highest load, in requests per second of all tiers, that keeps promises.
        at_rate: What each tier had at that load.
        tried: Loads, and the share of promises kept at each.
    """

    scene: Scene
    rate: float
    at_rate: Figures
    tried: tuple[tuple[float, float], ...]


def search(job: Search, _progress: Progress) -> Goodput:
    """Bisect for the highest load."""
    seen: dict[float, Figures] = {}

    def holds(rate: float) -> bool:
        run = play(job.scene, rate)
        seen[rate] = figures(run, run.warmup_s, run.warmup_s + run.measure_s)
        return kept(seen[rate]) >= LEAST_KEPT

    rate = highest(holds, job.guess)
    tried = tuple((rate, kept(found)) for rate, found in seen.items())
    return Goodput(scene=job.scene, rate=rate, at_rate=seen[rate], tried=tried)


def highest(holds: Callable[[float], bool], guess: float) -> float:
    """Give the highest load that holds, to ``PRECISION``, from a guess in small steps.

    Far beyond the limit a run takes many times as long, and tells nothing.

    Raises:
        SimulationRefused: Not even a tenth of the guess holds.

    >>> highest(lambda rate: rate < 18.2, 20.0) / 18.2 > 1 / PRECISION
    True
    """
    low = high = guess
    if holds(guess):
        while holds(high := low * STEP):
            low = high
    else:
        while not holds(low := high / STEP):
            high = low
            if high < guess / 10:
                raise SimulationRefused(f"not even {high:.3g} requests/s hold")
    while high / low > PRECISION:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def rates(found: Sequence[Goodput]) -> dict[tuple[str, str], dict[str, float]]:
    """Give mean rates over seeds, by cell (workload, fleet) and arm."""
    by_cell: dict[tuple[str, str], dict[str, list[float]]] = {}
    for one in found:
        cell = by_cell.setdefault((one.scene.workload, one.scene.fleet), {})
        cell.setdefault(one.scene.arm, []).append(one.rate)
    return {
        cell: {arm: sum(values) / len(values) for arm, values in arms.items()}
        for cell, arms in by_cell.items()
    }


def gains(found: Sequence[Goodput]) -> dict[str, float]:
    """Give ours over the best baseline of each cell, geometric means by group.

    The best baseline is the one that turned out best in that cell: nobody has it everywhere.
    """
    ratios: dict[str, list[float]] = {}
    for (_, fleet), arms in rates(found).items():
        best = max((arms[arm] for arm in BASELINES if arm in arms), default=None)
        if best is None or OURS not in arms:
            continue
        for group in ("all", "homogeneous" if fleet in HOMOGENEOUS else "mixed"):
            ratios.setdefault(group, []).append(arms[OURS] / best)
    return {group: geomean(values) for group, values in ratios.items()}


def as_json(one: Goodput) -> dict[str, object]:
    """Give a search's findings as plain data."""
    scene = one.scene
    return {
        "workload": scene.workload,
        "fleet": scene.fleet,
        "arm": scene.arm,
        "seed": scene.seed,
        "rate_per_s": one.rate,
        "tiers": {tier: asdict(found) for tier, found in one.at_rate.items()},
        "tried": one.tried,
    }
