"""How well models predict labels they have not seen, one beside the other.

Decides what "no worse" means. Called by training, which sees to it that neither model
has seen the labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from predictor.boosted import KINDS, BoostedModels
from predictor.calibration import Calibration
from predictor.physics import TARGETS
from predictor.table import Table
from predictor.terms import regimes
from predictor.types import P90, FloatArray

MODELS: Final = ("prior", *KINDS)

_SMALLEST: Final = 1e-6  # log error below which a model is as good as another


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Say how predictions compared with ``rows`` labels; errors are fractions.

    Attributes:
        rows: Labels predicted before they were learned from.
        mape: Mean absolute percentage error.
        mdape: Median absolute percentage error.
        mean_log_error: Mean absolute log error: what the mixture weighs experts by.
        p90_coverage: Share at or below the stated 90 % quantile.
    """

    rows: int
    mape: float
    mdape: float
    mean_log_error: float
    p90_coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Compare a candidate with another model on the same labels, new to both.

    Attributes:
        candidate: By target name, the geometric mean of the candidate's two tree models.
        served: The same of what it is compared with; empty without one.
        experts: Mean absolute log error by ``<target>_<model>`` of the candidate.
        chance: By target name, the standard error of the difference between the two
            mean log errors, from their differences label by label.
    """

    candidate: dict[str, Score]
    served: dict[str, Score]
    experts: dict[str, float]
    chance: dict[str, float] = field(default_factory=dict)

    @property
    def growth(self) -> float:
        """Give by what fraction the candidate's log error is larger, averaged over targets."""
        both = self._both
        return 0.0 if not both else float(np.mean([self._growth(name) for name in both]))

    def no_worse(self, tolerance: float = 0.02) -> bool:
        """Say whether the candidate is no worse beyond chance, the targets taken together.

        A target may lose what another gains more of: serving mixes experts by their own
        errors, so what got worse there is not heard.

        Args:
            tolerance: Fraction by which its mean log error may be larger, averaged over
                targets, beside twice the standard error of that.
        """
        both = self._both
        if not both:
            return True
        chance = [self.chance.get(name, 0.0) / self._served_error(name) for name in both]
        return self.growth <= tolerance + 2.0 * float(np.linalg.norm(chance)) / len(both)

    @property
    def _both(self) -> list[str]:
        return [name for name in self.served if name in self.candidate]

    def _growth(self, name: str) -> float:
        return self.candidate[name].mean_log_error / self._served_error(name) - 1.0

    def _served_error(self, name: str) -> float:
        return max(self.served[name].mean_log_error, _SMALLEST)


def evaluate(blocks: Sequence[tuple[BoostedModels, Table]]) -> Evaluation:
    """Score each block of rows by the model that had seen only those before it."""
    if not blocks:
        return Evaluation(candidate={}, served={}, experts={})
    experts = np.concatenate([_predictions(model, table) for model, table in blocks], axis=2)
    table = Table.joined([table for _, table in blocks])
    return Evaluation(
        candidate=_scores(table, experts), served={}, experts=_expert_errors(table, experts)
    )


def compare(candidate: BoostedModels, served: BoostedModels, table: Table) -> Evaluation:
    """Score two models on rows that neither has seen."""
    experts, others = _predictions(candidate, table), _predictions(served, table)
    return Evaluation(
        candidate=_scores(table, experts),
        served=_scores(table, others),
        experts=_expert_errors(table, experts),
        chance=_chance(table, experts, others),
    )


def _predictions(models: BoostedModels, table: Table) -> FloatArray:
    return models.experts(table.features, table.endpoints, table.hardware)


def _chance(table: Table, candidate: FloatArray, served: FloatArray) -> dict[str, float]:
    chance = {}
    for target, name in enumerate(TARGETS):
        errors = [
            np.abs(experts[target, 1:].mean(axis=0) - table.log_target[target])
            for experts in (candidate, served)
        ]
        difference = errors[0] - errors[1]
        known = difference[np.isfinite(difference)]
        if len(known) > 1:
            chance[name] = float(known.std(ddof=1) / np.sqrt(len(known)))
    return chance


def _scores(table: Table, experts: FloatArray) -> dict[str, Score]:
    scores = {}
    rows = regimes(table.features)
    for target, name in enumerate(TARGETS):
        predicted = experts[target, 1:].mean(axis=0)
        known = np.flatnonzero(np.isfinite(table.log_target[target] + predicted))
        if len(known):
            scores[name] = _score(
                table.log_target[target, known],
                predicted[known],
                regimes_of=rows[known].tolist(),
                times_s=table.observed_s[known].tolist(),
            )
    return scores


def _score(
    log_actual: FloatArray,
    log_predicted: FloatArray,
    *,
    regimes_of: list[int],
    times_s: list[float],
) -> Score:
    calibration = Calibration()
    covered = 0
    residuals = (log_actual - log_predicted).tolist()
    for regime, at_s, residual in zip(regimes_of, times_s, residuals, strict=True):
        covered += residual <= calibration.offsets(np.array([regime]))[P90, 0]
        calibration.learn(regime, residual, at_s=at_s)
    actual, predicted = np.exp(log_actual), np.exp(log_predicted)
    # Whoever only predicts does without it: it takes a second and 60 MB.
    from sklearn import metrics  # noqa: PLC0415

    return Score(
        rows=len(residuals),
        mape=float(metrics.mean_absolute_percentage_error(actual, predicted)),
        mdape=float(np.median(np.abs(predicted / actual - 1.0))),
        mean_log_error=float(metrics.mean_absolute_error(log_actual, log_predicted)),
        p90_coverage=covered / len(residuals),
    )


def _expert_errors(table: Table, experts: FloatArray) -> dict[str, float]:
    errors = {}
    for target, name in enumerate(TARGETS):
        for index, model in enumerate(MODELS):
            error = np.abs(experts[target, index] - table.log_target[target])
            if np.isfinite(error).any():
                errors[f"{name}_{model}"] = float(np.nanmean(error))
    return errors
