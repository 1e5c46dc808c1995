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

import lightgbm
import numpy as np

from predictor.features import N_FEATURES
from predictor.forest import Forest
from predictor.physics import TARGETS, PhysicsFit, PhysicsPrior
from predictor.settings import TrainingSettings
from predictor.terms import Terms
from predictor.types import FloatArray

KINDS: Final = ("ratio", "direct")
_MODELS: Final = tuple(f"{target}_{kind}" for target in TARGETS for kind in KINDS)


def tree_inputs(features: FloatArray, log_prior: FloatArray) -> FloatArray:
    """Lay the feature rows and the physics' ``(2, n)`` log seconds side by side."""
    inputs = np.empty((len(features), N_FEATURES + 2))
    inputs[:, :N_FEATURES] = features
    inputs[:, N_FEATURES:] = log_prior.T
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
    ratio = kind == "ratio"
    trees = settings.ratio_trees if ratio else settings.direct_trees
    if start is not None:
        trees = max(1, round(trees * settings.continuation_share))
    booster = lightgbm.train(
        {
            "objective": "l1",
            "num_leaves": settings.num_leaves,
            "learning_rate": settings.ratio_learning_rate
            if ratio
            else settings.direct_learning_rate,
            "lambda_l2": settings.lambda_l2,
            "num_threads": settings.num_threads,
            "seed": settings.seed,
            "deterministic": True,
            "force_col_wise": True,
            "verbose": -1,
        },
        lightgbm.Dataset(inputs, log_target, weight=weight, free_raw_data=True),
        trees,
        init_model=None if start is None else lightgbm.Booster(model_str=start),
    )
    return str(booster.model_to_string())


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
        self._rows = [_MODELS.index(name) for name in names]
        self._forest = (
            Forest({name: trees[name] for name in names}, n_inputs=N_FEATURES + 2)
            if names
            else None
        )

    def predict(
        self,
        features: FloatArray,
        endpoints: Sequence[str],
        hardware: Sequence[str | None],
        terms: Terms | None = None,
    ) -> FloatArray:
        """Give ``(2, n_kinds, n)`` log seconds by target and kind, NaN where untrained.

        Args:
            features: ``(n, n_features)``.
            endpoints: Where each row runs.
            hardware: The endpoints' labels.
            terms: Those of the rows, where the caller has them already.
        """
        return self._said(features, self._physics.log_prior(features, endpoints, hardware, terms))

    def experts(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> FloatArray:
        """Give ``(2, 1 + n_kinds, n)`` log seconds: the frozen physics, then the kinds."""
        log_prior = self._physics.log_prior(features, endpoints, hardware)
        return np.concatenate([log_prior[:, None], self._said(features, log_prior)], axis=1)

    def _said(self, features: FloatArray, log_prior: FloatArray) -> FloatArray:
        said = np.full((len(_MODELS), len(features)), np.nan)
        if self._forest is not None:
            said[self._rows] = self._forest.predict(tree_inputs(features, log_prior))
        by_target: FloatArray = said.reshape(len(TARGETS), len(KINDS), -1)
        by_target[:, 0] += log_prior
        return by_target
