"""The predictor's own API: what a request would see at each endpoint, and what it saw."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import numpy as np
from fastapi import APIRouter, Depends, Request, Response

from predictor.features import FEATURES
from predictor.types import NO_OBJECTIVE, P50, P90, P99, FloatArray, Objective, Predictions
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
from proxy.control.slices import predicted, slices

_REFUSALS: Final[dict[int | str, dict[str, type[ErrorBody]]]] = {
    status: {"model": ErrorBody} for status in ("4XX", 413, 422)
}


def predict_routes(plane: PredictorPlane, settings: PredictorApiSettings) -> APIRouter:
    """Build the routes that predict and tell."""
    router = APIRouter(tags=["predictor"], responses={**_REFUSALS})

    @router.post(
        "/v1/predict",
        response_model=PredictAnswer,
        dependencies=[Depends(_at_most(settings.max_rows, "endpoints"))],
    )
    async def predict(body: PredictBody) -> Response:
        """Predict one request at many endpoints; nothing is booked, nothing is learned."""
        answer = await _predict(plane, body)
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

    @router.post(
        "/v1/observe",
        status_code=202,
        dependencies=[Depends(_at_most(settings.max_rows, "observations"))],
    )
    async def observe(body: ObserveBody) -> ObserveAnswer:
        """Learn from finished requests; wrong ones are refused one by one."""
        now, accepted, refused = plane.now(), 0, Counter[str]()
        async for part in slices(len(body.observations)):
            found, late = observations_of(body.model, body.observations[part], now=now)
            taken = plane.observe(found)
            accepted += taken.accepted
            refused.update(late)
            refused.update(taken.refused)
        return ObserveAnswer(accepted=accepted, refused=refused)

    return router


def _at_most(limit: int, field: str) -> Callable[[Request], Awaitable[None]]:
    """Make the check of how many rows a body has; it comes before the rows are looked at."""

    async def check(request: Request) -> None:
        try:
            body = await request.json()  # FastAPI has read it already
        except ValueError:
            return  # not JSON: refused as such
        rows = body.get(field) if isinstance(body, dict) else None
        if isinstance(rows, list) and len(rows) > limit:
            raise TooManyRows(len(rows), limit, param=field)

    return check


async def _predict(plane: PredictorPlane, body: PredictBody) -> dict[str, object]:
    predictor, endpoints, now = plane.predictor(body.model), body.endpoints, plane.now()
    wanted = body.objective
    objective = Objective(ttft_s=wanted.ttft_s, tpot_s=wanted.tpot_s) if wanted else NO_OBJECTIVE
    views: list[dict[str, object]] = []
    layer, version = None, None
    async for features, said in predicted(
        predictor,
        lambda part: predicted_rows(body.request, endpoints[part], now=now),
        [each.endpoint for each in endpoints],
        [each.hardware for each in endpoints],
    ):
        meets = predictor.probability(said, objective) if objective else None
        rows = features if body.include_features else None
        views += _views(said, endpoints[len(views) :], meets, rows)
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
