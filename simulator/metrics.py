"""The ``/metrics`` page of a simulated endpoint, under vLLM's own names.

Decides nothing: counters and gauges are read from the engine at the scrape, the
histograms are filled token by token. Names, labels and buckets: vLLM 0.32.0.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from simulator.engine import Engine
from simulator.types import Completion, Token

# fmt: off
_TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)
_TOKEN_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0,
)
_REQUEST_BUCKETS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0,
    240.0, 480.0, 960.0, 1920.0, 7680.0,
)
# fmt: on


class Histogram:
    """Count seconds into buckets."""

    __slots__ = ("_bounds", "_counts", "_sum", "help", "name")

    def __init__(self, name: str, help_text: str, bounds: Sequence[float]) -> None:
        self.name = name
        self.help = help_text
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one measurement; a bucket includes its upper bound."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def family(self, labels: dict[str, str]) -> HistogramMetricFamily:
        """Give the state as Prometheus has it, with cumulative buckets."""
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(bounds, map(float, accumulate(self._counts)), strict=True))
        family = HistogramMetricFamily(self.name, self.help, labels=list(labels))
        family.add_metric(list(labels.values()), buckets, self._sum)
        return family


class EndpointMetrics(Collector):
    """Publish one engine's state; registered nowhere but on its own page.

    Args:
        engine: Read at every scrape.
        model: Its label.
        offloads: Whether the engine has a tier in CPU memory: only then are there queries
            to one, as without a KV connector in vLLM.
    """

    def __init__(self, engine: Engine, model: str, *, offloads: bool = False) -> None:
        self._engine = engine
        self._offloads = offloads
        self._labels = {"engine": "0", "model_name": model}
        self.reset()
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def reset(self) -> None:
        """Begin again at zero, as a server that has just started; the engine does so itself."""
        self._finished = {"stop": 0, "length": 0, "abort": 0, "error": 0}
        self._ttft = Histogram(
            "vllm:time_to_first_token_seconds",
            "Histogram of time to first token in seconds.",
            _TTFT_BUCKETS,
        )
        self._itl = Histogram(
            "vllm:inter_token_latency_seconds",
            "Histogram of inter-token latency in seconds.",
            _TOKEN_BUCKETS,
        )
        self._tpot = Histogram(
            "vllm:request_time_per_output_token_seconds",
            "Histogram of time_per_output_token_seconds per request.",
            _TOKEN_BUCKETS,
        )
        self._e2e = Histogram(
            "vllm:e2e_request_latency_seconds",
            "Histogram of e2e request latency in seconds.",
            _REQUEST_BUCKETS,
        )
        self._queue = Histogram(
            "vllm:request_queue_time_seconds",
            "Histogram of time spent in WAITING phase for request.",
            _REQUEST_BUCKETS,
        )

    def token(self, token: Token) -> None:
        """Count a token: TTFT for the first, inter-token latency after, totals at the end."""
        histogram = self._itl if token.index else self._ttft
        histogram.observe(token.gap_s)
        if token.completion is not None:
            self._finish(token.completion)

    def page(self) -> bytes:
        """Render the page in the Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Give every family, read now."""
        yield from self._gauges()
        yield from self._counters()
        for histogram in (self._ttft, self._itl, self._tpot, self._e2e, self._queue):
            yield histogram.family(self._labels)

    def _finish(self, completion: Completion) -> None:
        self._finished[completion.finish_reason] += 1
        self._e2e.observe(completion.e2e_s)
        self._queue.observe(completion.queued_s)
        if completion.tpot_s is not None:
            self._tpot.observe(completion.tpot_s)

    def _gauges(self) -> Iterable[Metric]:
        engine = self._engine
        yield self._gauge(
            "num_requests_running",
            "Number of requests in model execution batches.",
            engine.running_requests,
        )
        yield self._gauge(
            "num_requests_waiting",
            "Number of requests waiting to be processed.",
            engine.waiting_requests,
        )
        yield self._gauge(
            "kv_cache_usage_perc",
            "KV-cache usage. 1 means 100 percent usage.",
            engine.kv_cache_usage,
        )
        config = {
            "block_size": str(engine.block_size),
            "enable_prefix_caching": "True",
            "engine": "0",
            "kv_cache_size_tokens": str(engine.kv_blocks * engine.block_size),
            "num_gpu_blocks": str(engine.kv_blocks),
        }
        info = GaugeMetricFamily(
            "vllm:cache_config_info",
            "Information of the LLMEngine CacheConfig",
            labels=list(config),
        )
        info.add_metric(list(config.values()), 1.0)
        yield info

    def _counters(self) -> Iterable[Metric]:
        counters = self._engine.counters
        external_queries = counters.prefix_queries - counters.prefix_hits
        for name, text, value in (
            ("prefix_cache_queries", "Prefix cache queries, in tokens.", counters.prefix_queries),
            ("prefix_cache_hits", "Prefix cache hits, in tokens.", counters.prefix_hits),
            (
                "external_prefix_cache_queries",
                "External prefix cache queries from KV connector, in tokens.",
                external_queries if self._offloads else 0,
            ),
            (
                "external_prefix_cache_hits",
                "External prefix cache hits from KV connector, in tokens.",
                counters.external_hits,
            ),
            ("num_preemptions", "Cumulative number of preemptions.", counters.preemptions),
            ("prompt_tokens", "Number of prefill tokens processed.", counters.prompt_tokens),
            ("generation_tokens", "Generation tokens processed.", counters.generation_tokens),
        ):
            family = CounterMetricFamily(f"vllm:{name}", text, labels=list(self._labels))
            family.add_metric(list(self._labels.values()), value)
            yield family
        yield self._labelled(
            "request_success",
            "Count of successfully processed requests.",
            "finished_reason",
            self._finished,
        )
        yield self._labelled(
            "prompt_tokens_cached_by_source",
            "Prefix-cache hit tokens by the cache tier that supplied them.",
            "source",
            {"device": counters.prefix_hits, "host": counters.external_hits},
        )

    def _labelled(
        self, name: str, text: str, label: str, values: Mapping[str, int]
    ) -> CounterMetricFamily:
        labels = [*self._labels, label]
        family = CounterMetricFamily(f"vllm:{name}", text, labels=labels)
        for value, count in values.items():
            family.add_metric([*self._labels.values(), value], count)
        return family

    def _gauge(self, name: str, text: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"vllm:{name}", text, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family
