"""Policies against each other over many cells: ratios, geometric means, worst cells.

A ratio compares two policies on the same cell and the same seed, so that what the seed
itself does cancels. Two references: one fixed policy, and for each cell and metric the
heuristic that turned out best there. Nobody can choose in hindsight, so no single policy
attains the second, and being a minimum over many it is low by selection: beating it
everywhere is more than a user could ever have had.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from benchmarks.policies.cells import Cell
from benchmarks.policies.results import Record
from foretoken.simulation.figures import Spread

METRICS: Final = ("e2e_mean_s", "ttft_mean_s", "ttft_p90_s", "tpot_p90_s")
"""Figures that ratios are taken of: less is better in each."""

PREDICTING: Final = frozenset({"predicted_latency", "llmd_predictor"})
"""Arms that predict: neither heuristics nor references."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """Summarise one policy's ratios over a group of cells.

    Attributes:
        geomean: Geometric mean over the cells, and its spread over the seeds.
        worst: Largest ratio of a cell (over its seeds, the geometric mean).
        cells: How many cells it has been played on.
    """

    geomean: Spread
    worst: float
    cells: int


class Results:
    """Look results up by cell, policy and seed.

    Args:
        records: Results, in the order of the cells and policies.
        references: Names of the arms that know what no router can know.
        seeds: Seeds a figure needs to be given, those there are by default.
    """

    def __init__(
        self,
        records: Sequence[Record],
        references: Iterable[str],
        seeds: Iterable[int] | None = None,
    ) -> None:
        self._by_run = {(each.cell, each.policy, each.seed): each for each in records}
        self.cells = tuple(dict.fromkeys(each.cell for each in records))
        self.policies = tuple(dict.fromkeys(each.policy for each in records))
        found = (each.seed for each in records) if seeds is None else seeds
        self.seeds = tuple(sorted(set(found)))
        self.references = frozenset(references)

    @property
    def heuristics(self) -> tuple[str, ...]:
        """Name the policies one could run without any model."""
        return tuple(name for name in self.policies if name not in self.references | PREDICTING)

    def of(self, cell: Cell, policy: str) -> list[Record]:
        """Give a policy's results on a cell, by seed."""
        found = (self._by_run.get((cell, policy, seed)) for seed in self.seeds)
        return [each for each in found if each is not None]

    def value(self, cell: Cell, policy: str, seed: int, metric: str) -> float | None:
        """Give one figure of one run, ``None`` where it was not played or not measured."""
        record = self._by_run.get((cell, policy, seed))
        return None if record is None else record.steady[metric]

    def mean(self, cell: Cell, policy: str, metric: str) -> float | None:
        """Give a figure's mean over the seeds; ``None`` unless every seed has it."""
        values = [self.value(cell, policy, seed, metric) for seed in self.seeds]
        known = [value for value in values if value is not None]
        return fmean(known) if known and len(known) == len(values) else None

    def best_heuristic(self, cell: Cell, metric: str) -> str | None:
        """Name the heuristic with the least mean: the best in hindsight."""
        means = {name: self.mean(cell, name, metric) for name in self.heuristics}
        known = {name: mean for name, mean in means.items() if mean is not None}
        return min(known, key=known.__getitem__, default=None)


def ratios(
    results: Results, policy: str, metric: str, against: Mapping[Cell, str | None]
) -> dict[Cell, list[float]]:
    """Give, for each cell both were played on, the ratio of each seed.

    Args:
        results: What was measured.
        policy: Whose ratios.
        metric: Of which figure.
        against: The policy compared with, by cell; ``None`` leaves the cell out.
    """
    found = {}
    for cell, other in against.items():
        if other is None:
            continue
        pairs = [
            (results.value(cell, policy, seed, metric), results.value(cell, other, seed, metric))
            for seed in results.seeds
        ]
        known = [own / base for own, base in pairs if own is not None and base]
        if known and len(known) == len(pairs):
            found[cell] = known
    return found


def overall(by_cell: Mapping[Cell, Sequence[float]]) -> Overall | None:
    """Summarise the ratios of a group of cells; ``None`` where there are none."""
    if not by_cell:
        return None
    by_seed = [geomean(values) for values in zip(*by_cell.values(), strict=True)]
    whole = [geomean(values) for values in by_cell.values()]
    return Overall(
        geomean=Spread(mean=geomean(whole), low=min(by_seed), high=max(by_seed)),
        worst=max(whole),
        cells=len(whole),
    )


def geomean(values: Iterable[float]) -> float:
    """Give the geometric mean of positive numbers.

    >>> geomean([1.0, 4.0])
    2.0
    """
    return math.exp(fmean(map(math.log, values)))
