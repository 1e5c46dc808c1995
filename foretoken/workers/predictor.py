"""A predictor that learns from what all workers observe."""

from collections.abc import Callable

from predictor import LatencyPredictor, PredictorSettings
from predictor.types import Observation


class SharingPredictor(LatencyPredictor):
    """Learn, and let the others learn the same.

    Args:
        settings: As of any predictor.
        tell: Takes every observation that is learned here.
    """

    def __init__(self, settings: PredictorSettings, tell: Callable[[Observation], None]) -> None:
        super().__init__(settings)
        self._tell = tell

    def learn(self, observation: Observation) -> None:
        """Take in one observation of this worker's."""
        super().learn(observation)
        self._tell(observation)

    def hear(self, observation: Observation) -> None:
        """Take in one observation of another's."""
        super().learn(observation)
