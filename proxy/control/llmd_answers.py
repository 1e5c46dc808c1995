"""What the predictor says, in llm-d's words: milliseconds, one number per target."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
import numpy as np

from predictor.types import P50, P90, FloatArray, Predictions
from proxy.control.llmd_rows import endpoint_of, llmd_matrix
from proxy.control.llmd_schemas import LlmdRow
from proxy.control.predictor_plane import PredictorPlane
from proxy.control.settings import PredictorApiSettings
from proxy.control.slices import predicted

MODEL_TYPE: Final = "lightgbm"
"""What a router is told: of the three types it knows, the one it asks over HTTP only."""
QUANTILE: Final = 0.9


class Item(msgspec.Struct, frozen=True):
    """One prediction of an answer, in the order of their fields."""

    ttft_ms: float
    tpot_ms: float
    predicted_at: datetime
    model_type: str
    objective_type: Literal["mean", "quantile"]
    quantile: float
    last_model_load: datetime | None


class SingleItem(Item, frozen=True):
    """A prediction with half its width, as their training server adds it to a single one."""

    ttft_uncertainty: float
    tpot_uncertainty: float
    ttft_prediction_bounds: tuple[float, float]
    tpot_prediction_bounds: tuple[float, float]


@dataclass(frozen=True, slots=True)
class LlmdAnswers:
    """Predict llm-d's rows by the predictor of one fleet."""

    plane: PredictorPlane
    settings: PredictorApiSettings

    @property
    def objective(self) -> Literal["mean", "quantile"]:
        """Name the number given, in their word."""
        return "mean" if self.settings.objective == "mean" else "quantile"

    @property
    def kind(self) -> dict[str, object]:
        """Name the model as a router reads it."""
        return {
            "model_type": MODEL_TYPE,
            "objective_type": self.objective,
            "quantile": QUANTILE,
        }

    async def items(self, rows: Sequence[LlmdRow]) -> list[Item]:
        """Predict each row, in their order."""
        return [item for said in await self._predict(rows) for item in self._items(said)]

    async def single(self, row: LlmdRow) -> SingleItem:
        """Predict one row, with an interval that holds it four times in five.

        The uncertainty is half of that: from the median to the 90 % quantile.
        """
        (said,) = await self._predict([row])
        (item,) = self._items(said)
        middle, high = said.quantiles_s[:, P50, 0] * 1e3, said.quantiles_s[:, P90, 0] * 1e3
        half = np.maximum(high - middle, 0.0)
        low = np.maximum(middle - half, 0.0)
        return SingleItem(
            **msgspec.structs.asdict(item),
            ttft_uncertainty=float(half[0]),
            tpot_uncertainty=float(half[1]),
            ttft_prediction_bounds=(float(low[0]), float(high[0])),
            tpot_prediction_bounds=(float(low[1]), float(high[1])),
        )

    def loaded_at(self, version: str | None) -> datetime | None:
        """Say when the trained model in use was taken in."""
        since_s = self.plane.served_since_s(self.settings.llmd_model, version)
        return None if since_s is None else datetime.fromtimestamp(since_s, UTC)

    async def _predict(self, rows: Sequence[LlmdRow]) -> list[Predictions]:
        settings, now = self.settings, self.plane.now()
        pairs = predicted(
            self.plane.predictor(settings.llmd_model),
            lambda part: llmd_matrix(rows[part], kv_tokens=settings.llmd_kv_tokens, now=now),
            [endpoint_of(row) for row in rows],
            [settings.llmd_hardware] * len(rows),
        )
        return [said async for _, said in pairs]

    def _items(self, said: Predictions) -> list[Item]:
        ttft_ms, tpot_ms = self._chosen(said)
        at, loaded_at = datetime.now(UTC), self.loaded_at(said.version)
        return [
            Item(ttft, tpot, at, MODEL_TYPE, self.objective, QUANTILE, loaded_at)
            for ttft, tpot in zip(ttft_ms, tpot_ms, strict=True)
        ]

    def _chosen(self, said: Predictions) -> tuple[list[float], list[float]]:
        if self.settings.objective == "mean":
            return _ms(said.ttft_s), _ms(said.tpot_s)
        return _ms(said.ttft_p90_s), _ms(said.tpot_p90_s)


def _ms(seconds: FloatArray) -> list[float]:
    """Give milliseconds, rounded to a tenth of a microsecond.

    >>> _ms(np.array([0.0123456789]))
    [12.3457]
    """
    values: list[float] = np.round(seconds * 1e3, 4).tolist()
    return values
