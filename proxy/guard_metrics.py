"""What the response cache is published in; read when somebody scrapes us.

Constructed by ``build``.
"""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.response_cache import ResponseCache


class ResponseCacheCollector(Collector):
    """Publish what the response cache holds and was good for.

    Args:
        cache: Knows it.
    """

    def __init__(self, cache: ResponseCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        """Give the numbers as they are at this moment."""
        counts = self._cache.counts
        requests = CounterMetricFamily(
            "foretoken_response_cache_requests",
            "Requests that might be answered from the cache, by what became of that.",
            labels=["result"],
        )
        removed = CounterMetricFamily(
            "foretoken_response_cache_removed_answers",
            "Answers that went: to make room, or too old when asked for.",
            labels=["reason"],
        )
        results = {"hit": counts.hits, "miss": counts.misses, "coalesced": counts.coalesced}
        for result, count in results.items():
            requests.add_metric([result], count)
        for reason, count in {"room": counts.evicted, "age": counts.expired}.items():
            removed.add_metric([reason], count)
        yield requests
        yield removed
        yield CounterMetricFamily(
            "foretoken_response_cache_served_bytes",
            "Bytes of bodies given from the cache.",
            value=counts.served_bytes,
        )
        yield GaugeMetricFamily(
            "foretoken_response_cache_stored_bytes",
            "Bytes that kept answers take.",
            value=self._cache.stored_bytes,
        )
        yield GaugeMetricFamily(
            "foretoken_response_cache_stored_answers", "Answers kept.", value=len(self._cache)
        )
