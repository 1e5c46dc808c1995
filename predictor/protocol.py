"""What whoever decides needs of a predictor; :class:`LatencyPredictor` is one."""

from collections.abc import Sequence
from typing import Protocol

from predictor.types import FloatArray, Objective, Observation, Predictions


class Predictor(Protocol):
    """Predict both targets for every candidate, and learn from what then happened."""

    def predict(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> Predictions:
        """Predict for ``(n, n_features)`` rows, one per endpoint.

        Raises:
            PredictorError: It cannot; the caller falls back to a heuristic.
        """
        ...

    def learn(self, observation: Observation) -> None:
        """Take in one observation; its two targets may come in two calls.

        Never raises, whatever was measured: it is called while a request is served.
        """
        ...

    def probability(self, predictions: Predictions, objective: Objective) -> FloatArray:
        """Give the probability, ``(n,)``, that each endpoint meets the whole objective."""
        ...
