"""How far each expert is believed: by its errors on what came, never by hope."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.physics import TARGETS
from predictor.settings import MixtureSettings
from predictor.terms import N_REGIMES
from predictor.types import FloatArray

_NO_EVIDENCE: Final = 0.5  # mean absolute log error assumed of an expert nothing is known of
_FLOOR: Final = 0.01  # no expert is trusted to be better than 1 %
_MAX_ERROR: Final = 3.0


class Mixture:
    """Average experts in log space, weighted by prequential error per target and regime.

    Weights are error to the minus ``sharpness``; a regime's errors are shrunk toward
    those of all regimes. An expert that is silent (NaN) is left out; one never scored
    counts as bad as the worst scored one.

    Args:
        experts: Their names.
        settings: Half-life, sharpness, shrinkage.
        doubts: By name, how much worse than the simplest an expert counts, in mean
            absolute log error, until labels have shown it.

    >>> mixture = Mixture(["good", "bad"])
    >>> for _ in range(30):
    ...     mixture.learn(0, 0, np.array([0.1, 0.4]))
    >>> experts = np.log(np.full((2, 2, 1), [[1.0], [2.0]]))
    >>> bool(np.exp(mixture.predict(experts, np.array([0])))[0, 0] < 1.01)
    True
    >>> round(mixture.weights()["ttft"]["good"], 2)
    1.0
    """

    def __init__(
        self,
        experts: Sequence[str],
        settings: MixtureSettings | None = None,
        doubts: Mapping[str, float] | None = None,
    ) -> None:
        settings = settings or MixtureSettings()
        self._doubt_rows = settings.doubt_rows
        self._names = tuple(experts)
        self._rate = 1.0 - 2.0 ** (-1.0 / settings.half_life_rows)
        self._sharpness = settings.sharpness
        self._regime_rows = settings.regime_rows
        shape = (2, N_REGIMES + 1, len(self._names))  # the last regime is all of them
        self._error = np.full(shape, _NO_EVIDENCE)
        self._error += np.array([(doubts or {}).get(name, 0.0) for name in self._names])
        self._count = np.zeros(shape)
        self._weights = self._weigh()
        self._stale = False

    def predict(self, experts: FloatArray, regimes: NDArray[np.intp]) -> FloatArray:
        """Mix ``(2, n_experts, n)`` log seconds into ``(2, n)``."""
        weights = self._fresh_weights().take(regimes, axis=1).transpose(0, 2, 1)
        present = np.isfinite(experts)
        if present.all():
            everyone: FloatArray = (weights * experts).sum(axis=1)
            return everyone
        weights = np.where(present, weights, 0.0)
        total = weights.sum(axis=1)
        mixed: FloatArray = (weights * np.where(present, experts, 0.0)).sum(axis=1) / total
        return mixed

    def learn(self, target: int, regime: int, errors: FloatArray) -> None:
        """Take in each expert's absolute log error on one label, NaN where silent."""
        known = np.isfinite(errors)
        bounded = np.minimum(np.where(known, errors, 0.0), _MAX_ERROR)
        for row in (regime, N_REGIMES):
            count = self._count[target, row]
            count += known
            rate = np.where(known, np.maximum(self._rate, 1.0 / (count + self._doubt_rows)), 0.0)
            self._error[target, row] += rate * (bounded - self._error[target, row])
        self._stale = True

    def seed(self, target: int, expert: str, error: float, *, rows: float = 10.0) -> None:
        """Start an expert that was never scored here from an error measured elsewhere."""
        column = self._names.index(expert)
        if self._count[target, N_REGIMES, column] == 0:
            self._error[target, N_REGIMES, column] = min(max(error, _FLOOR), _MAX_ERROR)
            self._count[target, N_REGIMES, column] = rows
            self._stale = True

    def weights(self) -> dict[str, dict[str, float]]:
        """Show the weights by target and expert, averaged over regimes by their labels."""
        shown = {}
        weights = self._fresh_weights()
        for target, name in enumerate(TARGETS):
            share = self._count[target, :N_REGIMES].max(axis=1) + 1e-9
            mean = share @ weights[target] / share.sum()
            shown[name] = dict(zip(self._names, mean.tolist(), strict=True))
        return shown

    def _fresh_weights(self) -> FloatArray:
        if self._stale:
            self._stale = False
            self._weights = self._weigh()
        return self._weights

    def _weigh(self) -> FloatArray:
        count, error = self._count[:, :N_REGIMES], self._error[:, :N_REGIMES]
        overall, scored = self._error[:, N_REGIMES:], self._count[:, N_REGIMES:] > 0
        if not scored.all():
            worst = np.where(scored, overall, 0.0).max(axis=2, keepdims=True)
            overall = np.where(scored | (worst == 0.0), overall, worst)
        own = count / (count + (self._regime_rows + 1e-9))
        shrunk = overall + own * (error - overall)
        raw = np.maximum(shrunk, _FLOOR) ** -self._sharpness
        weights: FloatArray = raw / raw.sum(axis=2, keepdims=True)
        return weights
