"""What is published of endpoints that stand by: who went there, why, and whether it is open.

Read when somebody scrapes us. Constructed by ``foretoken.published``.
"""

from collections.abc import Callable, Iterator
from typing import Final, get_args

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from predictor.types import SpillReason
from scheduler import Fleet, Scheduler

_REASONS: Final[tuple[SpillReason, ...]] = get_args(SpillReason)


class StandbyCollector(Collector):
    """Publish what went to each standby class of every fleet.

    Args:
        scheduler: Knows it.
        clock: The clock that the scheduler is driven by.
    """

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """Give the families as they are at this moment; a fleet of one class has no series."""
        labels = ["model_name", "priority_class"]
        requests = CounterMetricFamily(
            "foretoken_standby_requests",
            "Requests sent to a standby class, by why the class below did not serve them.",
            labels=[*labels, "reason"],
        )
        openings = CounterMetricFamily(
            "foretoken_standby_openings",
            "Times a standby class was opened: requests needed it after a while without.",
            labels=labels,
        )
        is_open = GaugeMetricFamily(
            "foretoken_fleet_standby_open",
            "1 while a standby class is open: requests needed it within dwell_s.",
            labels=labels,
        )
        for model, fleet in self._scheduler.fleets.items():
            self._add(requests, openings, is_open, model, fleet)
        yield from (requests, openings, is_open, self._classes())

    def _add(
        self,
        requests: CounterMetricFamily,
        openings: CounterMetricFamily,
        is_open: GaugeMetricFamily,
        model: str,
        fleet: Fleet,
    ) -> None:
        standby, now = fleet.standby, self._clock()
        there = {
            state.priority_class
            for state in self._scheduler.states.values()
            if state.model == model and state.priority_class
        }
        for one in sorted(there | {known for known, _ in standby.requests_total}):
            name = str(one)
            openings.add_metric([model, name], standby.openings_total[one])
            is_open.add_metric([model, name], float(standby.is_open(one, now)))
            for reason in _REASONS:
                requests.add_metric([model, name, reason], standby.requests_total[one, reason])

    def _classes(self) -> Metric:
        classes = GaugeMetricFamily(
            "foretoken_endpoint_priority_class",
            "Its priority class: 0 is asked first, those above stand by.",
            labels=["endpoint"],
        )
        for name, state in self._scheduler.states.items():
            classes.add_metric([name], state.priority_class)
        return classes
