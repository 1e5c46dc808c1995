"""What the predictor's API needs of whoever keeps the predictors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from predictor.protocol import Predictor
from predictor.types import Observation
from proxy.control.schemas import FleetView


@dataclass(frozen=True, slots=True)
class Taken:
    """Tell what became of a batch of observations.

    Attributes:
        accepted: Observations that will be learned from.
        refused: Labels, and whole observations, that will not, by reason.
    """

    accepted: int
    refused: Mapping[str, int]


class PredictorPlane(Protocol):
    """Give predictors by model, and take in what was observed.

    One object, because its methods are about one thing: the models behind the API. All
    are called on the event loop.
    """

    def now(self) -> float:
        """Read the clock observations are stamped with, in seconds: Unix time."""
        ...

    def predictor(self, model: str) -> Predictor:
        """Give the predictor of a model's fleet; one that knows nothing for an unknown one."""
        ...

    def observe(self, observations: Sequence[Observation]) -> Taken:
        """Take observations to learn from, soon."""
        ...

    def forget(self, model: str) -> tuple[int, int]:
        """Start a model's predictor anew; give how many labels it had, of TTFT and TPOT."""
        ...

    def served_since_s(self, model: str, version: str | None) -> float | None:
        """Say since when a trained version has been served, ``None`` without one."""
        ...

    def fleets(self) -> Sequence[FleetView]:
        """Describe every model's predictor."""
        ...

    async def metrics(self) -> bytes:
        """Give the Prometheus page."""
        ...
