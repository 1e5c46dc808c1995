"""Train one fleet's models on more rows than fit into memory.

The rows are looked at twice, a stretch at a time: once for what physics, bins and the
evaluation need (:mod:`predictor.survey`), once to put each row's inputs into bins of a byte
each, which LightGBM keeps. What is trained is what :func:`predictor.training.train_first`
trains, with three differences that matter only where there are many rows: each tree sees
at most two million of them, drawn anew; models of the ratio are not shown rows that have
all but been forgotten; and the evaluation scores at most the newest hundred thousand, by
models trained on the million before. Pure: the rows come from the caller. Called by
``foretoken train``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from predictor.boosted import KINDS, n_trees, parameters, tree_inputs
from predictor.errors import TrainingRefused
from predictor.physics import TARGETS, PhysicsFit
from predictor.settings import PhysicsSettings, TrainingSettings
from predictor.snapshot import ModelSnapshot
from predictor.survey import Survey
from predictor.table import Table
from predictor.training import (
    TrainedModel,
    decay,
    evaluate_from,
    fit_physics,
    log_prior_of,
    require_labels,
    train_first,
)
from predictor.types import FloatArray

Rows = Callable[[], Iterator[Table]]
"""Gives the same rows, oldest first, each time it is called."""

TREE_ROWS: Final = 2_000_000
"""Rows drawn for a tree of 15 leaves, at most: more cost time and change no split."""
EVALUATED_ROWS: Final = 100_000
PAST_ROWS: Final = 1_000_000
_FORGOTTEN: Final = 1e-6  # of a row's weight: a million of them would weigh one row
_BATCH_ROWS: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Say how much may be held at once.

    Attributes:
        whole_rows: So many rows are trained on as a table, all in memory.
        most_rows: Rows in bins. Of more, the newest half of so many are all taken and the
            older ones evenly thinned.
    """

    whole_rows: int = 100_000
    most_rows: int = 24_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """Tell what was trained, on how many of how many rows."""

    model: TrainedModel
    rows: int
    used_rows: int


def train_streamed(
    rows: Rows,
    settings: TrainingSettings | None = None,
    physics: PhysicsSettings | None = None,
    limits: Limits | None = None,
) -> Streamed:
    """Train on all rows and evaluate on the newest.

    Raises:
        TrainingRefused: No target has enough labels.
    """
    settings, physics = settings or TrainingSettings(), physics or PhysicsSettings()
    limits = limits or Limits()
    survey = Survey(
        rows(),
        newest_rows=physics.window_rows,
        tail_rows=max(PAST_ROWS + EVALUATED_ROWS, limits.whole_rows),
    )
    require_labels(survey.counts, settings)
    if survey.rows <= limits.whole_rows:
        model = train_first(survey.tail, settings, physics)
        return Streamed(model=model, rows=survey.rows, used_rows=survey.rows)
    scored = min(int(survey.rows * settings.evaluation_fraction), EVALUATED_ROWS)
    evaluation = evaluate_from(survey.tail, len(survey.tail) - scored, settings, physics)
    survey.tail = Table.of([])  # its memory is wanted
    fit = fit_physics(survey.newest, physics)
    binned = Binned(rows, survey, fit, most_rows=limits.most_rows)
    snapshot = ModelSnapshot(
        physics=fit,
        trees=binned.trees(settings),
        errors=evaluation.experts,
        rows=dict(zip(TARGETS, survey.counts, strict=True)),
        trained_from_s=survey.first_s,
        trained_until_s=survey.last_s,
    )
    return Streamed(
        model=TrainedModel(snapshot=snapshot, evaluation=evaluation),
        rows=survey.rows,
        used_rows=binned.rows,
    )


class Binned:
    """Hold all rows in LightGBM's bins, and what is to be learned of each.

    Args:
        rows: Gives the rows.
        survey: What was seen of them.
        fit: The physics that the trees stand on.
        most_rows: So many are taken at most.

    Attributes:
        rows: How many were taken.
    """

    def __init__(self, rows: Rows, survey: Survey, fit: PhysicsFit, *, most_rows: int) -> None:
        taken = Thinning(survey.rows, most_rows)
        self.rows = taken.rows
        self._log_target = np.empty((len(TARGETS), taken.rows), dtype=np.float32)
        self._log_ratio = np.empty_like(self._log_target)
        self._weight = np.empty_like(self._log_target)
        self._observed_s = np.empty(taken.rows)
        options = _dataset_options()
        sample = survey.sample
        bins = lightgbm.Dataset(
            tree_inputs(sample.features, log_prior_of(fit, sample)),
            np.zeros(len(sample), dtype=np.float32),
            params=options,
        )
        inputs = self._inputs(taken.of(rows()), fit)
        self._dataset: Any = lightgbm.Dataset(  # Any: LightGBM ships no types
            _Pulled(inputs, taken.rows),
            np.zeros(taken.rows, dtype=np.float32),
            reference=bins,
            params=options,
        ).construct()

    def trees(self, settings: TrainingSettings) -> dict[str, str]:
        """Train the models that there are enough labels for, as LightGBM's text by name."""
        found = {}
        for target, name in enumerate(TARGETS):
            known = np.abs(self._log_ratio[target]) <= settings.believable_log
            if int(known.sum()) < settings.minimum_rows:
                continue
            for kind in KINDS:
                found[f"{name}_{kind}"] = self._train(target, kind, known, settings)
        return found

    def _train(
        self, target: int, kind: str, known: NDArray[np.bool_], settings: TrainingSettings
    ) -> str:
        label, weight, first = self._log_target[target], self._weight[target], 0
        if kind == "ratio":
            label, aged = self._log_ratio[target], np.zeros(self.rows)
            aged[known] = decay(self._observed_s[known], settings)
            first = int(np.argmax(aged >= _FORGOTTEN))
            weight = weight * aged.astype(np.float32)
        dataset = self._from(first)
        known = known[first:]
        dataset.set_label(np.where(known, label[first:], np.float32(0.0)))
        dataset.set_weight(np.where(known, weight[first:], np.float32(0.0)))
        share = min(1.0, TREE_ROWS / len(known))
        options = {**_dataset_options(), **parameters(kind, settings)}
        if share < 1.0:
            options |= {"bagging_fraction": share, "bagging_freq": 1}
        booster = lightgbm.train(options, dataset, n_trees(kind, settings))
        return str(booster.model_to_string())

    # Any: as above.
    def _from(self, first: int) -> Any:  # noqa: ANN401
        if first == 0:
            return self._dataset
        return self._dataset.subset(np.arange(first, self.rows)).construct()

    def _inputs(self, tables: Iterator[Table], fit: PhysicsFit) -> Iterator[FloatArray]:
        """Give the trees' inputs table by table, and keep what is to be learned of them."""
        start = 0
        for table in tables:
            log_prior, here = log_prior_of(fit, table), slice(start, start + len(table))
            self._log_target[:, here] = table.log_target
            self._log_ratio[:, here] = table.log_target - log_prior
            self._weight[:, here] = table.weight
            self._observed_s[here] = table.observed_s
            start += len(table)
            yield tree_inputs(table.features, log_prior)


class Thinning:
    """Choose at most so many of ``count`` rows: half of the bound the newest, others evenly.

    >>> thinning = Thinning(1000, 100)
    >>> thinning.rows, Thinning(50, 100).rows
    (100, 50)
    """

    def __init__(self, count: int, most: int) -> None:
        newest = count if count <= most else most // 2
        self._older = count - newest
        self._every = 1 if not self._older else -(-self._older // (most - newest))
        self.rows = newest + -(-self._older // self._every)

    def of(self, tables: Iterator[Table]) -> Iterator[Table]:
        """Give the chosen rows."""
        start = 0
        for table in tables:
            places = np.arange(start, start + len(table))
            start += len(table)
            if self._every == 1 or places[0] >= self._older:
                yield table
            else:
                yield table.only((places >= self._older) | (places % self._every == 0))


class _Pulled(lightgbm.Sequence):
    """Give LightGBM rows in the order it asks for them, once, from first to last."""

    batch_size = _BATCH_ROWS

    def __init__(self, inputs: Iterator[FloatArray], count: int) -> None:
        self._inputs = inputs
        self._count = count
        self._held: list[FloatArray] = []
        self._rows = 0

    def __len__(self) -> int:
        return self._count

    # Any: LightGBM asks a sequence with a reference for slices alone.
    def __getitem__(self, asked: Any) -> FloatArray:  # noqa: ANN401
        """Give the next rows, whose numbers are a slice.

        Raises:
            TrainingRefused: There are fewer than at the first look.
        """
        wanted = asked.stop - asked.start
        while self._rows < wanted:
            table = next(self._inputs, None)
            if table is None:
                raise TrainingRefused("changed", "the traces changed while they were read")
            self._held.append(table)
            self._rows += len(table)
        joined = np.concatenate(self._held)
        self._held, self._rows = [joined[wanted:].copy()], self._rows - wanted
        return joined[:wanted]


def _dataset_options() -> dict[str, object]:
    return {"force_col_wise": True, "verbose": -1, "num_threads": 1}
