"""What the control plane sees of the service and may change in it."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import ValidationError

from collectors import EndpointSettings
from foretoken.errors import ConfigurationInvalid, EndpointRefused
from foretoken.fleet_view import deciding_view, fleet_view
from foretoken.routers.view import routers_view
from foretoken.service import Service
from predictor.types import Decision, EndpointLoad, EndpointState, FloatArray, RequestFeatures
from proxy import History
from proxy.control import (
    Belief,
    ControlError,
    DecidingView,
    DuplicateEndpoint,
    FleetView,
    Mode,
    NoEndpointUp,
    ReloadRefused,
    RoutersView,
    TrialRefused,
    TrialsBody,
    UnknownEndpoint,
)
from scheduler import Forecast, Standing, TierSettings, Typical

if TYPE_CHECKING:  # whoever has no other routers loads nothing of them
    from foretoken.routers.outside import Outside

log = logging.getLogger(__name__)


class ServicePlane:
    """Serve :class:`proxy.control.ControlPlane` from a running service.

    Args:
        service: Runs.
        outside: Connects it with other routers, ``None`` where there are none.
    """

    epoch_s = 0.0  # the service's clock reads Unix time (docs/decisions/clock.md)

    def __init__(self, service: Service, outside: "Outside | None" = None) -> None:
        self._service = service
        self._outside = outside

    @property
    def history(self) -> History:
        """Give the last finished requests."""
        return self._service.history

    @property
    def mode(self) -> Mode:
        """Say who decides."""
        return self._service.scheduler.mode

    def now(self) -> float:
        """Read the service's clock."""
        return self._service.clock()

    def set_mode(self, mode: Mode) -> None:
        """Change who decides."""
        log.warning("mode_changed", extra={"before": self.mode, "mode": mode})
        self._service.scheduler.mode = mode

    def deciding(self) -> Sequence[DecidingView]:
        """Say who decides in each fleet."""
        return [deciding_view(fleet) for fleet in self._service.scheduler.fleets.values()]

    def set_trials(self, trials: TrialsBody) -> None:
        """Change what is on trial."""
        wanted = {"shadow": trials.shadow, "canary": trials.canary}
        log.warning("trials_changed", extra={"model": trials.model, "trials": str(wanted)})
        settings = self._service.settings
        try:
            self._service.apply(settings.with_trials(trials.model, wanted))
        except ConfigurationInvalid as error:
            raise TrialRefused("; ".join(error.problems)) from error

    def clear_answers(self) -> int:
        """Forget every answer of the response cache."""
        guard = self._service.guard
        return 0 if guard is None else guard.cache.clear()

    def endpoints(self) -> Sequence[tuple[EndpointState, EndpointLoad]]:
        """Give every endpoint with what is in flight there."""
        scheduler, now = self._service.scheduler, self.now()
        return [(state, scheduler.load(state.endpoint, now)) for state in scheduler.states.values()]

    def suspicion(self, endpoint: str) -> str | None:
        """Say why an endpoint is left alone for now."""
        return self._service.scheduler.suspicion(endpoint, self.now())

    def forecast(self, model: str, typical: Typical) -> Forecast | None:
        """Predict a typical request at each endpoint of a fleet."""
        return self._service.scheduler.forecast(model, typical, self.now())

    def standing(self) -> Sequence[Standing]:
        """List the requests that wait in the scheduler's queue."""
        return list(self._service.scheduler.standing())

    @property
    def tiers(self) -> Mapping[str, TierSettings]:
        """Give the tiers of service, the default one first."""
        settings = self._service.settings.scheduler
        first = settings.default_tier
        return {first: settings.tiers[first], **settings.tiers}

    def models(self) -> Sequence[FleetView]:
        """Describe the models of each fleet."""
        models, trainer = self._service.models, self._service.trainer
        alive = None if trainer is None or trainer.elsewhere else trainer.alive
        return [
            fleet_view(fleet, predictor, models, trainer_alive=alive)
            for fleet, predictor in models.predictors.items()
        ]

    def routers(self) -> RoutersView:
        """Say how this router stands with others."""
        return routers_view(self._outside, self.now())

    def belief(self, fleet: str, features: FloatArray) -> Belief | None:
        """Say how far a fleet's experts are believed now about such rows."""
        predictor = self._service.models.predictors.get(fleet)
        if predictor is None:
            return None
        report = predictor.report()
        return Belief(
            version=report.version, layer=report.layer, weights=predictor.weights(features)
        )

    def predict(self, request: RequestFeatures) -> Decision:
        """Decide about a request as if it came now."""
        decision = self._service.scheduler.preview(request, self.now())
        if decision is None:
            raise NoEndpointUp(request.model)
        return decision

    def drain(self, endpoint: str, *, draining: bool) -> None:
        """Start or stop keeping new requests from an endpoint."""
        self._known(endpoint)
        self._service.on_drain(endpoint, draining=draining)  # first: what holds from now on
        self._service.membership.drain(endpoint, draining=draining)

    async def add_endpoint(self, url: str, *, hardware: str | None) -> str:
        """Add an endpoint and give its name."""
        try:
            endpoint = EndpointSettings(url=url, hardware=hardware)
        except ValidationError as error:
            raise ControlError(error.errors()[0]["msg"], param="url") from error
        membership = self._service.membership
        if endpoint.name in membership.present:
            raise DuplicateEndpoint(endpoint.name)
        try:
            membership.add(endpoint)
        except EndpointRefused as error:
            raise ControlError(str(error), param="url") from error
        return endpoint.name

    async def remove_endpoint(self, endpoint: str) -> None:
        """Have an endpoint leave: what is in flight there runs to its end, then it is forgotten."""
        self._known(endpoint)
        self._service.membership.remove(endpoint)

    async def reload(self) -> Sequence[str]:
        """Read the configuration again."""
        try:
            return self._service.reload()
        except ConfigurationInvalid as error:
            raise ReloadRefused(str(error)) from error

    def _known(self, endpoint: str) -> None:
        if endpoint not in self._service.scheduler.states:
            raise UnknownEndpoint(endpoint)
