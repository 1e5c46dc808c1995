"""Make a model version from observations, and say how it would have done.

Pure: the trainer process calls it on the live window every few seconds, ``foretoken
train`` on traces. Every training is a full refit; nothing is continued from an older
model, which was measured to cost half a point to six.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
from sklearn import metrics

from predictor.boosted import KINDS, BoostedModels, train_trees, tree_inputs
from predictor.calibration import Calibration
from predictor.errors import TrainingRefused
from predictor.features import N_FEATURES
from predictor.fit import forgetting
from predictor.labels import label_weight, usable_labels
from predictor.physics import TARGETS, TPOT, PhysicsFit, PhysicsPrior
from predictor.settings import TrainingSettings
from predictor.snapshot import ModelSnapshot
from predictor.terms import regimes
from predictor.types import P90, FloatArray, Observation

MODELS: Final = ("prior", *KINDS)

_COMPARABLE_ROWS: Final = 30  # fewer unseen labels tell two models apart by chance only


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
    """Compare a candidate with the served model on the same newest labels.

    Attributes:
        candidate: By target name, the geometric mean of the candidate's two tree models.
        served: The same of the parent; empty without one, or while fewer than
            thirty labels came after it was trained.
        experts: Mean absolute log error by ``<target>_<model>`` of the candidate.
        chance: By target name, the standard error of the difference between the two
            mean log errors, from their differences label by label.
    """

    candidate: dict[str, Score]
    served: dict[str, Score]
    experts: dict[str, float]
    chance: dict[str, float] = field(default_factory=dict)

    def no_worse(self, tolerance: float = 0.02) -> bool:
        """Say whether the candidate is no worse beyond chance, the targets taken together.

        A target may lose what another gains more of: serving mixes experts by their own
        errors, so what got worse there is not heard.

        Args:
            tolerance: Fraction by which its mean log error may be larger, averaged over
                targets, beside twice the standard error of that.
        """
        both = [name for name in self.served if name in self.candidate]
        served = np.array([max(self.served[name].mean_log_error, 1e-6) for name in both])
        candidate = np.array([self.candidate[name].mean_log_error for name in both])
        chance = np.array([self.chance.get(name, 0.0) for name in both])
        growth = float(((candidate - served) / served).sum())
        return growth <= tolerance * len(both) + 2.0 * float(np.linalg.norm(chance / served))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedModel:
    """Hold a model version and its evaluation."""

    snapshot: ModelSnapshot
    evaluation: Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Lay ``m`` usable observations out as arrays, oldest first; NaN is no label."""

    features: FloatArray
    log_target: FloatArray
    observed_s: FloatArray
    weight: FloatArray
    endpoints: list[str]
    hardware: list[str | None]

    def __len__(self) -> int:
        return len(self.endpoints)

    def part(self, start: int, stop: int) -> "_Table":
        return _Table(
            features=self.features[start:stop],
            log_target=self.log_target[:, start:stop],
            observed_s=self.observed_s[start:stop],
            weight=self.weight[start:stop],
            endpoints=self.endpoints[start:stop],
            hardware=self.hardware[start:stop],
        )


def train(
    observations: Sequence[Observation],
    settings: TrainingSettings | None = None,
    parent: ModelSnapshot | None = None,
) -> TrainedModel:
    """Train on the newest window of observations and evaluate in arrival order.

    Args:
        observations: In the order their labels arrived; unusable labels are left out.
        settings: Window, decay and sizes of the models.
        parent: The model being served, to compare with.

    Raises:
        TrainingRefused: No target has enough labels.
    """
    settings = settings or TrainingSettings()
    table = _table(observations, settings.window_rows)
    counts = _counts(table)
    if max(counts) < settings.minimum_rows:
        raise TrainingRefused(
            "too_few_rows",
            f"{counts[0]} TTFT and {counts[1]} TPOT labels usable, "
            f"{settings.minimum_rows} of one needed",
        )
    evaluation = _evaluate(table, settings, parent)
    physics, trees = _fit(table, settings)
    snapshot = ModelSnapshot(
        physics=physics,
        trees=trees,
        errors=evaluation.experts,
        rows=dict(zip(TARGETS, counts, strict=True)),
        trained_from_s=float(table.observed_s[0]),
        trained_until_s=float(table.observed_s[-1]),
        parent=None if parent is None else parent.version,
    )
    return TrainedModel(snapshot=snapshot, evaluation=evaluation)


def _table(observations: Sequence[Observation], window: int) -> _Table:
    kept = []
    for observation in observations[-window:]:
        labels, _ = usable_labels(observation)
        if labels:
            kept.append((observation, labels))
    log_target = np.full((len(TARGETS), len(kept)), np.nan)
    for index, (_, labels) in enumerate(kept):
        for target, seconds in labels.items():
            log_target[target, index] = np.log(seconds)
    rows = [observation for observation, _ in kept]
    return _Table(
        features=np.array([row.features for row in rows]).reshape(len(rows), N_FEATURES),
        log_target=log_target,
        observed_s=np.array([row.observed_s for row in rows]),
        weight=np.array([label_weight(row) for row in rows]),
        endpoints=[row.endpoint for row in rows],
        hardware=[row.hardware for row in rows],
    )


def _counts(table: _Table) -> list[int]:
    return [int(count) for count in np.isfinite(table.log_target).sum(axis=1)]


def _fit(table: _Table, settings: TrainingSettings) -> tuple[PhysicsFit, dict[str, str]]:
    prior = PhysicsPrior()
    for index in range(len(table)):
        seconds = np.exp(table.log_target[:, index])
        prior.remember(
            table.features[index],
            table.endpoints[index],
            table.hardware[index],
            observed_s=float(table.observed_s[index]),
            targets_s={t: float(s) for t, s in enumerate(seconds) if np.isfinite(s)},
            weight=float(table.weight[index]),
        )
    prior.refit()
    log_prior = prior.log_prior(table.features, table.endpoints, table.hardware)
    inputs = tree_inputs(table.features, log_prior)
    trees = {}
    for target, name in enumerate(TARGETS):
        known = np.flatnonzero(np.isfinite(table.log_target[target]))
        if len(known) < settings.minimum_rows:
            continue
        weight = table.weight[known] if target == TPOT else np.ones(len(known))
        for kind in KINDS:
            ratio = kind == "ratio"
            label = table.log_target[target, known] - (log_prior[target, known] if ratio else 0.0)
            decay = _decay(table.observed_s[known], settings) if ratio else 1.0
            trees[f"{name}_{kind}"] = train_trees(
                inputs[known], label, weight * decay, kind=kind, settings=settings
            )
    return prior.fit(), trees


def _decay(observed_s: FloatArray, settings: TrainingSettings) -> FloatArray:
    return forgetting(
        observed_s,
        now=float(observed_s[-1]),
        half_life_rows=settings.ratio_half_life_rows,
        half_life_s=settings.ratio_half_life_s,
    )


def _evaluate(
    table: _Table, settings: TrainingSettings, parent: ModelSnapshot | None
) -> Evaluation:
    """Train on the past and score the next block, over the newest share of the window.

    The parent is scored on the same labels, where enough of them came after it was
    trained: the others it has learned from.
    """
    start, comparable = _first_scored(table, settings, parent)
    edges = np.linspace(start, len(table), settings.evaluation_blocks + 1).astype(int)
    said = []
    for low, high in pairwise(edges.tolist()):
        if low == high:
            continue
        models = BoostedModels(*_fit(table.part(0, low), settings))
        said.append(_predictions(models, table.part(low, high)))
    if not said:
        return Evaluation(candidate={}, served={}, experts={})
    scored, candidate = table.part(start, len(table)), np.concatenate(said, axis=2)
    if parent is None or not comparable:
        return Evaluation(
            candidate=_scores(scored, candidate),
            served={},
            experts=_expert_errors(scored, candidate),
        )
    served = _predictions(BoostedModels(parent.physics, parent.trees), scored)
    return Evaluation(
        candidate=_scores(scored, candidate),
        served=_scores(scored, served),
        experts=_expert_errors(scored, candidate),
        chance=_chance(scored, candidate, served),
    )


def _predictions(models: BoostedModels, table: _Table) -> FloatArray:
    return models.experts(table.features, table.endpoints, table.hardware)


def _first_scored(
    table: _Table, settings: TrainingSettings, parent: ModelSnapshot | None
) -> tuple[int, bool]:
    """Give the first row to score, and whether the parent has seen none of them."""
    start = int(len(table) * (1.0 - settings.evaluation_fraction))
    if parent is None:
        return start, False
    seen = np.flatnonzero(table.observed_s <= parent.trained_until_s)
    after = int(seen[-1]) + 1 if len(seen) else 0
    if after <= start:
        return start, True
    if after > len(table) - _COMPARABLE_ROWS:
        return start, False
    return after, True


def _chance(table: _Table, candidate: FloatArray, served: FloatArray) -> dict[str, float]:
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


def _scores(table: _Table, experts: FloatArray) -> dict[str, Score]:
    scores = {}
    rows = regimes(table.features)
    for target, name in enumerate(TARGETS):
        predicted = experts[target, 1:].mean(axis=0)
        known = np.flatnonzero(np.isfinite(table.log_target[target] + predicted))
        if len(known):
            scores[name] = _score(
                table.log_target[target, known], predicted[known], rows[known].tolist()
            )
    return scores


def _score(log_actual: FloatArray, log_predicted: FloatArray, rows: list[int]) -> Score:
    calibration = Calibration()
    covered = 0
    for regime, residual in zip(rows, (log_actual - log_predicted).tolist(), strict=True):
        covered += residual <= calibration.offsets(np.array([regime]))[P90, 0]
        calibration.learn(regime, residual)
    actual, predicted = np.exp(log_actual), np.exp(log_predicted)
    return Score(
        rows=len(rows),
        mape=float(metrics.mean_absolute_percentage_error(actual, predicted)),
        mdape=float(np.median(np.abs(predicted / actual - 1.0))),
        mean_log_error=float(metrics.mean_absolute_error(log_actual, log_predicted)),
        p90_coverage=covered / len(rows),
    )


def _expert_errors(table: _Table, experts: FloatArray) -> dict[str, float]:
    errors = {}
    for target, name in enumerate(TARGETS):
        for index, model in enumerate(MODELS):
            error = np.abs(experts[target, index] - table.log_target[target])
            if np.isfinite(error).any():
                errors[f"{name}_{model}"] = float(np.nanmean(error))
    return errors
