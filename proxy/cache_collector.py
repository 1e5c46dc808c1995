"""Which endpoints' KV caches are known exactly, read when somebody scrapes us.

Constructed by ``build``; what is counted as it happens: :mod:`proxy.cache_metrics`.
"""

from collections.abc import Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from scheduler import Scheduler


class CacheCollector(Collector):
    """Publish which endpoints' caches are known exactly at this moment.

    Args:
        scheduler: Knows it.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def collect(self) -> Iterator[Metric]:
        """Give the gauges as they are at this moment."""
        exact = GaugeMetricFamily(
            "foretoken_endpoint_cache_exact",
            "Whether its KV events say what it holds; 0: they should, and it is estimated.",
            labels=["endpoint"],
        )
        caches = self._scheduler.caches
        for name in self._scheduler.states:
            known = caches.exact(name)
            if known is not None:
                exact.add_metric([name], float(known))
        yield exact
        blocks = caches.announced_blocks
        yield GaugeMetricFamily(
            "foretoken_announced_blocks",
            "Distinct KV blocks that endpoints have announced and hold.",
            value=blocks,
        )
        yield GaugeMetricFamily(
            "foretoken_announced_blocks_ratio",
            "The same of what is kept at most; at 1 an endpoint that announces more is estimated.",
            value=blocks / caches.most_blocks,
        )
