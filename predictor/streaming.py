"""Train one fleet's models on more rows than fit into memory.

The rows are looked at twice, a stretch at a time: once for what physics, bins and the
evaluation need (:mod:`predictor.survey`), once to put each row's inputs into bins
(:mod:`predictor.binned`). What is trained is what :func:`predictor.training.train_first`
trains, with three differences that matter only where there are many rows: each tree sees
at most two million of them, drawn anew; models of the ratio are not shown rows that have
all but been forgotten; and the evaluation scores at most the newest hundred thousand, by
models trained on the million before. Pure: the rows come from the caller. Called by
``foretoken train``.
"""

from dataclasses import dataclass
from typing import Final

from predictor.binned import Basis, Binned, Rows
from predictor.evaluation import Evaluation
from predictor.physics import TARGETS, PhysicsFit
from predictor.settings import PhysicsSettings, TrainingSettings
from predictor.snapshot import ModelSnapshot
from predictor.survey import Seen, Survey
from predictor.table import Table
from predictor.training import (
    TrainedModel,
    evaluate_from,
    fit_physics,
    require_labels,
    train_first,
)

EVALUATED_ROWS: Final = 100_000
TAIL_ROWS: Final = EVALUATED_ROWS + 1_000_000
"""Newest rows that are held as a table, for the evaluation."""


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
        tail_rows=max(TAIL_ROWS, limits.whole_rows),
    )
    seen = survey.seen
    require_labels(seen.counts, settings)
    if seen.rows <= limits.whole_rows:
        model = train_first(survey.tail, settings, physics)
        return Streamed(model=model, rows=seen.rows, used_rows=seen.rows)
    evaluation = evaluate_tail(survey.tail, seen.rows, settings, physics)
    del survey  # its memory is wanted
    fit = fit_physics(seen.newest, physics)
    binned = Binned(rows, seen.rows, Basis(seen=seen, fit=fit), most_rows=limits.most_rows)
    model = trained(seen, fit, binned.trees(settings), evaluation)
    return Streamed(model=model, rows=seen.rows, used_rows=binned.rows)


def evaluate_tail(
    tail: Table, rows: int, settings: TrainingSettings, physics: PhysicsSettings
) -> Evaluation:
    """Train on the past and score the newest of ``rows``, of which the tail is what is held."""
    scored = min(int(rows * settings.evaluation_fraction), EVALUATED_ROWS, len(tail) // 2)
    return evaluate_from(tail, len(tail) - scored, settings, physics)


def trained(
    seen: Seen, fit: PhysicsFit, trees: dict[str, str], evaluation: Evaluation
) -> TrainedModel:
    """Put a model together."""
    snapshot = ModelSnapshot(
        physics=fit,
        trees=trees,
        errors=evaluation.experts,
        rows=dict(zip(TARGETS, seen.counts, strict=True)),
        trained_from_s=seen.first_s,
        trained_until_s=seen.last_s,
    )
    return TrainedModel(snapshot=snapshot, evaluation=evaluation)
