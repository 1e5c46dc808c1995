"""What is published of how many endpoints fleets need, for people and autoscalers.

Read when somebody scrapes us; it is worked out at most once in :data:`FRESH_S`, for it asks
the predictor of many loads. Constructed by ``foretoken.published``.
"""

from collections.abc import Callable, Iterator
from math import inf, isnan
from typing import Final

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scheduler import Outlook, Scheduler

FRESH_S: Final = 2.0
"""An outlook is given again for so long, to whoever asks more often."""

_BOUNDS: Final = ("earliest", "expected", "latest")


class OutlookCollector(Collector):
    """Publish each fleet's outlook; what is unknown is left out.

    Args:
        scheduler: Gives it.
        clock: The clock that the scheduler is driven by.
    """

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._found: dict[str, Outlook] = {}
        self._as_of_s = -inf

    def collect(self) -> Iterator[Metric]:
        """Give the gauges as they are at this moment."""
        now = self._clock()
        if now - self._as_of_s >= FRESH_S:
            fleets = self._scheduler.fleets.items()
            self._found = {model: self._scheduler.outlook(fleet, now) for model, fleet in fleets}
            self._as_of_s = now
        families = _Families()
        for model, outlook in self._found.items():
            families.add(model, outlook)
        yield from families.all


class _Families:
    """Declare the families."""

    def __init__(self) -> None:
        self._plain = (
            _by_model(
                "foretoken_fleet_demand_requests_per_second",
                "Requests that come, by the trend of the last minutes.",
            ),
            _by_model(
                "foretoken_fleet_forecast_requests_per_second",
                "Requests that will come once an endpoint asked for now would serve.",
            ),
            _by_model(
                "foretoken_fleet_objective_capacity_requests_per_second",
                "Requests its endpoints can take within the objective it is sized for, those "
                "standing by left out.",
            ),
            _by_model(
                "foretoken_fleet_objective_spare_requests_per_second",
                "Of that capacity what demand leaves, below 0 where there is too much of it.",
            ),
            _by_model(
                "foretoken_fleet_needed_endpoints",
                "Endpoints needed for the forecast and for what waits, a fraction included.",
            ),
            _by_model(
                "foretoken_demand_share_ratio",
                "Share of the demand told that came to this router; 1 where it knows of no other.",
            ),
        )
        self._desired = _by_model(
            "foretoken_fleet_desired_endpoints", "Whole endpoints needed, at least one."
        )
        self._saturation = GaugeMetricFamily(
            "foretoken_fleet_time_to_saturation_seconds",
            "Until demand reaches that capacity should its trend go on, +Inf for never; eight in "
            "ten times it comes between the earliest and the latest.",
            labels=["model_name", "bound"],
        )

    @property
    def all(self) -> tuple[GaugeMetricFamily, ...]:
        """List them."""
        return (*self._plain, self._desired, self._saturation)

    def add(self, model: str, outlook: Outlook) -> None:
        """Take in one fleet's."""
        values = (
            outlook.demand_per_s,
            outlook.forecast_per_s,
            outlook.capacity_per_s,
            outlook.spare_per_s,
            outlook.needed,
            outlook.own_ratio,
        )
        for family, value in zip(self._plain, values, strict=True):
            if not isnan(value):
                family.add_metric([model], value)
        if outlook.desired is not None:
            self._desired.add_metric([model], outlook.desired)
        for bound, seconds in zip(_BOUNDS, outlook.saturation_s, strict=True):
            if not isnan(seconds):
                self._saturation.add_metric([model, bound], seconds)


def _by_model(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["model_name"])
