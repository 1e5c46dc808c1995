"""Make models from rows: in full, or by continuing an older one; and train once on a trace.

Pure: the same rows give the same model. :mod:`predictor.retraining` decides when a live
fleet's models are made which way; ``foretoken train`` calls :func:`train`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.boosted import KINDS, BoostedModels, train_trees, tree_inputs
from predictor.errors import TrainingRefused
from predictor.evaluation import Evaluation, evaluate
from predictor.fit import forgetting
from predictor.physics import TARGETS, PhysicsFit, PhysicsPrior
from predictor.settings import PhysicsSettings, TrainingSettings
from predictor.snapshot import ModelSnapshot
from predictor.table import Table, label
from predictor.types import FloatArray, Observation

_FEWEST_NEW: Final = 20  # labels of a target from which its trees are continued


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """Hold a model version and its evaluation."""

    snapshot: ModelSnapshot
    evaluation: Evaluation


def train(
    observations: Sequence[Observation],
    settings: TrainingSettings | None = None,
    *,
    physics: PhysicsSettings | None = None,
) -> TrainedModel:
    """Train on the newest window of observations and evaluate in arrival order.

    Args:
        observations: In the order their labels arrived; unusable labels are left out.
        settings: Window, decay and sizes of the models.
        physics: How the prior under the trees is fitted.

    Raises:
        TrainingRefused: No target has enough labels.
    """
    settings = settings or TrainingSettings()
    rows = [label(observation)[0] for observation in observations[-settings.window_rows :]]
    table = Table.of([row for row in rows if row is not None])
    return train_first(table, settings, physics or PhysicsSettings())


def train_first(table: Table, settings: TrainingSettings, physics: PhysicsSettings) -> TrainedModel:
    """Train on all rows, after evaluating the same on the newest of them.

    Raises:
        TrainingRefused: No target has enough labels.
    """
    require_rows(table, settings)
    start = int(len(table) * (1.0 - settings.evaluation_fraction))
    evaluation = evaluate_from(table, start, settings, physics)
    snapshot = train_full(table, settings, physics)
    return TrainedModel(
        snapshot=replace(snapshot, errors=evaluation.experts), evaluation=evaluation
    )


def require_rows(table: Table, settings: TrainingSettings) -> None:
    """See that one target at least has enough labels.

    Raises:
        TrainingRefused: None has.
    """
    require_labels(table.counts, settings)


def require_labels(counts: Sequence[int], settings: TrainingSettings) -> None:
    """See that one target at least has enough of the labels counted by target.

    Raises:
        TrainingRefused: None has.
    """
    if max(counts) < settings.minimum_rows:
        raise TrainingRefused(
            "too_few_rows",
            f"{counts[0]} TTFT and {counts[1]} TPOT labels usable, "
            f"{settings.minimum_rows} of one needed",
        )


def train_full(table: Table, settings: TrainingSettings, physics: PhysicsSettings) -> ModelSnapshot:
    """Fit physics and trees anew on all rows."""
    fit = fit_physics(table, physics)
    log_prior = log_prior_of(fit, table)
    inputs = tree_inputs(table.features, log_prior)
    trees = {}
    for target, name in enumerate(TARGETS):
        known = _believable(table, log_prior, target, settings)
        if len(known) < settings.minimum_rows:
            continue
        for kind in KINDS:
            labels, weight = _labels(
                table, log_prior, known, target=target, kind=kind, settings=settings
            )
            trees[f"{name}_{kind}"] = train_trees(
                inputs[known], labels, weight, kind=kind, settings=settings
            )
    return _snapshot(table, fit, trees)


def train_on(model: ModelSnapshot, table: Table, settings: TrainingSettings) -> ModelSnapshot:
    """Continue a model's trees on the newest rows; its physics stays as it is."""
    newest = table.part(max(len(table) - settings.continuation_rows, 0), len(table))
    log_prior = log_prior_of(model.physics, newest)
    inputs = tree_inputs(newest.features, log_prior)
    trees = dict(model.trees)
    for target, name in enumerate(TARGETS):
        known = _believable(newest, log_prior, target, settings)
        if len(known) < _FEWEST_NEW:
            continue
        for kind in KINDS:
            start = model.trees.get(f"{name}_{kind}")
            if start is not None:
                labels, weight = _labels(
                    newest, log_prior, known, target=target, kind=kind, settings=settings
                )
                trees[f"{name}_{kind}"] = train_trees(
                    inputs[known], labels, weight, kind=kind, settings=settings, start=start
                )
    return _snapshot(table, model.physics, trees)


def _believable(
    table: Table, log_prior: FloatArray, target: int, settings: TrainingSettings
) -> NDArray[np.intp]:
    """Find the labels that the physics of the newest rows can at all be meant by.

    After poison, or another fleet under the same name, it is the old rows that cannot.
    """
    distance = np.abs(table.log_target[target] - log_prior[target])
    return np.flatnonzero(distance <= settings.believable_log)  # NaN is no label


def _snapshot(table: Table, fit: PhysicsFit, trees: dict[str, str]) -> ModelSnapshot:
    return ModelSnapshot(
        physics=fit,
        trees=trees,
        rows=dict(zip(TARGETS, table.counts, strict=True)),
        trained_from_s=float(table.observed_s[0]),
        trained_until_s=float(table.observed_s[-1]),
    )


def _labels(
    table: Table,
    log_prior: FloatArray,
    known: NDArray[np.intp],
    *,
    target: int,
    kind: str,
    settings: TrainingSettings,
) -> tuple[FloatArray, FloatArray]:
    """Give what one model is to say of the rows with a label, and what each weighs."""
    labels, weight = table.log_target[target, known], table.weight[target, known]
    if kind == "ratio":
        observed_s = table.observed_s[known]
        labels = labels - log_prior[target, known]
        weight = weight * decay(observed_s, settings, now=float(observed_s[-1]))
    return labels, weight


def decay(
    observed_s: FloatArray, settings: TrainingSettings, *, now: float, shares: int = 1
) -> FloatArray:
    """Weigh the rows of a model of the ratio, oldest first, by age.

    Args:
        observed_s: ``(m,)``.
        settings: How fast they are forgotten.
        now: When the newest of all was observed.
        shares: These are every so many-th of all rows.
    """
    return forgetting(
        observed_s,
        now=now,
        half_life_rows=settings.ratio_half_life_rows / shares,
        half_life_s=settings.ratio_half_life_s,
    )


def log_prior_of(fit: PhysicsFit, table: Table) -> FloatArray:
    """Give ``(2, m)`` log seconds that physics says of the rows."""
    prior = PhysicsPrior(fit=fit)
    return prior.predict(table.features, table.endpoints, table.hardware).log_prior


def fit_physics(table: Table, settings: PhysicsSettings) -> PhysicsFit:
    """Fit physics to the newest rows of each endpoint."""
    prior = PhysicsPrior(settings)
    wanted = newest_of_each(table, settings.window_rows)
    for index in np.flatnonzero(wanted.any(axis=0)).tolist():
        prior.remember(
            table.features[index],
            table.endpoints[index],
            table.hardware[index],
            observed_s=float(table.observed_s[index]),
            targets_s={
                target: float(np.exp(table.log_target[target, index]))
                for target in range(len(TARGETS))
                if wanted[target, index]
            },
            weights=table.weight[:, index].tolist(),
        )
    prior.refit()
    return prior.fit()


def newest_of_each(table: Table, count: int) -> NDArray[np.bool_]:
    """Mark, ``(2, m)``, the newest labels of each endpoint and target: all a fit reads.

    >>> table = Table.of([])
    >>> newest_of_each(table, 256).shape
    (2, 0)
    """
    wanted = np.zeros(table.log_target.shape, dtype=bool)
    numbers: dict[str, int] = {}
    endpoint = np.fromiter(
        (numbers.setdefault(name, len(numbers)) for name in table.endpoints), np.intp, len(table)
    )
    for target, known in enumerate(np.isfinite(table.log_target)):
        rows = np.flatnonzero(known)
        rows = rows[np.argsort(endpoint[rows], kind="stable")]
        ends = np.cumsum(np.bincount(endpoint[rows], minlength=len(numbers)))
        later = ends[endpoint[rows]] - 1 - np.arange(len(rows))  # labels of that endpoint
        wanted[target, rows[later < count]] = True
    return wanted


def evaluate_from(
    table: Table, start: int, settings: TrainingSettings, physics: PhysicsSettings
) -> Evaluation:
    """Train on the past and score the next block, over the rows from ``start`` on."""
    edges = np.linspace(start, len(table), settings.evaluation_blocks + 1).astype(int)
    blocks = [(low, high) for low, high in pairwise(edges.tolist()) if low < high]
    models = [train_full(table.part(0, low), settings, physics) for low, _ in blocks]
    return evaluate(
        [
            (BoostedModels(model.physics, model.trees), table.part(low, high))
            for model, (low, high) in zip(models, blocks, strict=True)
        ]
    )
