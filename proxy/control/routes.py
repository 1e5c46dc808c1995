"""The control plane's JSON routes: look at the service, and change it.

Every handler is a coroutine: FastAPI runs plain functions on threads, where the
state of the event loop must not be touched.
"""

from typing import Annotated, Literal
from uuid import uuid4

from fastapi import APIRouter, Depends, Query

from predictor.types import RequestFeatures
from proxy.control.access import local_only
from proxy.control.errors import UnknownDecision
from proxy.control.explanation import explanation
from proxy.control.explanation_schemas import ExplanationView
from proxy.control.plane import ControlPlane
from proxy.control.schemas import (
    ClearedView,
    DecidingView,
    DecisionView,
    EndpointView,
    ErrorBody,
    FleetView,
    HypotheticalRequest,
    ModeBody,
    NewEndpoint,
    PredictionView,
    ReloadView,
    RoutersView,
    TrialsBody,
)
from proxy.control.views import decision_view, endpoint_views, prediction_view

_REFUSALS: dict[int | str, dict[str, type[ErrorBody]]] = {
    status: {"model": ErrorBody} for status in ("4XX", 422)
}


def read_routes(plane: ControlPlane) -> APIRouter:
    """Build the routes that change nothing."""
    router = APIRouter(responses={**_REFUSALS})

    @router.get("/endpoints")
    async def endpoints() -> list[EndpointView]:
        """List every known endpoint."""
        return endpoint_views(plane)

    @router.get("/decisions")
    async def decisions(limit: Annotated[int, Query(ge=1, le=200)] = 50) -> list[DecisionView]:
        """List the last finished requests, the last first, with all candidates."""
        return [decision_view(r, plane.epoch_s) for r in plane.history.latest(limit)]

    # A path, because clients choose request ids and may put slashes into them.
    @router.get("/decisions/{request_id:path}")
    async def decision(request_id: str) -> ExplanationView:
        """Explain one finished request: what was known, predicted and decided, what happened."""
        record = plane.history.get(request_id)
        if record is None:
            raise UnknownDecision(request_id)
        return explanation(plane, record)

    @router.get("/models")
    async def models() -> list[FleetView]:
        """Describe what predicts each fleet, and how well."""
        return list(plane.models())

    @router.get("/mode")
    async def mode() -> ModeBody:
        """Say who decides."""
        return ModeBody(mode=plane.mode)

    @router.get("/deciding")
    async def deciding() -> list[DecidingView]:
        """Say who decides in each fleet, why, and what is on trial beside it."""
        return list(plane.deciding())

    @router.get("/routers")
    async def routers() -> RoutersView:
        """Say how this router stands with others in front of the same endpoints."""
        return plane.routers()

    @router.post("/predict")
    async def predict(body: HypotheticalRequest) -> PredictionView:
        """Predict a request at every endpoint without sending it."""
        return prediction_view(body.model, plane.predict(_features(body, plane.now())))

    return router


def change_routes(plane: ControlPlane, *, allow_remote: bool) -> APIRouter:
    """Build the routes that change the running service."""
    router = APIRouter(
        responses={**_REFUSALS}, dependencies=[] if allow_remote else [Depends(local_only)]
    )

    @router.post("/endpoints", status_code=201)
    async def add(body: NewEndpoint) -> EndpointView:
        """Add an endpoint; it gets requests once it has been seen up."""
        name = await plane.add_endpoint(body.base_url, hardware=body.hardware)
        return _one(plane, name)

    @router.delete("/endpoints/{endpoint}", status_code=204)
    async def remove(endpoint: str) -> None:
        """Have an endpoint leave: what is in flight there runs to its end, then it is forgotten."""
        await plane.remove_endpoint(endpoint)

    @router.post("/endpoints/{endpoint}/{action}")
    async def drain(endpoint: str, action: Literal["drain", "undrain"]) -> EndpointView:
        """Keep new requests from an endpoint, or let them come again."""
        plane.drain(endpoint, draining=action == "drain")
        return _one(plane, endpoint)

    @router.delete("/response-cache")
    async def clear_answers() -> ClearedView:
        """Forget every kept answer, for weights that changed under the same name."""
        return ClearedView(answers=plane.clear_answers())

    @router.put("/mode")
    async def set_mode(body: ModeBody) -> ModeBody:
        """Change who decides: the shadow mode and the kill switch."""
        plane.set_mode(body.mode)
        return ModeBody(mode=plane.mode)

    @router.put("/trials")
    async def set_trials(body: TrialsBody) -> list[DecidingView]:
        """Change the policy in shadow and the canary, until the file next changes."""
        plane.set_trials(body)
        return list(plane.deciding())

    @router.post("/reload")
    async def reload() -> ReloadView:
        """Read the configuration again."""
        return ReloadView(changed=list(await plane.reload()))

    return router


def _one(plane: ControlPlane, endpoint: str) -> EndpointView:
    return next(view for view in endpoint_views(plane) if view.endpoint == endpoint)


def _features(body: HypotheticalRequest, now: float) -> RequestFeatures:
    return RequestFeatures(
        request_id=f"predict-{uuid4().hex}",
        arrived_s=now,
        model=body.model,
        prompt_tokens=body.prompt_tokens,
        max_tokens=body.max_tokens,
        streamed=body.streamed,
        tier=body.tier,
    )
