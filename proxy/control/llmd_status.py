"""What llm-d's training and prediction servers tell of themselves: health, models, metrics.

A router reads ``/status`` and ``/model/download/info`` and asks for no file. Their own
prediction server would download pickled models; there are none here, and it is told so.
"""

from datetime import UTC, datetime
from typing import Final, Literal

from fastapi import APIRouter, Request, Response

from proxy.control.errors import ControlError
from proxy.control.llmd_answers import LlmdAnswers
from proxy.control.llmd_route import LlmdRoute
from proxy.control.predictor_plane import PredictorPlane
from proxy.control.schemas import FleetView
from proxy.control.settings import PredictorApiSettings

_MODELS: Final = ("ttft", "tpot", "ttft_scaler", "tpot_scaler", "ttft_gated", "tpot_gated")
_COLD: Final = "cold"


class NoModelFile(ControlError):
    """A model file is asked for."""

    status = 404
    code = "no_model_file"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"there is no file of model {name!r}: predictions are made here, "
            "by POST /predict/bulk/strict",
            param="model_name",
        )


def llmd_status_routes(plane: PredictorPlane, settings: PredictorApiSettings) -> APIRouter:
    """Build the routes that tell what is served."""
    router = APIRouter(route_class=LlmdRoute, tags=["llm-d"])
    answers = LlmdAnswers(plane, settings)

    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the process serves."""
        return {"status": "ok", "service": "foretoken-predictor"}

    @router.get("/readyz")
    async def readyz() -> dict[str, object]:
        """Be ready at once: with no data, physics predicts, and ``layer`` says so."""
        return {"status": "ready", **answers.kind, **_served(plane, settings)}

    @router.get("/status")
    async def status(request: Request) -> dict[str, object]:
        """Describe the models as a prediction server does."""
        served = _served(plane, settings)
        return {
            "is_ready": True,
            **answers.kind,
            "last_model_load": answers.loaded_at(served["version"]),
            "training_server_url": str(request.base_url).rstrip("/"),
            "models_exist": {"ttft_model": True, "tpot_model": True},
            "ensemble_active": False,
            **served,
        }

    @router.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Give the Prometheus page: ours, not theirs."""
        return Response(
            await plane.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )

    @router.get("/data/status")
    async def data() -> dict[str, object]:
        """Count what was learned from."""
        fleet = _fleet(plane, settings)
        labels = {} if fleet is None else fleet.labels
        ttft, tpot = labels.get("ttft", 0), labels.get("tpot", 0)
        return {
            "training_data": {
                "ttft_samples": ttft,
                "tpot_samples": tpot,
                "total_samples": ttft + tpot,
            },
            "refused": {} if fleet is None else fleet.refused,
            "model_ready": True,
        }

    _add_model_routes(router, answers)
    return router


def _add_model_routes(router: APIRouter, answers: LlmdAnswers) -> None:
    @router.get("/model/download/info")
    async def downloads() -> dict[str, object]:
        """Tell a router which kind of model this is: one to ask over HTTP."""
        return {
            **answers.kind,
            "available_endpoints": {},
            "model_status": {"ttft_model_ready": True, "tpot_model_ready": True},
        }

    @router.get("/models/list")
    async def models() -> dict[str, object]:
        """List their model files: none exists."""
        absent = {"exists": False, "size_bytes": 0, "last_modified": None}
        return {
            "models": dict.fromkeys(_MODELS, absent),
            **answers.kind,
            "server_time": datetime.now(UTC),
        }

    @router.get("/model/{model_name}/{what:path}")
    async def file(model_name: str, what: str) -> None:  # noqa: ARG001  # any file of theirs
        """Refuse every file, by name."""
        raise NoModelFile(model_name)


def _fleet(plane: PredictorPlane, settings: PredictorApiSettings) -> FleetView | None:
    fleets = (fleet for fleet in plane.fleets() if fleet.model == settings.llmd_model)
    return next(fleets, None)


def _served(plane: PredictorPlane, settings: PredictorApiSettings) -> dict[str, str | None]:
    fleet = _fleet(plane, settings)
    layer: Literal["cold", "prior", "mixture"] = _COLD if fleet is None else fleet.layer
    return {"layer": layer, "version": None if fleet is None else fleet.version}
