"""A predictor that anybody can recompute, and the plane that hands it out."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import httpx
import numpy as np

from predictor.errors import PredictionFailed
from predictor.features import COLUMN
from predictor.types import FloatArray, Objective, Observation, Predictions
from proxy.control import (
    ControlSettings,
    FleetView,
    PredictorApiSettings,
    Taken,
    TrainingView,
    build_predictor_app,
)
from proxy.control.app import build_control
from tests.proxy.control.fakes import EPOCH_S, FakePlane


class KnownPredictor:
    """TTFT is 10 ms + 0.1 ms a token to prefill; TPOT 5 ms + 1 ms per decoding request."""

    def __init__(self) -> None:
        self.failing = False
        self.calls: list[int] = []
        self.endpoints: set[str] = set()
        self.hardware: set[str | None] = set()

    def predict(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> Predictions:
        if self.failing:
            raise PredictionFailed("no trees today")
        self.calls.append(len(features))
        self.endpoints |= set(endpoints)
        self.hardware |= set(hardware)
        known = np.nan_to_num(features)
        tokens = known[:, COLUMN["uncached_tokens"]] + known[:, COLUMN["queued_prefill_tokens"]]
        ttft = 0.01 + 1e-4 * tokens
        tpot = 0.005 + 1e-3 * known[:, COLUMN["decoding_requests"]]
        middle = np.array([ttft, tpot])
        return Predictions(
            ttft_s=ttft,
            tpot_s=tpot,
            quantiles_s=np.stack((middle, middle * 1.5, middle * 2), axis=1),
            rank_ttft_s=ttft,
            rank_tpot_s=tpot,
            prefill_s=1e-4 * known[:, COLUMN["uncached_tokens"]],
            decode_step_s=np.full(len(features), 1e-3),
            prefill_token_s=np.full(len(features), 1e-4),
            experts=np.zeros((2, 8, len(features))),
            layer="mixture",
            version="v1",
        )

    def learn(self, observation: Observation) -> None:
        raise AssertionError(observation)

    def probability(self, predictions: Predictions, objective: Objective) -> FloatArray:
        met = np.ones(len(predictions.ttft_s))
        if objective.ttft_s is not None:
            met *= predictions.ttft_s <= objective.ttft_s
        return met


class FakePredictors:
    """What is behind the predictor's API, without learning anything."""

    def __init__(self, known: KnownPredictor | None = None) -> None:
        self.known = known or KnownPredictor()
        self.observed: list[Observation] = []
        self.asked: list[str] = []
        self.forgotten: list[str] = []

    def now(self) -> float:
        return EPOCH_S

    def predictor(self, model: str) -> KnownPredictor:
        self.asked.append(model)
        return self.known

    def observe(self, observations: Sequence[Observation]) -> Taken:
        self.observed += observations
        return Taken(len(observations), Counter())

    def forget(self, model: str) -> tuple[int, int]:
        self.forgotten.append(model)
        return 3, 2

    def served_since_s(self, model: str, version: str | None) -> float | None:
        return None if version is None else EPOCH_S - 60

    def fleets(self) -> Sequence[FleetView]:
        return [
            FleetView(
                model="llm-d",
                version="v1",
                layer="mixture",
                targets=[],
                observations=3,
                labels={"ttft": 3, "tpot": 2},
                refused={"tpot_absurd": 1},
                training=TrainingView(alive=True),
            )
        ]

    async def metrics(self) -> bytes:
        return b"# TYPE foretoken_model_info gauge\n"


def ask(
    plane: FakePredictors,
    method: str,
    path: str,
    *,
    client: str = "127.0.0.1",
    settings: PredictorApiSettings | None = None,
    allow_remote: bool = False,
    inside: bool = False,
    **options: Any,
) -> httpx.Response:
    """Call the API of ``plane`` alone, or ``inside`` a control plane."""
    control = ControlSettings(
        predictor=settings or PredictorApiSettings(), allow_remote_changes=allow_remote
    )
    if inside:
        beside = FakePlane()
        app = build_control(beside, closing=beside.closing, settings=control, predictors=plane)
        path = f"/foretoken/predictor{path}"
    else:
        app = build_predictor_app(plane, control, nullcontext)
    transport = httpx.ASGITransport(app, client=(client, 5000), raise_app_exceptions=False)

    async def _ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://predictor") as http:
            return await http.request(method, path, **options)

    return asyncio.run(_ask())
