"""The control plane as one ASGI application, mounted beside the data path.

Its routes carry the ``/foretoken`` prefix themselves: the data path hands over the
scope of every such request unchanged.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.types import Lifespan

from dashboards import live_page
from proxy.access import Access
from proxy.control.access import AdminGate, guards_reads
from proxy.control.body_bound import BodyBound
from proxy.control.errors import add_error_handlers
from proxy.control.live import live_routes
from proxy.control.llmd_routes import llmd_change_routes, llmd_predict_routes
from proxy.control.llmd_schemas import LlmdPredictionBatch, LlmdTrainingBatch
from proxy.control.llmd_status import llmd_status_routes
from proxy.control.plane import ControlPlane
from proxy.control.predictor_plane import PredictorPlane
from proxy.control.predictor_routes import observe_routes, predict_routes
from proxy.control.routes import change_routes, read_routes
from proxy.control.settings import ControlSettings

PREFIX = "/foretoken"


class _Application(FastAPI):
    """FastAPI, whose OpenAPI document has the bodies too that handlers read themselves."""

    # Any: OpenAPI, as FastAPI gives it.
    def openapi(self) -> dict[str, Any]:
        """Describe every route, and every body that a route refers to."""
        if self.openapi_schema is None:
            read: list[tuple[type[BaseModel], JsonSchemaMode]] = [
                (LlmdPredictionBatch, "validation"),
                (LlmdTrainingBatch, "validation"),
            ]
            _, shapes = models_json_schema(read, ref_template="#/components/schemas/{model}")
            known = super().openapi().setdefault("components", {}).setdefault("schemas", {})
            known.update(sorted({**shapes["$defs"], **known}.items()))
        return super().openapi()


def build_control(
    plane: ControlPlane,
    *,
    closing: asyncio.Event,
    settings: ControlSettings | None = None,
    predictors: PredictorPlane | None = None,
    access: Access | None = None,
    listens_beyond: bool = False,
) -> FastAPI:
    """Build the control plane's application.

    Args:
        plane: The running service.
        closing: Set when the server begins to shut down: ends the event streams, which
            otherwise hold it up for as long as a page is open.
        settings: Its section of the configuration.
        predictors: The models behind ``/foretoken/predictor``, ``None`` without that API.
        access: Knows the admins, ``None`` for none.
        listens_beyond: Whether other machines can reach it.
    """
    settings = settings or ControlSettings()
    app = _empty("Foretoken control plane", PREFIX, settings)
    live = live_routes(plane, page=live_page(), closing=closing, settings=settings)
    changes = change_routes(plane, allow_remote=settings.allow_remote_changes)
    for router in (read_routes(plane), changes, live):
        app.include_router(router, prefix=PREFIX)
    if predictors is not None:
        _include_predictor(app, predictors, settings, f"{PREFIX}/predictor")
    guarded = guards_reads(settings, listens_beyond=listens_beyond)
    app.add_middleware(AdminGate, access=access or Access(), guarded=guarded)
    return app


def build_predictor_app(
    predictors: PredictorPlane,
    settings: ControlSettings,
    lifespan: Callable[[], AbstractAsyncContextManager[None]],
) -> FastAPI:
    """Build the predictor's API alone: ours under ``/v1``, llm-d's beside it.

    Args:
        predictors: The models.
        settings: The control plane's section of the configuration.
        lifespan: Entered before the first call, left after the last.
    """
    app = _empty("Foretoken predictor", "", settings, lambda _: lifespan())
    _include_predictor(app, predictors, settings, "")
    return app


def _empty(
    title: str, prefix: str, settings: ControlSettings, lifespan: Lifespan[FastAPI] | None = None
) -> FastAPI:
    # The interactive documentation of FastAPI loads scripts from a CDN.
    app = _Application(
        title=title,
        openapi_url=f"{prefix}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    app.add_middleware(BodyBound, most_bytes=settings.predictor.max_body_bytes)
    add_error_handlers(app)
    return app


def _include_predictor(
    app: FastAPI, predictors: PredictorPlane, settings: ControlSettings, prefix: str
) -> None:
    bounds, allow_remote = settings.predictor, settings.allow_remote_changes
    for router in (
        predict_routes(predictors, bounds),
        observe_routes(predictors, bounds, allow_remote=allow_remote),
        llmd_predict_routes(predictors, bounds),
        llmd_change_routes(predictors, bounds, allow_remote=allow_remote),
        llmd_status_routes(predictors, bounds),
    ):
        app.include_router(router, prefix=prefix)
