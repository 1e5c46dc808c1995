"""The production predictor as a contender, trained on the trainer's cadence.

Serving, window and training are the production code; only the trainer's process is missing:
a model trains in no time, every ``RETRAIN_S`` of traffic.
"""

from dataclasses import replace
from typing import ClassVar, Final

import numpy as np

from benchmarks.prediction.play import Said
from benchmarks.prediction.rowset import Label, Request, RowSet
from predictor import EXPERTS, LatencyPredictor, ModelSnapshot, Retraining, TrainingRefused
from predictor.types import P50

RETRAIN_S: Final = 3.0
FRESH_LABELS: Final = 50
FRESH_SHARE: Final = 0.02
"""Labels since the last training, by number and as a share of all: slow traffic would train
again and again on much the same rows."""


class Ours:
    """Predict with :class:`LatencyPredictor` and train it from what it learned."""

    expert_names: ClassVar[tuple[str, ...]] = EXPERTS

    def __init__(self) -> None:
        self._predictor = LatencyPredictor()
        self._retraining = Retraining()
        self._served: ModelSnapshot | None = None
        self._trained_s = 0.0
        self._trained_rows = 0

    def predict(self, request: Request, now: float) -> Said:  # noqa: ARG002  # not timed
        """Predict a request that is sent."""
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
        self._retraining.add(observation)

    def train(self, now: float) -> None:
        """Train where it is time and enough is there."""
        taken = self._retraining.window.taken
        enough = max(FRESH_LABELS, FRESH_SHARE * taken)
        if now - self._trained_s < RETRAIN_S or taken - self._trained_rows < enough:
            return
        self._trained_s, self._trained_rows = now, taken
        try:
            end = self._retraining.train(self._served)
        except TrainingRefused:
            return
        model = end.restore or (end.model.snapshot if end.refusal is None else None)
        if model is not None:
            self._served = model
            self._predictor.swap(model)
