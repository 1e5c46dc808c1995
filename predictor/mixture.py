"""How far each expert is believed: by its errors on what came, never by hope."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.kernels import mixture as kernels
from predictor.kernels.compiled import plain, record
from predictor.kernels.mixture import FLOOR, MAX_ERROR, mixture_dtype
from predictor.physics import TARGETS
from predictor.settings import MixtureSettings
from predictor.terms import N_REGIMES
from predictor.types import FloatArray

_NO_EVIDENCE: Final = 0.5  # mean absolute log error assumed of an expert nothing is known of


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

    Attributes:
        state: Its numbers, as kernels read and write them.

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
        self._names = tuple(experts)
        doubted = [_NO_EVIDENCE + (doubts or {}).get(name, 0.0) for name in self._names]
        self.state = record(
            mixture_dtype(len(self._names)),
            error=doubted,
            rate=1.0 - 2.0 ** (-1.0 / settings.half_life_rows),
            doubt_rows=settings.doubt_rows,
            regime_rows=settings.regime_rows,
            sharpness=settings.sharpness,
        )
        for target in range(len(TARGETS)):
            kernels.weigh(self.state[0], target)

    def predict(self, experts: FloatArray, regimes: NDArray[np.intp]) -> FloatArray:
        """Mix ``(2, n_experts, n)`` log seconds into ``(2, n)``."""
        by_row = plain(experts.transpose(2, 0, 1))
        said = np.empty((len(by_row), len(TARGETS)))
        kernels.mix(by_row, regimes, self.state, said)
        return said.T

    def learn(self, target: int, regime: int, errors: FloatArray) -> None:
        """Take in each expert's absolute log error on one label, NaN where silent."""
        kernels.learn(self.state[0], target, regime, plain(errors))

    def seed(self, target: int, expert: str, error: float, *, rows: float = 10.0) -> None:
        """Start an expert that was never scored here from an error measured elsewhere."""
        column = self._names.index(expert)
        error_of = self.state["error"][0, target, N_REGIMES]
        labels_of = self.state["labels"][0, target, N_REGIMES]
        if labels_of[column] == 0:
            error_of[column] = min(max(error, FLOOR), MAX_ERROR)
            labels_of[column] = rows
            kernels.weigh(self.state[0], target)

    def weights(self) -> dict[str, dict[str, float]]:
        """Show the weights by target and expert, averaged over regimes by their labels."""
        shown = {}
        weights = self.state["weights"][0]
        for target, name in enumerate(TARGETS):
            share = self.state["labels"][0, target, :N_REGIMES].max(axis=1) + 1e-9
            mean = share @ weights[target] / share.sum()
            shown[name] = dict(zip(self._names, mean.tolist(), strict=True))
        return shown

    def errors(self) -> dict[str, dict[str, float | None]]:
        """Show the recent mean absolute log error by target and expert; ``None`` before any.

        >>> mixture = Mixture(["good", "bad"])
        >>> mixture.learn(0, 0, np.array([0.1, np.nan]))
        >>> mixture.errors()["ttft"]["bad"] is None
        True
        """
        shown = {}
        for target, name in enumerate(TARGETS):
            errors = self.state["error"][0, target, N_REGIMES].tolist()
            labels = self.state["labels"][0, target, N_REGIMES].tolist()
            known = zip(self._names, errors, labels, strict=True)
            shown[name] = {expert: error if seen else None for expert, error, seen in known}
        return shown
