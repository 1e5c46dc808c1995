"""The models of llm-d's latency predictor: boosted trees, one or two a target.

Decides which of them answers: with enough rows of both kinds there is a model for
endpoints with an empty queue and one for the rest. Everything is fitted from scratch on
raw milliseconds and squared error.

In the simulator: LightGBM with the parameters the published predictor has for it, one of
its three ``LATENCY_MODEL_TYPE`` and not the default, XGBoost. On 5,000 synthetic rows with
5 % noise the two have 5.3 and 5.0 % mean error, where 4 % is the floor: a further
dependency would make no better opponent there. ``benchmarks.prediction`` passes XGBoost as
its :data:`Fit`. Their ``subsample`` is left out: LightGBM ignores it without a bagging
frequency, and none is set. One thread and a fixed seed make a run repeatable.

Source: llm-d-latency-predictor b5d19f1, ``training/training_server.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import lightgbm
import numpy as np
from numpy.typing import NDArray

from foretoken.simulation.llmd_rows import IS_QUEUED, PREFIX_BUCKET, WAITING, Buckets
from predictor.trees import Trees
from predictor.types import FloatArray

DEFAULT_MS: Final = 10.0
"""What is served before anything is trained: the outcome of its one made-up row."""

SPLIT_ROWS: Final = 200
"""Rows each of the four parts needs before queued and idle get models of their own."""

_QUEUE_COLUMNS: Final = (IS_QUEUED, WAITING)
_TREES: Final = 200
_PARAMETERS: Final = {
    "objective": "regression",
    "max_depth": 6,
    "learning_rate": 0.05,
    "feature_fraction": 0.8,
    "min_data_in_leaf": 20,
    "lambda_l1": 0.1,
    "lambda_l2": 0.1,
    "seed": 42,
    "deterministic": True,
    "force_col_wise": True,
    "num_threads": 1,
    "verbose": -1,
}

Model = Callable[[FloatArray], FloatArray]
"""From ``(n, n_columns)`` to ``(n,)`` milliseconds, which may be negative."""


Fit = Callable[[FloatArray, FloatArray, int | None], Model]
"""From rows, ``(n,)`` labels in ms and the column whose values have no order to a model."""


def constant(rows: FloatArray) -> FloatArray:
    """Predict what an untrained server predicts: 10 ms for everything."""
    return np.full(len(rows), DEFAULT_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueGated:
    """Ask one model about endpoints with an empty queue and another about the rest.

    Attributes:
        idle: Fitted where nobody waits; does not see the two queue columns.
        queued: Fitted where somebody does.
    """

    idle: Model
    queued: Model

    def __call__(self, rows: FloatArray) -> FloatArray:
        """Predict ``(n,)`` milliseconds."""
        waits = rows[:, WAITING] > 0
        predicted = np.empty(len(rows))
        if waits.any():
            predicted[waits] = self.queued(rows[waits])
        if not waits.all():
            predicted[~waits] = self.idle(without_queue(rows[~waits]))
        return predicted


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Hold what is served of one training.

    Attributes:
        ttft: Predicts TTFT from ``llmd_rows.ttft_rows``.
        tpot: Predicts TPOT from ``llmd_rows.tpot_rows``.
        version: Number of the training, 0 before the first.
    """

    ttft: Model = constant
    tpot: Model = constant
    version: int = 0


def fit(
    rows: FloatArray, labels_ms: FloatArray, categorical: int | None, *, alpha: float | None = None
) -> Model:
    """Fit one model; the same input gives the same model.

    Args:
        rows: ``(n, n_columns)``.
        labels_ms: ``(n,)``.
        categorical: Column whose values have no order, ``None`` for none.
        alpha: Quantile to predict, ``None`` for the mean.
    """
    data = lightgbm.Dataset(
        rows, labels_ms, categorical_feature=[] if categorical is None else [categorical]
    )
    goal = {} if alpha is None else {"objective": "quantile", "alpha": alpha}
    booster = lightgbm.train(_PARAMETERS | goal, data, _TREES)
    return Trees(booster.model_to_string(), n_inputs=rows.shape[1]).predict


def train(
    ttft: Buckets, tpot: Buckets, *, before: Models, least_rows: int, fit: Fit = fit
) -> Models:
    """Fit everything there are rows for; a target with too few keeps its model.

    The published trainer fits the single models even where the gated ones are served;
    what is never asked is not fitted here.
    """
    parts = [buckets.rows() if len(buckets) >= least_rows else None for buckets in (ttft, tpot)]
    gated = all(
        part is not None and SPLIT_ROWS <= part[2].sum() <= len(part[2]) - SPLIT_ROWS
        for part in parts
    )
    models = [before.ttft, before.tpot]
    for index, (part, categorical) in enumerate(zip(parts, (PREFIX_BUCKET, None), strict=True)):
        if part is not None:
            models[index] = (
                _fit_gated(*part, categorical, fit) if gated else fit(*part[:2], categorical)
            )
    return Models(ttft=models[0], tpot=models[1], version=before.version + 1)


def _fit_gated(
    rows: FloatArray,
    labels_ms: FloatArray,
    waits: NDArray[np.bool_],
    categorical: int | None,
    fit: Fit,
) -> Model:
    """Fit one model where nobody waits and one where somebody does."""
    shifted = None if categorical is None else categorical - len(_QUEUE_COLUMNS)
    return QueueGated(
        idle=fit(without_queue(rows[~waits]), labels_ms[~waits], shifted),
        queued=fit(rows[waits], labels_ms[waits], categorical),
    )


def without_queue(rows: FloatArray) -> FloatArray:
    """Drop the queue's two columns, which are constant where nobody waits."""
    return np.ascontiguousarray(np.delete(rows, _QUEUE_COLUMNS, axis=1))
