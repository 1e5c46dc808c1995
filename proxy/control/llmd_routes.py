"""llm-d's latency predictor sidecar API, its two servers in one: a drop-in for its router.

``TRAINING_SERVER_URL`` and ``PREDICTION_SERVER_URL`` both point here. Names, bodies,
bounds and status codes are theirs (:mod:`proxy.control.llmd_schemas`); the rows map onto
the feature table in :mod:`proxy.control.llmd_rows`; what their servers tell of themselves
is in :mod:`proxy.control.llmd_status`.
"""

import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from proxy.control.access import local_only
from proxy.control.errors import PredictionUnavailable
from proxy.control.llmd_answers import Item, LlmdAnswers
from proxy.control.llmd_route import LlmdRoute, too_long
from proxy.control.llmd_rows import llmd_observations
from proxy.control.llmd_schemas import (
    LlmdError,
    LlmdFlush,
    LlmdFlushed,
    LlmdPredictionBatch,
    LlmdPredictions,
    LlmdPredictionsOrErrors,
    LlmdRow,
    LlmdSinglePrediction,
    LlmdTaken,
    LlmdTrainingBatch,
)
from proxy.control.predictor_plane import PredictorPlane
from proxy.control.settings import PredictorApiSettings
from proxy.control.slices import slices

REFUSALS: Final[dict[int | str, dict[str, type[LlmdError]]]] = {
    status: {"model": LlmdError} for status in ("4XX", 422)
}


# Any: OpenAPI, as FastAPI takes it.
def _body_of(schema: type) -> dict[str, Any]:
    """Document the body of a handler that reads it itself."""
    reference = {"$ref": f"#/components/schemas/{schema.__name__}"}
    content = {"application/json": {"schema": reference}}
    return {"requestBody": {"required": True, "content": content}}


def llmd_predict_routes(plane: PredictorPlane, settings: PredictorApiSettings) -> APIRouter:
    """Build the routes that predict."""
    router = APIRouter(route_class=LlmdRoute, tags=["llm-d"], responses={**REFUSALS})
    answers = LlmdAnswers(plane, settings)

    def check(batch: LlmdPredictionBatch) -> list[LlmdRow]:
        if len(batch.requests) > settings.max_rows:
            raise too_long("requests", len(batch.requests), settings.max_rows)
        return batch.requests

    @router.post("/predict", response_model=LlmdSinglePrediction)
    async def predict(body: LlmdRow) -> Response:
        """Predict one row."""
        return _json(await answers.single(body))

    # Reads the body itself: this is the router's hot path, and checking the bytes in one
    # pass takes half of what going through Python objects takes.
    @router.post(
        "/predict/bulk/strict",
        response_model=LlmdPredictions,
        openapi_extra=_body_of(LlmdPredictionBatch),
    )
    async def predict_strictly(request: Request) -> Response:
        """Predict all rows; one that is wrong refuses the call."""
        started_s = time.perf_counter()
        rows = check(LlmdPredictionBatch.model_validate_json(await request.body()))
        return _json(_counted(await answers.items(rows), started_s))

    @router.post("/predict/bulk", response_model=LlmdPredictionsOrErrors)
    async def predict_each(body: LlmdPredictionBatch) -> Response:
        """Predict all rows; where the predictor fails, say so row by row."""
        started_s = time.perf_counter()
        rows = check(body)
        try:
            return _json({**_counted(await answers.items(rows), started_s), "errors": []})
        except PredictionUnavailable as error:
            errors = [
                {"index": index, "error": error.message, "request": row.model_dump()}
                for index, row in enumerate(rows)
            ]
            return _json({**_counted([None] * len(rows), started_s), "errors": errors})

    return router


def llmd_change_routes(
    plane: PredictorPlane, settings: PredictorApiSettings, *, allow_remote: bool
) -> APIRouter:
    """Build the routes that teach and forget: whoever may use them shapes the model."""
    router = APIRouter(
        route_class=LlmdRoute,
        tags=["llm-d"],
        responses={**REFUSALS},
        dependencies=[] if allow_remote else [Depends(local_only)],
    )

    @router.post(
        "/add_training_data_bulk", status_code=202, openapi_extra=_body_of(LlmdTrainingBatch)
    )
    async def add(request: Request) -> LlmdTaken:
        """Learn from measured rows; each counts from the next prediction on, or nearly."""
        entries = LlmdTrainingBatch.model_validate_json(await request.body()).entries
        if len(entries) > settings.max_rows:
            raise too_long("entries", len(entries), settings.max_rows)
        now, refused, measured = plane.now(), Counter[str](), 0
        async for part in slices(len(entries)):
            observations = llmd_observations(
                entries[part],
                model=settings.llmd_model,
                hardware=settings.llmd_hardware,
                kv_tokens=settings.llmd_kv_tokens,
                now=now,
            )
            measured += len(observations)
            refused.update(plane.observe(observations).refused)
        refused["nothing_measured"] += len(entries) - measured
        return LlmdTaken(
            message=f"Accepted {len(entries)} training samples.", refused=dict(+refused)
        )

    @router.post("/flush")
    async def flush(body: LlmdFlush | None = None) -> LlmdFlushed:
        """Forget what was learned online from these rows; trained versions stay stored."""
        wanted = body or LlmdFlush()
        labels = plane.forget(settings.llmd_model) if wanted.flush_training_data else (0, 0)
        return LlmdFlushed(
            flushed_at=datetime.now(UTC),
            reason=wanted.reason,
            ttft_training_samples_flushed=labels[0],
            tpot_training_samples_flushed=labels[1],
            metrics_cleared=wanted.flush_training_data,
            message=f"Forgot {labels[0]} TTFT and {labels[1]} TPOT labels"
            if wanted.flush_training_data
            else "No data flushed: there is no test data apart",
        )

    @router.post("/reload")
    async def reload() -> dict[str, object]:
        """Say what is served; published models are taken in within a second by themselves."""
        return {
            "synced": False,
            "loaded": True,
            **LlmdAnswers(plane, settings).kind,
            "is_ready": True,
            "last_load_time": None,
        }

    return router


def _counted(items: list[Item] | list[None], started_s: float) -> dict[str, object]:
    failed = sum(item is None for item in items)
    return {
        "predictions": items,
        "total_requests": len(items),
        "successful_predictions": len(items) - failed,
        "failed_predictions": failed,
        "processing_time_ms": (time.perf_counter() - started_s) * 1e3,
    }


def _json(content: object) -> Response:
    return Response(msgspec.json.encode(content), media_type="application/json")
