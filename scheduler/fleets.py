"""Which fleet a request's model name leads to.

A fleet appears when the first endpoint tells its base model; adapters and aliases are
names that lead there too. Called by the scheduler only.
"""

from collections.abc import Iterable

from predictor.types import EndpointState, RequestFeatures
from scheduler.errors import ModelNotFound
from scheduler.fleet import Fleet, FleetFactory
from scheduler.settings import SchedulerSettings


class Fleets:
    """Hold every fleet there has been, and the names that lead to those there are.

    Args:
        make_fleet: Builds the fleet of a model.
        settings: What goes on beside its policies.

    Attributes:
        by_model: Every fleet by its base model.
    """

    def __init__(self, make_fleet: FleetFactory, settings: SchedulerSettings) -> None:
        self._make_fleet = make_fleet
        self._settings = settings
        self._model_of: dict[str, str] = {}
        self._untold = False
        self.by_model: dict[str, Fleet] = {}

    def configure(self, settings: SchedulerSettings) -> None:
        """Take other settings into force."""
        self._settings = settings
        for fleet in self.by_model.values():
            fleet.configure(settings)

    def update(self, states: Iterable[EndpointState]) -> None:
        """Take in the whole present set of endpoints."""
        self._model_of, self._untold = {}, False
        for state in states:
            if state.model is None:
                self._untold = True
                continue
            self._model_of |= dict.fromkeys((state.model, *state.adapters), state.model)

    def forget(self, endpoint: str) -> None:
        """Forget an endpoint that has left."""
        for fleet in self.by_model.values():
            fleet.leanings.forget(endpoint)
            fleet.exploration.forget(endpoint)
            fleet.warm_up.forget(endpoint)

    def of_model(self, model: str) -> Fleet:
        """Give the fleet of a base model, built where it is the first of it."""
        fleet = self.by_model.get(model)
        if fleet is None:
            fleet = self.by_model[model] = self._make_fleet(model)
            fleet.configure_trials(self._settings)
        return fleet

    def missed(self, model: str, now: float) -> None:
        """Count a request for a fleet that has no endpoint any more: it may be given one."""
        fleet = self.by_model.get(model)
        if fleet is not None:
            fleet.pace.chooses(now)

    def names(self) -> tuple[str, ...]:
        """List every name requests may ask for, sorted."""
        return tuple(sorted(self._model_of))

    def find(self, request: RequestFeatures) -> Fleet | None:
        """Find a request's fleet; ``None`` when one that is not there yet might serve it.

        Raises:
            ModelNotFound: There are endpoints, every one has told, and none serves it.
        """
        model = self._model_of.get(request.model)
        if model is None and not request.model and len(self.by_model) == 1:
            model = next(iter(self.by_model))
        if model is not None:
            return self.by_model[model]
        if self._untold or not self._model_of:
            return None
        raise ModelNotFound(request.model, self.names())
