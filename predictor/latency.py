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
from types import MappingProxyType
from typing import Final

import numpy as np

from predictor.boosted import KINDS, BoostedModels
from predictor.calibration import Calibration
from predictor.correction import Bias, FleetBias, ResidualRegressor, SharedBias
from predictor.drift import DriftCount
from predictor.errors import PredictionFailed
from predictor.labels import LabelClock, label_weight, most_of_total, usable_labels
from predictor.mixture import Mixture
from predictor.physics import TARGETS, TPOT, TTFT, PhysicsPrediction, PhysicsPrior
from predictor.prepared import PreparedModel
from predictor.settings import PredictorSettings
from predictor.snapshot import ModelSnapshot
from predictor.terms import Terms, regimes
from predictor.types import LEVELS, FloatArray, Layer, Objective, Observation, Predictions

EXPERTS: Final = (
    "smooth", "prior", "ratio", "direct", "prior_bias", "ratio_bias", "fleet_bias", "prior_river",
)  # fmt: skip
"""Rows of ``Predictions.experts``: fleet physics, each endpoint's own, the two boosted
models, the second and third with their bias, ``ratio`` (physics before it is trained) with
the last residuals of the whole fleet, and physics with river's regression."""
DOUBTS: Final = MappingProxyType({
    "prior": 0.1, "direct": 0.1, "prior_river": 0.15,
    "prior_bias": 0.2, "ratio_bias": 0.2, "fleet_bias": 0.2,
})  # fmt: skip
"""What each is assumed to be worse than ``smooth`` by, as mean absolute log error, before
labels: the more it follows single labels, the more a cold burst misleads it."""
_SMOOTH, _PRIOR, _RATIO, _FLEET, _RIVER = 0, 1, 2, 6, 7
_BOOSTED: Final = slice(2, 4)
_RAW: Final = slice(1, 3)
_BIASED: Final = slice(4, 6)
_MEAN, _RANK = 0, 1
_QUANTILES: Final = slice(2, 2 + len(LEVELS))


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
        drift_alarms: Times the error was seen to rise.
        refused: Labels refused, by reason.
    """

    layer: Layer
    version: str | None
    observations: dict[str, int]
    mdape: dict[str, float | None]
    p90_coverage: dict[str, float | None]
    weights: dict[str, dict[str, float]]
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
        terms = Terms.of(features)
        physics = self._physics.predict(features, endpoints, hardware, terms)
        experts = self._experts(physics, features, endpoints, hardware, terms)
        said = np.empty((len(TARGETS), _QUANTILES.stop, len(features)))
        said[:, _MEAN] = mixed = self._mixture.predict(experts, terms.regimes)
        for target, shared in enumerate(self._shared.values()):
            offsets = self._calibration[target].offsets(terms.regimes)
            np.add(physics.log_smooth[target], shared, out=said[target, _RANK])
            np.add(mixed[target], offsets, out=said[target, _QUANTILES])
        seconds = np.exp(np.minimum(said, _MAX_LOG))
        trained = self._trained
        return Predictions(
            ttft_s=seconds[TTFT, _MEAN],
            tpot_s=seconds[TPOT, _MEAN],
            quantiles_s=seconds[:, _QUANTILES],
            rank_ttft_s=seconds[TTFT, _RANK],
            rank_tpot_s=seconds[TPOT, _RANK],
            prefill_s=physics.prefill_s,
            decode_step_s=physics.decode_step_s,
            prefill_token_s=physics.prefill_token_s,
            experts=experts,
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
        self._refused.update(refused)
        if observation.waited_s is not None and not labels and not refused:
            self._calibration[TTFT].miss(int(regimes(observation.features[None])[0]))
        observed_s = self._admitted_s(observation) if labels else None
        if observed_s is None:
            return
        features = observation.features[None]
        terms = Terms.of(features)
        regime = int(terms.regimes[0])
        try:
            experts, stated = self._as_dispatched(observation, features)
        except PredictionFailed:
            self._refused["prediction_failed"] += 1
            return
        for target, actual_s in labels.items():
            counted = target == TTFT and observation.waited_s is not None
            log_actual = float(np.log(actual_s))
            self._labels[target] += observation.use != "scoring"
            if not most_of_total(observation, target):
                continue
            if observation.use != "teaching":
                said = stated[target]
                self._score(target, regime, log_actual, said, at_s=observed_s, counted=counted)
            if observation.use != "scoring":
                self._correct(target, log_actual, experts[target], observation, terms)
        if observation.use != "scoring":
            self._physics.learn(
                observation.features,
                observation.endpoint,
                observation.hardware,
                observed_s=observed_s,
                targets_s=labels,
                weights=(label_weight(observation, TTFT), label_weight(observation, TPOT)),
                terms=terms,
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
            drift_alarms={
                name: count.alarms for name, count in zip(TARGETS, self._drift, strict=True)
            },
            refused=dict(self._refused),
        )

    def _experts(
        self,
        physics: PhysicsPrediction,
        features: FloatArray,
        endpoints: Sequence[str],
        hardware: Sequence[str | None],
        terms: Terms,
    ) -> FloatArray:
        experts = np.empty((len(TARGETS), len(EXPERTS), len(features)))
        experts[:, _SMOOTH] = physics.log_smooth
        experts[:, _PRIOR] = physics.log_prior
        trained = self._trained
        experts[:, _BOOSTED] = (
            np.nan
            if trained is None
            else trained.models.predict(features, endpoints, hardware, terms)
        )
        experts[:, _BIASED] = experts[:, _RAW] + self._bias.predict(endpoints, terms.regimes)
        known = np.isfinite(experts[:, _RATIO])
        best = np.where(known, experts[:, _RATIO], experts[:, _PRIOR])
        experts[:, _FLEET] = best + self._fleet_bias.values()[:, None]
        experts[:, _RIVER] = physics.log_prior + self._river.predict(features, terms)
        return experts

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
            return said, (ttft, tpot)
        now = self.predict(features, [observation.endpoint], [observation.hardware])
        return now.experts[:, :, 0], (
            (float(now.ttft_s[0]), float(now.ttft_p90_s[0])),
            (float(now.tpot_s[0]), float(now.tpot_p90_s[0])),
        )

    def _score(
        self,
        target: int,
        regime: int,
        log_actual: float,
        stated: tuple[float, float],
        *,
        at_s: float,
        counted: bool,
    ) -> None:
        """Count a label in the quantiles and in what is reported."""
        residual = log_actual - float(np.log(stated[0]))
        covered = log_actual <= float(np.log(stated[1]))
        self._recent[target].append((abs(float(np.expm1(-residual))), covered))
        self._calibration[target].learn(
            regime, residual, at_s=at_s, covered=covered, counted=counted
        )
        self._drift[target].learn(abs(residual))

    def _correct(
        self,
        target: int,
        log_actual: float,
        experts: FloatArray,
        observation: Observation,
        terms: Terms,
    ) -> None:
        """Move the point predictions: whom they follow, and each expert's corrections."""
        regime = int(terms.regimes[0])
        self._mixture.learn(target, regime, np.abs(experts - log_actual))
        residuals = log_actual - experts
        self._bias.learn(observation.endpoint, regime, target, residuals[_RAW])
        ratio, prior = residuals[_RATIO], residuals[_PRIOR]
        self._fleet_bias.learn(target, float(ratio if np.isfinite(ratio) else prior))
        if np.isfinite(residuals[_SMOOTH]):
            self._shared.learn(target, float(residuals[_SMOOTH]))
        if np.isfinite(residuals[_PRIOR]):
            self._river.learn(observation.features, target, float(residuals[_PRIOR]), terms)


_MAX_LOG: Final = float(np.log(7200.0))


def _stated(mean: float | None, quantile: float | None) -> tuple[float, float] | None:
    if mean is None or quantile is None or not (0 < mean < np.inf and 0 < quantile < np.inf):
        return None
    return float(mean), float(quantile)
