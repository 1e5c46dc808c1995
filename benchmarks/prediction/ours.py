"""The production predictor as a contender, trained on the trainer's cadence.

Serving, window and training are the production code; only the trainer's process is missing:
a model trains in no time, every ``RETRAIN_S`` of traffic.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from benchmarks.prediction.play import Said
from benchmarks.prediction.rowset import Label, Request, RowSet
from predictor import EXPERTS, LatencyPredictor, ModelSnapshot, Retraining, TrainingRefused
from predictor.types import P50
from predictor.values import replace

RETRAIN_S: Final = 3.0
FRESH_LABELS: Final = 50
FRESH_SHARE: Final = 0.02
"""Labels since the last training, by number and as a share of all: slow traffic would train
again and again on much the same rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """Note that a trained model took part from some moment on.

    Attributes:
        events: Dispatches and labels there had been until then.
        errors: Mean absolute log error of its experts, as its snapshot states them.
    """

    events: int
    errors: Mapping[str, float]


class Ours:
    """Predict with :class:`LatencyPredictor` and train it from what it learned.

    Attributes:
        swaps: One for each model that took part.
        model: The last of them, ``None`` before any.
    """

    expert_names: ClassVar[tuple[str, ...]] = EXPERTS

    def __init__(self) -> None:
        self.swaps: list[Swap] = []
        self.model: ModelSnapshot | None = None
        self._asked = 0
        self._predictor = LatencyPredictor()
        self._retraining = Retraining()
        self._learned = 0
        self._trained_s = 0.0
        self._trained_rows = 0

    def predict(self, request: Request, now: float) -> Said:  # noqa: ARG002  # not timed
        """Predict a request that is sent."""
        self._asked += 1
        said = self._predictor.predict(
            request.features[None], [request.endpoint], [request.hardware]
        )
        return Said(
            mean_s=np.array([said.ttft_s[0], said.tpot_s[0]]),
            p50_s=said.quantiles_s[:, P50, 0],
            p90_s=np.array([said.ttft_p90_s[0], said.tpot_p90_s[0]]),
            experts=said.experts[:, :, 0],
        )

    def learn(self, rows: RowSet, label: Label, said: Said) -> None:
        """Learn a label as serving does: scored by what was said at dispatch."""
        observation = replace(
            rows.observation(label),
            experts=said.experts,
            predicted_ttft_s=float(said.mean_s[0]),
            predicted_tpot_s=float(said.mean_s[1]),
            predicted_ttft_p90_s=float(said.p90_s[0]),
            predicted_tpot_p90_s=float(said.p90_s[1]),
        )
        self._predictor.learn(observation)
        self._learned += 1
        self._retraining.add(observation)

    def train(self, now: float) -> None:
        """Train where it is time and enough is there."""
        taken = self._retraining.window.taken
        enough = max(FRESH_LABELS, FRESH_SHARE * taken)
        if now - self._trained_s < RETRAIN_S or taken - self._trained_rows < enough:
            return
        self._trained_s, self._trained_rows = now, taken
        try:
            end = self._retraining.train(self.model)
        except TrainingRefused:
            return
        model = end.restore or (end.model.snapshot if end.refusal is None else None)
        if model is not None:
            self.model = model
            self._predictor.swap(model)
            self.swaps.append(Swap(events=self._asked + self._learned, errors=model.errors))
