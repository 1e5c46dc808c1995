"""LightGBM on top of frozen physics: what the linear terms cannot say.

Two models a target. *Ratio* learns log(actual / physics), so it extrapolates as physics
does under queues longer than any seen; *direct* learns log(actual). Both minimise
absolute error: single stalls of seconds ruin squared error. They see the feature table
plus the physics' own two predictions, which is how they know which endpoint it is.
Physics here is the fit made at training, frozen with the trees, so that the trees see
at dispatch what they were trained on. Missing features are LightGBM's own missing.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from predictor.features import N_FEATURES
from predictor.forest import Forest
from predictor.kernels import forest as kernels
from predictor.kernels.compiled import plain
from predictor.kernels.terms import rows_of
from predictor.physics import TARGETS, PhysicsFit, PhysicsPrior
from predictor.settings import TrainingSettings
from predictor.types import FloatArray

KINDS: Final = ("ratio", "direct")
_MODELS: Final = tuple(f"{target}_{kind}" for target in TARGETS for kind in KINDS)
_N_INPUTS: Final = N_FEATURES + len(TARGETS)


def tree_inputs(features: FloatArray, log_prior: FloatArray) -> FloatArray:
    """Lay the feature rows and the physics' ``(2, n)`` log seconds side by side."""
    inputs = np.empty((len(features), _N_INPUTS))
    kernels.tree_inputs(rows_of(features), plain(log_prior.T), inputs)
    return inputs


def train_trees(
    inputs: FloatArray,
    log_target: FloatArray,
    weight: FloatArray,
    *,
    kind: str,
    settings: TrainingSettings,
    start: str | None = None,
) -> str:
    """Train one model and give it as LightGBM's text; the same input gives the same text.

    Args:
        inputs: ``(m, n_inputs)``.
        log_target: ``(m,)``.
        weight: ``(m,)``.
        kind: One of :data:`KINDS`.
        settings: Number and size of the trees.
        start: Text of a model to put ``continuation_share`` as many trees on top of.
    """
    # Whoever only predicts does without it: it takes a second and 60 MB.
    import lightgbm  # noqa: PLC0415

    trees = n_trees(kind, settings)
    if start is not None:
        trees = max(1, round(trees * settings.continuation_share))
    booster = lightgbm.train(
        parameters(kind, settings),
        lightgbm.Dataset(inputs, log_target, weight=weight, free_raw_data=True),
        trees,
        init_model=None if start is None else lightgbm.Booster(model_str=start),
    )
    return str(booster.model_to_string())


def n_trees(kind: str, settings: TrainingSettings) -> int:
    """Give the number of trees of a model.

    >>> n_trees("ratio", TrainingSettings())
    40
    """
    return settings.ratio_trees if kind == "ratio" else settings.direct_trees


def parameters(kind: str, settings: TrainingSettings) -> dict[str, object]:
    """Give LightGBM's parameters of a model, however it is trained.

    >>> parameters("direct", TrainingSettings())["learning_rate"]
    0.2
    """
    ratio = kind == "ratio"
    return {
        "objective": "l1",
        "num_leaves": settings.num_leaves,
        "learning_rate": settings.ratio_learning_rate if ratio else settings.direct_learning_rate,
        "lambda_l2": settings.lambda_l2,
        "num_threads": settings.num_threads,
        "seed": settings.seed,
        "deterministic": True,
        "force_col_wise": True,
        "verbose": -1,
    }


class BoostedModels:
    """Predict both targets by the trees of one snapshot.

    Raises:
        ValueError: Physics of other terms than this code's, or trees that
            :class:`Forest` refuses, with the name of the model.

    >>> BoostedModels(PhysicsFit(), {}).predict(
    ...     np.zeros((1, N_FEATURES)), ["a:1"], [None]).shape
    (2, 2, 1)
    """

    def __init__(self, physics: PhysicsFit, trees: Mapping[str, str]) -> None:
        self._physics = PhysicsPrior(fit=physics)
        names = [name for name in _MODELS if name in trees]
        self._models = np.array([_MODELS.index(name) for name in names], dtype=np.intp)
        texts = {name: trees[name] for name in names}
        self._tables = Forest(texts, n_inputs=_N_INPUTS).tables
        # Trees of an unusual size are compiled for here, not when a request waits.
        self.predict(np.zeros((1, N_FEATURES)), ["a:1"], [None])

    def predict(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> FloatArray:
        """Give ``(2, n_kinds, n)`` log seconds by target and kind, NaN where untrained."""
        said = self.by_row(rows_of(features), endpoints, hardware)
        return said.T.reshape(len(TARGETS), len(KINDS), len(said))

    def by_row(
        self, rows: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> FloatArray:
        """Give ``(n, 2 * n_kinds)`` log seconds, those of TTFT first, NaN where untrained.

        Args:
            rows: As :func:`predictor.kernels.terms.rows_of` gives them.
            endpoints: Where each runs.
            hardware: The endpoints' labels.
        """
        return self._ask(rows, endpoints, hardware)[1]

    def experts(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> FloatArray:
        """Give ``(2, 1 + n_kinds, n)`` log seconds: the frozen physics, then the kinds."""
        log_prior, said = self._ask(rows_of(features), endpoints, hardware)
        by_target = said.T.reshape(len(TARGETS), len(KINDS), len(said))
        return np.concatenate([log_prior.T[:, None], by_target], axis=1)

    def _ask(
        self, rows: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> tuple[FloatArray, FloatArray]:
        """Give the frozen physics' log seconds, ``(n, 2)``, and :meth:`by_row`."""
        coefficients, places = self._physics.at(endpoints, hardware)
        log_prior, said = np.empty((len(rows), len(TARGETS))), np.empty((len(rows), len(_MODELS)))
        kernels.boosted(rows, coefficients, places, *self._tables, self._models, log_prior, said)
        return log_prior, said
