"""What is published of the sources of discovery.

Read when somebody scrapes us; what sources tell are a few words a minute. Constructed by
``build``.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.discovery import DiscoveryFailure

_REASONS: Final[tuple[DiscoveryFailure, ...]] = get_args(DiscoveryFailure)


class DiscoveryMetrics(Collector):
    """Count what sources do; what they are told to report to.

    Args:
        registry: Shows it.
        clock: In seconds.
        sources: Their names; one that was never heard is as old as this.
    """

    def __init__(
        self, registry: CollectorRegistry, clock: Callable[[], float], sources: Iterable[str]
    ) -> None:
        self._clock = clock
        self._heard_s = dict.fromkeys(sources, clock())
        self._endpoints = dict.fromkeys(self._heard_s, 0)
        self._updates = Counter[str]()
        self._failures = Counter[tuple[str, DiscoveryFailure]]()
        registry.register(self)

    def heard(self, source: str) -> None:
        """Take in that a source's authority has spoken."""
        self._heard_s[source] = self._clock()

    def found(self, source: str, endpoints: int) -> None:
        """Take in that a source has told another set, of so many endpoints."""
        self._endpoints[source] = endpoints
        self._updates[source] += 1

    def failed(self, source: str, reason: DiscoveryFailure) -> None:
        """Take in that a source's authority could not be heard or understood."""
        self._failures[source, reason] += 1

    def collect(self) -> Iterator[Metric]:
        """Give the families as they are at this moment."""
        endpoints = GaugeMetricFamily(
            "foretoken_discovery_endpoints",
            "Endpoints a source of discovery has told, as of its last word.",
            labels=["source"],
        )
        age = GaugeMetricFamily(
            "foretoken_discovery_age_seconds",
            "How long ago a source of discovery last heard its authority.",
            labels=["source"],
        )
        updates = CounterMetricFamily(
            "foretoken_discovery_updates",
            "Times a source of discovery told another set of endpoints.",
            labels=["source"],
        )
        failures = CounterMetricFamily(
            "foretoken_discovery_failures",
            "Times a source's authority could not be heard or understood.",
            labels=["source", "reason"],
        )
        now = self._clock()
        for source, count in self._endpoints.items():
            endpoints.add_metric([source], count)
            updates.add_metric([source], self._updates[source])
        for source, heard_s in self._heard_s.items():
            age.add_metric([source], now - heard_s)
            for reason in _REASONS:
                failures.add_metric([source, reason], self._failures[source, reason])
        yield from (endpoints, age, updates, failures)
