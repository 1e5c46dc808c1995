"""Goodput: the highest load at which promises are kept, for ours and every baseline."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from benchmarks.capacity import largest
from benchmarks.flow_control.runs import BASELINES, OURS, Figures, Scene, figures, kept, play
from benchmarks.policies.cells import HOMOGENEOUS
from foretoken.simulation.jobs import Progress

LEAST_KEPT: Final = 0.95
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

    largest(holds, job.guess)
    rate = max(rate for rate, found in seen.items() if kept(found) >= LEAST_KEPT)
    tried = tuple((rate, kept(found)) for rate, found in seen.items())
    return Goodput(scene=job.scene, rate=rate, at_rate=seen[rate], tried=tried)


def rates(found: Sequence[Goodput]) -> dict[tuple[str, str], dict[str, float]]:
    """Give mean rates over seeds, by cell (workload, fleet) and arm."""
    by_cell: dict[tuple[str, str], dict[str, list[float]]] = {}
    for one in found:
        arm = one.scene.arm if one.scene.flow_control else f"{one.scene.arm}, no flow control"
        cell = by_cell.setdefault((one.scene.workload, one.scene.fleet), {})
        cell.setdefault(arm, []).append(one.rate)
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
    return {
        group: math.exp(sum(map(math.log, values)) / len(values))
        for group, values in ratios.items()
    }


def as_json(one: Goodput) -> dict[str, object]:
    """Give a search's findings as plain data."""
    scene = one.scene
    return {
        "workload": scene.workload,
        "fleet": scene.fleet,
        "arm": scene.arm,
        "flow_control": scene.flow_control,
        "seed": scene.seed,
        "rate_per_s": one.rate,
        "tiers": {tier: asdict(found) for tier, found in one.at_rate.items()},
        "tried": one.tried,
    }
