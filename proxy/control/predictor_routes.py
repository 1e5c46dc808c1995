"""The predictor's own API: what a request would see at each endpoint, and what it saw."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Response

from predictor.features import FEATURES
from predictor.types import P50, P90, P99, FloatArray, Objective, Predictions
from proxy.control.access import local_only
from proxy.control.errors import TooManyRows
from proxy.control.predictor_plane import PredictorPlane
from proxy.control.predictor_rows import features_of, observations_of, predicted_rows
from proxy.control.predictor_schemas import (
    EndpointBody,
    FeatureView,
    ObserveAnswer,
    ObserveBody,
    PredictAnswer,
    PredictBody,
)
from proxy.control.schemas import ErrorBody, FleetView
from proxy.control.settings import PredictorApiSettings
from proxy.control.slices import predicted

_REFUSALS: Final[dict[int | str, dict[str, type[ErrorBody]]]] = {
    status: {"model": ErrorBody} for status in ("4XX", 413, 422)
}


def predict_routes(plane: PredictorPlane, settings: PredictorApiSettings) -> APIRouter:
    """Build the routes that predict and tell."""
    router = APIRouter(tags=["predictor"], responses={**_REFUSALS})

    @router.post("/v1/predict", response_model=PredictAnswer)
    async def predict(body: PredictBody) -> Response:
        """Predict one request at many endpoints; nothing is booked, nothing is learned."""
        if len(body.endpoints) > settings.max_rows:
            raise TooManyRows(len(body.endpoints), settings.max_rows, param="endpoints")
        features = predicted_rows(body.request, body.endpoints, now=plane.now())
        answer = await _predict(plane, body, features)
        return Response(msgspec.json.encode(answer), media_type="application/json")

    @router.get("/v1/features")
    async def table() -> list[FeatureView]:
        """List the feature table: names, units, sources and meanings."""
        return [
            FeatureView(name=f.name, unit=f.unit, source=f.source, meaning=f.meaning)
            for f in FEATURES
        ]

    @router.get("/v1/models")
    async def models() -> list[FleetView]:
        """Describe every model's predictor, and how well it has predicted."""
        return list(plane.fleets())

    return router


def observe_routes(
    plane: PredictorPlane, settings: PredictorApiSettings, *, allow_remote: bool
) -> APIRouter:
    """Build the route that teaches: whoever may use it shapes the model."""
    router = APIRouter(
        tags=["predictor"],
        responses={**_REFUSALS},
        dependencies=[] if allow_remote else [Depends(local_only)],
    )

    @router.post("/v1/observe", status_code=202)
    async def observe(body: ObserveBody) -> ObserveAnswer:
        """Learn from finished requests; wrong ones are refused one by one."""
        if len(body.observations) > settings.max_rows:
            raise TooManyRows(len(body.observations), settings.max_rows, param="observations")
        found, late = observations_of(body.model, body.observations, now=plane.now())
        taken = plane.observe(found)
        refused = Counter(late)
        refused.update(taken.refused)
        return ObserveAnswer(accepted=taken.accepted, refused=refused)

    return router


async def _predict(
    plane: PredictorPlane, body: PredictBody, features: FloatArray
) -> dict[str, object]:
    predictor = plane.predictor(body.model)
    wanted = body.objective
    objective = (
        Objective() if wanted is None else Objective(ttft_s=wanted.ttft_s, tpot_s=wanted.tpot_s)
    )
    names = [each.endpoint for each in body.endpoints]
    hardware = [each.hardware for each in body.endpoints]
    views: list[dict[str, object]] = []
    layer, version = None, None
    async for said in predicted(predictor, features, names, hardware):
        start = len(views)
        rows = features[start : start + len(said.ttft_s)] if body.include_features else None
        meets = predictor.probability(said, objective) if objective else None
        views += _views(said, body.endpoints[start:], meets, rows)
        layer, version = said.layer, said.version
    return {"model": body.model, "layer": layer, "version": version, "endpoints": views}


def _views(
    said: Predictions,
    endpoints: Sequence[EndpointBody],
    meets: FloatArray | None,
    features: FloatArray | None,
) -> list[dict[str, object]]:
    expected = np.array([said.ttft_s, said.tpot_s])
    ttft, tpot = np.concatenate((expected[:, None], said.quantiles_s), axis=1).tolist()
    prefill, step = said.prefill_s.tolist(), said.decode_step_s.tolist()
    chances = None if meets is None else meets.tolist()
    return [
        {
            "endpoint": endpoints[i].endpoint,
            "ttft": _target(ttft, i),
            "tpot": _target(tpot, i),
            "prefill_s": prefill[i],
            "decode_step_s": step[i],
            "meets_objective": None if chances is None else chances[i],
            "features": None if features is None else features_of(features[i]),
        }
        for i in range(len(prefill))
    ]


def _target(seconds: list[list[float]], index: int) -> dict[str, float]:
    """Name one endpoint's numbers of one target: expectation first, then the quantiles."""
    return {
        "expected_s": seconds[0][index],
        "p50_s": seconds[1 + P50][index],
        "p90_s": seconds[1 + P90][index],
        "p99_s": seconds[1 + P99][index],
    }
