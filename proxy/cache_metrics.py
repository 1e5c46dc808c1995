"""What is published of how well endpoints' KV caches are known.

Constructed by ``build``: the present state is read when somebody scrapes us; feeds,
tokenization and finished requests report as they go.
"""

from collections.abc import Iterator
from typing import Final, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from collectors.kv_events import Loss
from collectors.tokens import Origin
from predictor.types import RequestRecord
from proxy.tallies import Counters, Histograms
from scheduler import Scheduler

# Of the prompt: below 0 more was cached than believed, above 0 less.
MATCH_ERROR_BUCKETS: Final[tuple[float, ...]] = (
    *(-0.9, -0.5, -0.2, -0.1, -0.05, -0.02, 0.0),
    *(0.02, 0.05, 0.1, 0.2, 0.5, 0.9, 1.0),
)

_LOSSES: Final[tuple[Loss, ...]] = get_args(Loss)


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


class CacheMetrics:
    """Count KV events, tokenized prompts, and how matches came out.

    :meth:`observe` is a sink of finished records.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._batches = Counters(
            "foretoken_kv_event_batches",
            "Batches of KV events taken in; replayed: asked for again.",
            ["endpoint", "replayed"],
            registry=registry,
        )
        self._losses = Counters(
            "foretoken_kv_event_losses",
            "Times that KV events of an endpoint were missed for good, and why.",
            ["endpoint", "reason"],
            registry=registry,
        )
        self._tokenized = Counters(
            "foretoken_tokenized_prompts",
            "Prompts to be tokenized before they are placed, by who did.",
            ["origin"],
            registry=registry,
        )
        self._matches = Counters(
            "foretoken_prefix_matches",
            "Finished requests whose endpoint reported cached_tokens, by how the match that "
            "was predicted compares: exact, more or fewer tokens than there were.",
            ["index", "result"],
            registry=registry,
        )
        self._errors = Histograms(
            "foretoken_prefix_match_error_ratio",
            "(tokens predicted - tokens reported as cached) / prompt tokens, of the same requests.",
            ["model_name", "index"],
            buckets=MATCH_ERROR_BUCKETS,
            registry=registry,
        )

    def heard(self, endpoint: str, *, replayed: bool) -> None:
        """Count a batch of KV events."""
        batches = self._batches.labels(endpoint, "yes" if replayed else "no")
        if not batches.total:
            for reason in _LOSSES:
                self._losses.labels(endpoint, reason)
        batches.inc()

    def lost(self, endpoint: str, reason: Loss) -> None:
        """Count a loss of KV events."""
        self._losses.labels(endpoint, reason).inc()

    def tokenized(self, origin: Origin) -> None:
        """Count a prompt that was to be tokenized."""
        self._tokenized.labels(origin).inc()

    def observe(self, record: RequestRecord) -> None:
        """Take in a finished request."""
        decision, cached = record.decision, record.measurement.cached_tokens
        if decision is None or cached is None or record.endpoint is None:
            return
        matched = decision.matched_tokens.item(decision.chosen)
        index = "exact" if decision.announced else "approximate"
        error = (matched - cached) / max(decision.prompt_tokens, cached, 1)
        self._errors.labels(record.fleet or "none", index).observe(error)
        predicted = round(matched)
        result = "exact" if predicted == cached else "more" if predicted > cached else "fewer"
        self._matches.labels(index, result).inc()

    def forget(self, endpoint: str) -> None:
        """Drop the series of an endpoint that has left."""
        self._batches.forget("endpoint", endpoint)
        self._losses.forget("endpoint", endpoint)
