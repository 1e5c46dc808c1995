"""The part that counts CPU: a prediction, a label, a training, llm-d's beside them.

All on one thread, in rounds that give each its turn, so that whatever else the machine
does falls on all of them. A figure is the median over rounds of that round's p50 and p90.
Features are there already: gathering them is the scheduler's (``benchmarks.decision``).

Ours: one ``LatencyPredictor.predict`` gives both targets and all quantiles at every
endpoint; each is followed by one ``learn``, as in production, so that nothing stays
prepared from the call before. Trainings are those of production settings on 20,000 labels
a target, spread over 8 and over 100 endpoints. llm-d's: its mean models of both targets in
this process, without the HTTP call that it makes of each prediction, and their training on
those of the same labels that its buckets keep.
"""

import argparse
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

import numpy as np
from rich.console import Console

from benchmarks.prediction.cost_rows import (
    SPACING_S,
    Measured,
    buckets_of,
    labels_of,
    names,
    observation_of,
    table_of,
)
from benchmarks.prediction.cost_table import Cost, cost_table
from benchmarks.prediction.pages import Pages
from benchmarks.prediction.plays import Plays
from benchmarks.prediction.reference import FIT
from benchmarks.prediction.rowset import TARGETS, RowSet
from foretoken.simulation.llmd_models import Models
from foretoken.simulation.llmd_models import train as train_llmd
from foretoken.simulation.llmd_predictor import LEAST_ROWS
from foretoken.simulation.llmd_rows import tpot_rows
from predictor import LatencyPredictor, ModelSnapshot
from predictor.physics import TTFT
from predictor.settings import PhysicsSettings, TrainingSettings
from predictor.table import Table
from predictor.training import train_full, train_on
from predictor.types import FloatArray
from predictor.values import replace

ENDPOINTS: Final = (8, 100)
ROWS: Final = 20_000
PREDICT_MUST_S: Final = {8: 0.12e-3, 100: 0.8e-3}
"""p50 of a prediction, by number of endpoints."""
REFIT_MUST_S: Final = 1.0
"""Of a full training of one target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Say how much is measured.

    Attributes:
        rows: Labels a target is trained on.
        taught: Labels a predictor has learned before it is timed.
        rounds: Of predictions.
        calls: Of each prediction in a round.
        trainings: Rounds of those.
    """

    rows: int = ROWS
    taught: int = 3000
    rounds: int
    calls: int
    trainings: int


FULL: Final = Effort(rounds=15, calls=200, trainings=5)
QUICK: Final = Effort(rounds=5, calls=60, trainings=1)


def main_part(
    given: argparse.Namespace, console: Console, *, plays: Plays, pages: Pages
) -> tuple[dict[str, object], bool]:
    """Measure and print; give what goes to JSON, and whether every must is met."""
    with console.status("cost"):
        costs = measure([orders[0] for orders in plays.sets], QUICK if given.quick else FULL)
    pages.show(console, {"cost": cost_table(costs)})
    found = [asdict(cost) | {"passes": cost.passes} for cost in costs]
    return {"costs": found}, given.quick or all(cost.passes for cost in costs)


def measure(sets: Sequence[RowSet], effort: Effort) -> list[Cost]:
    """Measure everything on the labels of some sets.

    Raises:
        NoLabels: They have none of one target.
    """
    labels = [labels_of(sets, target, effort.rows) for target in range(len(TARGETS))]
    tables = {count: [table_of(some, count) for some in labels] for count in ENDPOINTS}
    both = {count: _in_turn(some) for count, some in tables.items()}
    models = {
        count: train_full(table, TrainingSettings(), PhysicsSettings())
        for count, table in both.items()
    }
    llmd = _Llmd(labels)
    return [
        *_predictions(labels, models, llmd, effort),
        *_trainings(tables, both, models, llmd, effort),
    ]


def _in_turn(tables: Sequence[Table]) -> Table:
    """Join the targets' tables, labels in the order of their times."""
    joined = Table.joined(tables)
    order = np.argsort(joined.observed_s, kind="stable")
    return Table(
        features=joined.features[order],
        log_target=joined.log_target[:, order],
        weight=joined.weight[:, order],
        observed_s=joined.observed_s[order],
        endpoints=[joined.endpoints[index] for index in order],
        hardware=[joined.hardware[index] for index in order],
    )


class _Served:
    """A predictor that has learned from these endpoints, and requests to ask it about.

    Args:
        labels: By target.
        endpoints: Their number.
        model: Trained model that takes part, ``None`` for none.
        taught: Labels to learn.
    """

    def __init__(
        self,
        labels: Sequence[Sequence[Measured]],
        endpoints: int,
        model: ModelSnapshot | None,
        *,
        taught: int,
    ) -> None:
        self._labels = labels
        self._names = names(endpoints)
        self._features = np.array([one.row.features for one in labels[TTFT]])
        self._predictor = LatencyPredictor(snapshot=model)
        self._asked = 0
        for _ in range(taught):
            self.turn()

    def turn(self) -> tuple[float, float]:
        """Predict the next request, then learn a label of it; give the CPU seconds of both."""
        number, count = self._asked, len(self._names)
        self._asked += 1
        features = self._features[np.arange(number * count, (number + 1) * count) % len(self)]
        started_s = time.process_time()
        said = self._predictor.predict(features, self._names, [None] * count)
        predicted_s = time.process_time()
        at, target = number % count, number % len(TARGETS)
        observation = replace(
            observation_of(self._labels[target][number % len(self)], target, self._names[at]),
            observed_s=number * SPACING_S,
            features=features[at],
            experts=said.experts[:, :, at],
            predicted_ttft_s=float(said.ttft_s[at]),
            predicted_tpot_s=float(said.tpot_s[at]),
            predicted_ttft_p90_s=float(said.ttft_p90_s[at]),
            predicted_tpot_p90_s=float(said.tpot_p90_s[at]),
        )
        taught_s = time.process_time()
        self._predictor.learn(observation)
        return predicted_s - started_s, time.process_time() - taught_s

    def __len__(self) -> int:
        return len(self._features)


class _Llmd:
    """llm-d's models, and rows to ask them about."""

    def __init__(self, labels: Sequence[Sequence[Measured]]) -> None:
        self._rows = np.array([one.reference_row for one in labels[TTFT]])
        self._buckets = [buckets_of(some, target) for target, some in enumerate(labels)]
        self._models = self._train()
        self._asked = 0

    @property
    def kept(self) -> int:
        """Count the rows its buckets hold of both targets."""
        return sum(map(len, self._buckets))

    def _train(self) -> Models:
        ttft, tpot = self._buckets
        return train_llmd(ttft, tpot, before=Models(), least_rows=LEAST_ROWS, fit=FIT)

    def training(self) -> float:
        """Train both targets; give the CPU seconds."""
        return _timed(self._train)

    def turn(self, count: int) -> tuple[float]:
        """Predict both targets of so many rows; give the CPU seconds."""
        self._asked += 1
        rows = self._rows[np.arange(self._asked * count, (self._asked + 1) * count) % len(self)]
        return (_timed(lambda: (self._models.ttft(rows), self._models.tpot(tpot_rows(rows)))),)

    def __len__(self) -> int:
        return len(self._rows)


def _timed(work: Callable[[], object]) -> float:
    started_s = time.process_time()
    work()
    return time.process_time() - started_s


def _predictions(
    labels: Sequence[Sequence[Measured]],
    models: Mapping[int, ModelSnapshot],
    llmd: _Llmd,
    effort: Effort,
) -> list[Cost]:
    turns: dict[tuple[int, str], Callable[[], tuple[float, ...]]] = {}
    for count in ENDPOINTS:
        turns[count, "without trees"] = _Served(labels, count, None, taught=effort.taught).turn
        turns[count, "with trees"] = _Served(
            labels, count, models[count], taught=effort.taught
        ).turn
        turns[count, "llm-d"] = partial(llmd.turn, count)
    seconds = _in_rounds(turns, effort)
    costs = []
    for count in ENDPOINTS:
        theirs = _percentiles(seconds[count, "llm-d"], 0)
        for trees in ("without trees", "with trees"):
            p50_s, p90_s = _percentiles(seconds[count, trees], 0)
            costs.append(
                Cost(
                    what=f"prediction, {count} endpoints, {trees}",
                    p50_s=p50_s, p90_s=p90_s, llmd_p50_s=theirs[0], llmd_p90_s=theirs[1],
                    must_s=PREDICT_MUST_S[count],
                )
            )  # fmt: skip
        p50_s, p90_s = _percentiles(seconds[count, "with trees"], 1)
        costs.append(Cost(what=f"learning a label, {count} endpoints", p50_s=p50_s, p90_s=p90_s))
    return costs


def _in_rounds(
    turns: Mapping[tuple[int, str], Callable[[], tuple[float, ...]]], effort: Effort
) -> dict[tuple[int, str], FloatArray]:
    """Give everything its turn in every round: ``(n_rounds, n_calls, n_times)`` seconds."""
    seconds: dict[tuple[int, str], list[list[tuple[float, ...]]]] = {name: [] for name in turns}
    for _ in range(effort.rounds):
        gc.collect()
        for name, turn in turns.items():
            seconds[name].append([turn() for _ in range(effort.calls)])
    return {name: np.array(found) for name, found in seconds.items()}


def _percentiles(seconds: FloatArray, column: int) -> tuple[float, float]:
    """Give the medians over rounds of each round's p50 and p90."""
    p50, p90 = np.median(np.quantile(seconds[:, :, column], (0.5, 0.9), axis=1), axis=1).tolist()
    return p50, p90


def _trainings(
    tables: Mapping[int, Sequence[Table]],
    both: Mapping[int, Table],
    models: Mapping[int, ModelSnapshot],
    llmd: _Llmd,
    effort: Effort,
) -> list[Cost]:
    settings, physics = TrainingSettings(), PhysicsSettings()
    works: dict[str, Callable[[], object]] = {}
    for count in ENDPOINTS:
        for target, table in zip(TARGETS, tables[count], strict=True):
            name = f"full training of {target.upper()}, {count} endpoints"
            works[name] = partial(train_full, table, settings, physics)
        name = f"full training of both, {count} endpoints"
        works[name] = partial(train_full, both[count], settings, physics)
        name = f"continued training of both, {count} endpoints"
        works[name] = partial(train_on, models[count], both[count], settings)
    seconds: dict[str, list[float]] = {name: [] for name in works}
    theirs = []
    for _ in range(effort.trainings):
        gc.collect()
        for name, work in works.items():
            seconds[name].append(_timed(work))
        theirs.append(llmd.training())
    costs = []
    for name, found in seconds.items():
        p50_s, p90_s = np.quantile(found, (0.5, 0.9)).tolist()
        must_s = REFIT_MUST_S if "full training of T" in name else None
        costs.append(Cost(what=name, p50_s=p50_s, p90_s=p90_s, must_s=must_s))
    p50_s, p90_s = np.quantile(theirs, (0.5, 0.9)).tolist()
    what = f"llm-d's training of both, {llmd.kept} rows kept of {2 * effort.rows}"
    return [*costs, Cost(what=what, llmd_p50_s=p50_s, llmd_p90_s=p90_s)]
