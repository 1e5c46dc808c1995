"""How well endpoints' KV caches are known, counted as it turns out.

Constructed by ``build``; feeds, tokenization and finished requests report as they go.
"""

from typing import Final, get_args

from prometheus_client import CollectorRegistry

from collectors.kv_events import Loss
from collectors.tokens import Origin
from predictor.types import RequestRecord
from proxy.tallies import Counters, Histograms

# Of the prompt: below 0 more was cached than believed, above 0 less.
MATCH_ERROR_BUCKETS: Final[tuple[float, ...]] = (
    *(-0.9, -0.5, -0.2, -0.1, -0.05, -0.02, 0.0),
    *(0.02, 0.05, 0.1, 0.2, 0.5, 0.9, 1.0),
)

_LOSSES: Final[tuple[Loss, ...]] = get_args(Loss)


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
