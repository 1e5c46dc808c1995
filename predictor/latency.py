"""The predictor that serves: all experts, mixed, calibrated, learning from every label.

Composes physics, corrections, boosted trees, mixture, calibration and drift count, and
implements :class:`predictor.protocol.Predictor`. One instance per fleet, one writer, no
locks: ``predict`` and ``learn`` belong to one event loop; ``swap`` replaces the trained
part by one assignment. Every expert is scored by what it said at dispatch before it
learns from the label.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import expm1, inf, log
from typing import Final

import numpy as np

from predictor.boosted import KINDS, BoostedModels
from predictor.calibration import Calibration
from predictor.correction import Bias, FleetBias, ResidualRegressor, SharedBias
from predictor.drift import DriftCount
from predictor.errors import PredictionFailed
from predictor.experts import DOUBTS, EXPERTS, N_EXPERTS
from predictor.kernels.compiled import plain
from predictor.kernels.lesson import correct
from predictor.kernels.prediction import (
    DECODE_STEP,
    N_ROWS,
    PREFILL,
    PREFILL_TOKEN,
    QUANTILES,
    RANKS,
    predict,
)
from predictor.kernels.terms import regime, rows_of
from predictor.labels import LabelClock, label_weight, most_of_total, usable_labels
from predictor.mixture import Mixture
from predictor.physics import TARGETS, TPOT, TTFT, PhysicsPrior
from predictor.prepared import PreparedModel
from predictor.settings import PredictorSettings
from predictor.snapshot import ModelSnapshot
from predictor.terms import regimes
from predictor.types import LEVELS, FloatArray, Layer, Objective, Observation, Predictions

__all__ = ["DOUBTS", "EXPERTS", "LatencyPredictor", "PredictorReport"]

_UNTRAINED: Final = np.empty((0, len(TARGETS) * len(KINDS)))


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictorReport:
    """Tell how the predictor does, for metrics and the live page.

    Every mapping is by target name, ``ttft`` and ``tpot``.

    Attributes:
        layer: What the served numbers rest on.
        version: Of the trained model that takes part, ``None`` without one.
        observations: Labels learned from.
        mdape: Median absolute error as a fraction, prequential, over recent labels;
            ``None`` before any.
        p90_coverage: Share of recent labels at or below the p90 stated at dispatch.
        weights: By expert, averaged over regimes.
        expert_errors: By expert, mean absolute log error of late; ``None`` before any.
        drift_alarms: Times the error was seen to rise.
        refused: Labels refused, by reason.
    """

    layer: Layer
    version: str | None
    observations: dict[str, int]
    mdape: dict[str, float | None]
    p90_coverage: dict[str, float | None]
    weights: dict[str, dict[str, float]]
    expert_errors: dict[str, dict[str, float | None]]
    drift_alarms: dict[str, int]
    refused: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trained:
    models: BoostedModels
    version: str


class LatencyPredictor:
    """Predict TTFT and TPOT at every candidate and learn from what then happened.

    Reads ``features.FEATURES`` rows; returns :class:`Predictions`. With no data it orders
    endpoints by queued plus own tokens over a nominal (or the hardware label's) rate and
    says so by ``layer="cold"``.

    >>> from predictor.features import N_FEATURES
    >>> said = LatencyPredictor().predict(np.zeros((2, N_FEATURES)), ["a:1", "b:1"], [None] * 2)
    >>> said.layer, said.ttft_s.shape, bool((said.ttft_p90_s > said.ttft_s).all())
    ('cold', (2,), True)
    """

    def __init__(
        self, settings: PredictorSettings | None = None, snapshot: ModelSnapshot | None = None
    ) -> None:
        self._settings = settings = settings or PredictorSettings()
        self._physics = PhysicsPrior(settings.physics)
        self._bias = Bias(2, settings.correction)
        self._fleet_bias = FleetBias(settings.correction)
        self._shared = SharedBias(settings.correction)
        self._river = ResidualRegressor(settings.correction)
        self._mixture = Mixture(EXPERTS, settings.mixture, DOUBTS)
        self._calibration = tuple(Calibration(settings.calibration) for _ in TARGETS)
        self._drift = tuple(DriftCount(settings.drift) for _ in TARGETS)
        self._clock = LabelClock()
        self._learned = (
            self._mixture.state, self._bias.state, self._fleet_bias.state,
            self._shared.state, self._river.state,
        )  # fmt: skip
        self._offsets = (self._calibration[TTFT].state, self._calibration[TPOT].state)
        self._labels = [0, 0]
        self._recent: tuple[deque[tuple[float, bool]], ...] = tuple(
            deque(maxlen=settings.report_rows) for _ in TARGETS
        )
        self._refused: Counter[str] = Counter()
        self._trained: _Trained | None = None
        if snapshot is not None:
            self.swap(snapshot)

    @property
    def layer(self) -> Layer:
        """Say what the served numbers rest on."""
        if self._trained is not None:
            return "mixture"
        enough = (
            self._labels[TTFT] >= self._settings.ttft_labels
            and self._labels[TPOT] >= self._settings.tpot_labels
        )
        return "prior" if enough else "cold"

    def predict(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> Predictions:
        """Predict for ``(n, n_features)`` rows, one per endpoint.

        Raises:
            PredictionFailed: A library underneath could not.
        """
        rows, n, trained = rows_of(features), len(features), self._trained
        boosted = _UNTRAINED
        if trained is not None:
            boosted = trained.models.by_row(rows, endpoints, hardware)
        coefficients, places = self._physics.at(endpoints, hardware)
        experts, seconds = np.empty((n, len(TARGETS), N_EXPERTS)), np.empty((N_ROWS, n))
        biases = self._bias.places(endpoints)
        predict(
            rows, boosted, coefficients, places, biases, *self._learned, *self._offsets,
            experts, seconds,
        )  # fmt: skip
        means = list(seconds[:QUANTILES])  # at once: half the time of one after the other
        return Predictions(
            ttft_s=means[TTFT],
            tpot_s=means[TPOT],
            quantiles_s=seconds[QUANTILES:].reshape(len(TARGETS), len(LEVELS), n),
            rank_ttft_s=means[RANKS + TTFT],
            rank_tpot_s=means[RANKS + TPOT],
            prefill_s=means[PREFILL],
            decode_step_s=means[DECODE_STEP],
            prefill_token_s=means[PREFILL_TOKEN],
            experts=experts.transpose(1, 2, 0),
            layer=self.layer,
            version=None if trained is None else trained.version,
        )

    def log_scales(self, endpoints: Sequence[str], hardware: Sequence[str | None]) -> FloatArray:
        """Give ``(2, n)`` log speed factors by target that ``rank_*_s`` tell endpoints apart by."""
        return self._physics.log_scales(endpoints, hardware)

    def learn(self, observation: Observation) -> None:
        """Take in one observation; its two targets may come in two calls.

        Never raises: labels that are not finite, not positive, absurd or of a time that
        cannot be, and those that no prediction can be scored by, are counted in
        ``report().refused`` and teach nothing.
        """
        labels, refused = usable_labels(observation)
        if refused:
            self._refused.update(refused)
        if observation.waited_s is not None and not labels and not refused:
            self._calibration[TTFT].miss(regime(plain(observation.features[None]), 0))
        observed_s = self._admitted_s(observation) if labels else None
        if observed_s is None:
            return
        features = plain(observation.features[None])
        waits = regime(features, 0)
        try:
            experts, stated = self._as_dispatched(observation, features)
        except PredictionFailed:
            self._refused["prediction_failed"] += 1
            return
        for target, actual_s in labels.items():
            counted = target == TTFT and observation.waited_s is not None
            log_actual = log(actual_s)
            self._labels[target] += observation.use != "scoring"
            if not most_of_total(observation, target):
                continue
            if observation.use != "teaching":
                said = stated[target]
                self._score(target, waits, log_actual, said, at_s=observed_s, counted=counted)
            if observation.use != "scoring":
                correct(
                    features, 0, waits, target, log_actual, experts,
                    self._bias.place(observation.endpoint, waits), *self._learned,
                )  # fmt: skip
        if observation.use != "scoring":
            self._physics.learn(
                observation.features,
                observation.endpoint,
                observation.hardware,
                observed_s=observed_s,
                targets_s=labels,
                weights=(label_weight(observation, TTFT), label_weight(observation, TPOT)),
            )

    def probability(self, predictions: Predictions, objective: Objective) -> FloatArray:
        """Give the probability, ``(n,)``, that each endpoint meets the whole objective.

        The two targets count as independent, which is on the careful side: load moves
        them together.
        """
        wanted = (objective.ttft_s, objective.tpot_s)
        means = (predictions.ttft_s, predictions.tpot_s)
        quantiles = (predictions.ttft_p90_s, predictions.tpot_p90_s)
        probability = np.ones(len(predictions.ttft_s))
        for target, limit_s in enumerate(wanted):
            if limit_s is None:
                continue
            if limit_s <= 0:  # the time already waited has used it up
                return np.zeros(len(probability))
            probability *= self._calibration[target].probability(
                np.log(limit_s / means[target]), np.log(quantiles[target] / means[target])
            )
        return probability

    def swap(self, model: ModelSnapshot | PreparedModel, version: str | None = None) -> None:
        """Let a trained model take part from the next prediction on.

        A predictor without data of its own takes the snapshot's physics too. Nothing
        changes when the snapshot is refused.

        Args:
            model: The model; one prepared elsewhere costs this loop next to nothing.
            version: Name it is known by; its content's name by default.

        Raises:
            InvalidSnapshot: Its physics or its trees cannot be used.
        """
        prepared = PreparedModel.of(model) if isinstance(model, ModelSnapshot) else model
        snapshot = prepared.snapshot
        if self._physics.empty:
            self._physics = PhysicsPrior(self._settings.physics, snapshot.physics)
        for target, name in enumerate(TARGETS):
            for expert in ("prior", *KINDS):
                measured = snapshot.errors.get(f"{name}_{expert}")
                if measured is not None:
                    self._mixture.seed(target, expert, measured)
        self._fleet_bias.restart()
        self._trained = _Trained(models=prepared.models, version=version or snapshot.version)

    def weights(self, features: FloatArray) -> FloatArray:
        """Give how far each expert is believed now, ``(2, n_experts, n)``, for such rows."""
        return self._mixture.weights_of(regimes(features))

    def report(self) -> PredictorReport:
        """Tell how it does, over the recent labels."""
        recent = dict(zip(TARGETS, self._recent, strict=True))
        trained = self._trained
        return PredictorReport(
            layer=self.layer,
            version=None if trained is None else trained.version,
            observations=dict(zip(TARGETS, self._labels, strict=True)),
            mdape={
                name: float(np.median([error for error, _ in rows])) if rows else None
                for name, rows in recent.items()
            },
            p90_coverage={
                name: sum(covered for _, covered in rows) / len(rows) if rows else None
                for name, rows in recent.items()
            },
            weights=self._mixture.weights(),
            expert_errors=self._mixture.errors(),
            drift_alarms={
                name: count.alarms for name, count in zip(TARGETS, self._drift, strict=True)
            },
            refused=dict(self._refused),
        )

    def _admitted_s(self, observation: Observation) -> float | None:
        """Give the time a label counts as observed at, ``None`` where it cannot be."""
        observed_s, problem = self._clock.admit(observation.observed_s)
        if problem is not None:
            self._refused[problem] += 1
        return observed_s

    def _as_dispatched(
        self, observation: Observation, features: FloatArray
    ) -> tuple[FloatArray, tuple[tuple[float, float], ...]]:
        """Give what was said at dispatch: experts, and mean and p90 by target."""
        said = observation.experts
        ttft = _stated(observation.predicted_ttft_s, observation.predicted_ttft_p90_s)
        tpot = _stated(observation.predicted_tpot_s, observation.predicted_tpot_p90_s)
        if said is not None and said.shape == (len(TARGETS), len(EXPERTS)) and ttft and tpot:
            return plain(said), (ttft, tpot)
        now = self.predict(features, [observation.endpoint], [observation.hardware])
        return plain(now.experts[:, :, 0]), (
            (float(now.ttft_s[0]), float(now.ttft_p90_s[0])),
            (float(now.tpot_s[0]), float(now.tpot_p90_s[0])),
        )

    def _score(
        self,
        target: int,
        waits: int,
        log_actual: float,
        stated: tuple[float, float],
        *,
        at_s: float,
        counted: bool,
    ) -> None:
        """Count a label in the quantiles and in what is reported."""
        residual = log_actual - log(stated[0])
        covered = log_actual <= log(stated[1])
        self._recent[target].append((abs(expm1(-residual)), covered))
        self._calibration[target].learn(
            waits, residual, at_s=at_s, covered=covered, counted=counted
        )
        self._drift[target].learn(abs(residual))


def _stated(mean: float | None, quantile: float | None) -> tuple[float, float] | None:
    if mean is None or quantile is None or not (0 < mean < inf and 0 < quantile < inf):
        return None
    return float(mean), float(quantile)
