"""The models behind the predictor's API, alone or beside a service.

Decides which observations are taken: those with a usable label, of a bounded number of
models and endpoints, as long as not too many wait. A model of the service beside it is
the service's own predictor; one that observations introduce gets one here.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from prometheus_client import CollectorRegistry

from foretoken.fleet_view import fleet_view
from foretoken.learner import Learner
from foretoken.model_updates import ModelUpdates
from predictor import LatencyPredictor, PredictorSettings
from predictor.labels import usable_labels
from predictor.types import Observation
from proxy import Encoding, page_of
from proxy.control import FleetView, PredictorApiSettings, Taken


class PredictorHost:
    """Serve :class:`proxy.control.PredictorPlane`.

    Args:
        settings: Bounds of the API.
        predictor: What predictors are made with.
        models: Keeps every predictor at the version in use.
        clock: Reads Unix time.
        feed: Gets every learned observation, for the trainer.
        forget: Lets the trainer forget a model's observations.
        trainer_alive: Tells whether a trainer runs, ``None`` where none is meant to.
        registry: What the metrics page shows.
        refused: Counts an observation that was not taken, by reason.

    Attributes:
        learner: Run it in the background.
    """

    def __init__(
        self,
        *,
        settings: PredictorApiSettings,
        predictor: PredictorSettings,
        models: ModelUpdates,
        clock: Callable[[], float],
        feed: Callable[[Observation], None],
        forget: Callable[[str], None],
        trainer_alive: Callable[[], bool | None],
        registry: CollectorRegistry,
        refused: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._predictor_settings = predictor
        self._models = models
        self._clock = clock
        self._forget = forget
        self._trainer_alive = trainer_alive
        self._registry = registry
        self._refused = refused
        self._unknown = LatencyPredictor(predictor)  # asked about models nobody has observed
        self._own: dict[str, LatencyPredictor] = {}
        self._endpoints: dict[str, set[str]] = {}
        self._served: dict[str, tuple[str, float]] = {}
        self.learner = Learner(self.predictor, feed, settings.max_waiting_observations)

    def now(self) -> float:
        """Read the clock."""
        return self._clock()

    def predictor(self, model: str) -> LatencyPredictor:
        """Give a model's predictor; one that knows nothing for an unknown model."""
        return self._models.predictors.get(model, self._unknown)

    def adopt_stored(self, fleets: Iterable[str]) -> None:
        """Start from the versions in use of fleets that a store holds."""
        for fleet in fleets:
            if fleet not in self._models.predictors:
                self._add(fleet)

    def observe(self, observations: Sequence[Observation]) -> Taken:
        """Take observations to learn from, soon."""
        accepted, refused = 0, Counter[str]()
        for observation in observations:
            labels, reasons = usable_labels(observation)
            refused.update(reasons)
            if not (labels or _teaches_later(observation, reasons)):
                self._count(observation)
                if not reasons:
                    refused["nothing_measured"] += 1
                continue
            reason = self._why_not(observation)
            if reason is None:
                accepted += 1
            else:
                refused[reason] += 1
                self._refused(reason)
        return Taken(accepted, refused)

    def forget(self, model: str) -> tuple[int, int]:
        """Start a predictor of the API's own anew, and its training; the service's stay."""
        own = self._own.get(model)
        if own is None or self._models.predictors[model] is not own:
            return 0, 0  # the service has begun to serve that model
        labels = own.report().observations
        self.learner.forget(model)
        self._forget(model)
        self._endpoints.pop(model, None)
        self._add(model)
        return labels["ttft"], labels["tpot"]

    def served_since_s(self, model: str, version: str | None) -> float | None:
        """Say when a version was first seen in a prediction here."""
        if version is None:
            return None
        known = self._served.get(model)
        if known is None or known[0] != version:
            known = self._served[model] = (version, self._clock())
        return known[1]

    def fleets(self) -> Sequence[FleetView]:
        """Describe every model's predictor."""
        alive = self._trainer_alive()
        return [
            fleet_view(fleet, predictor, self._models, trainer_alive=alive)
            for fleet, predictor in self._models.predictors.items()
        ]

    async def metrics(self, encoding: Encoding = "plain") -> bytes:
        """Give the metrics page."""
        return await page_of(self._registry, encoding)

    def _add(self, model: str) -> None:
        own = self._own[model] = LatencyPredictor(self._predictor_settings)
        self._models.adopt(model, own)

    def _count(self, observation: Observation) -> None:
        """Let the model's predictor count what it will not learn from."""
        known = self._models.predictors.get(observation.model)
        if known is not None:
            known.learn(observation)

    def _why_not(self, observation: Observation) -> str | None:
        """Take one usable observation, or give the reason not to."""
        model, settings = observation.model, self._settings
        if model not in self._models.predictors:
            if len(self._own) >= settings.max_models:
                return "too_many_models"
            self._add(model)
        known = self._endpoints.setdefault(model, set())
        if observation.endpoint not in known:
            if len(known) >= settings.max_endpoints:
                return "too_many_endpoints"
            known.add(observation.endpoint)
        return None if self.learner.put(observation) else "too_many_waiting"


def _teaches_later(observation: Observation, reasons: Sequence[str]) -> bool:
    """Tell whether it teaches without a label yet: a total to be split, or a miss."""
    split = observation.total_s is not None and observation.output_tokens is not None
    return not reasons and (split or observation.waited_s is not None)
