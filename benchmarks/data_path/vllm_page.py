"""A ``/metrics`` page as long as vLLM 0.32's, about 60 KB, with counts that move.

Names, kinds, labels and buckets: vLLM 0.32.0 under its defaults, and
the HTTP metrics of its API server. Numbers mean nothing but those given to :func:`page`.
"""

from collections.abc import Iterator, Sequence
from typing import Final

MODEL: Final = "Qwen/Qwen3-30B-A3B-Instruct-2507"
LABELS: Final = f'engine="0",model_name="{MODEL}"'

# fmt: off
_COUNTERS: Final = (
    "estimated_flops_per_gpu", "estimated_read_bytes_per_gpu", "estimated_write_bytes_per_gpu",
    "external_prefix_cache_queries", "external_prefix_cache_hits",
    "mm_cache_queries", "mm_cache_hits", "prompt_tokens", "prompt_tokens_cached",
    "generation_tokens",
)
_BY_REASON: Final = {
    "prompt_tokens_by_source": ("source", ("local_compute", "local_cache_hit", "external")),
    "prompt_tokens_cached_by_source": ("source", ("device", "host", "disk")),
    "request_success": ("finished_reason", ("stop", "length", "abort", "error", "repetition")),
}
_LENGTHS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000)
_SECONDS: Final = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0,
    240.0, 480.0, 960.0, 1920.0, 7680.0,
)
_TOKEN_SECONDS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0,
)
_HISTOGRAMS: Final[dict[str, Sequence[float]]] = {
    "request_prompt_tokens": _LENGTHS,
    "request_generation_tokens": _LENGTHS,
    "iteration_tokens_total": tuple(2.0**power for power in range(15)),
    "request_max_num_generation_tokens": _LENGTHS,
    "request_params_n": (1, 2, 5, 10, 20),
    "request_params_max_tokens": _LENGTHS,
    "time_to_first_token_seconds": (
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5,
        10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
    ),
    "inter_token_latency_seconds": _TOKEN_SECONDS,
    "request_time_per_output_token_seconds": _TOKEN_SECONDS,
    "e2e_request_latency_seconds": _SECONDS,
    "request_queue_time_seconds": _SECONDS,
    "request_inference_time_seconds": _SECONDS,
    "request_prefill_time_seconds": _SECONDS,
    "request_decode_time_seconds": _SECONDS,
    "request_num_preemptions": (1, 2, 3, 4, 5, 10, 20),
    "request_prefill_kv_computed_tokens": _LENGTHS,
}
_HTTP_SECONDS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0,
    7.5, 10.0, 30.0, 60.0,
)
_HANDLERS: Final = ("/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "none")
_CACHE_CONFIG: Final = (
    'block_size="16",cache_dtype="auto",calculate_kv_scales="False",cpu_kvcache_space_bytes='
    '"None",effective_attention_block_size="16",enable_prefix_caching="True",engine="0",'
    'gpu_memory_utilization="0.9",is_attention_free="False",kv_cache_size_tokens="524288",'
    'mamba_block_size="None",num_gpu_blocks="32768",num_gpu_blocks_override="None",'
    'prefix_caching_hash_algo="sha256",sliding_window="None",user_specified_block_size="False"'
)
# fmt: on


class PageTemplate:
    """Render pages that differ in their counts alone.

    >>> text = PageTemplate().page(running=3, waiting=1).decode()
    >>> "vllm:num_requests_running{" + LABELS + "} 3.0" in text, len(text) // 10_000
    (True, 6)
    """

    def __init__(self) -> None:
        gauges = "".join(_gauges())
        rest = "".join(_rest())
        before, between, after = gauges.replace("%", "%%").split("@")
        self._head = f"{before}%d.0{between}%d.0{after}".encode()
        self._rest = rest.encode()

    def page(self, *, running: int, waiting: int) -> bytes:
        """Give a page with so many requests running and waiting."""
        return self._head % (running, waiting) + self._rest


def _gauges() -> Iterator[str]:
    yield _family("python_gc_objects_collected_total", "counter", ('{generation="0"} 1.0',))
    yield _family("vllm:num_requests_running", "gauge", (f"{{{LABELS}}} @",))
    yield _family("vllm:num_requests_waiting", "gauge", (f"{{{LABELS}}} @",))
    reasons = (f'{{{LABELS},reason="{reason}"}} 0.0' for reason in ("capacity", "deferred"))
    yield _family("vllm:num_requests_waiting_by_reason", "gauge", reasons)
    yield _family("vllm:kv_cache_usage_perc", "gauge", (f"{{{LABELS}}} 0.25",))
    for name, value in (("queries", 4096), ("hits", 1024)):
        yield _counter(f"vllm:prefix_cache_{name}", LABELS, value)
    yield _counter("vllm:num_preemptions", LABELS, 0)


def _rest() -> Iterator[str]:
    for name in _COUNTERS:
        yield _counter(f"vllm:{name}", LABELS, 123456)
    for name, (label, values) in _BY_REASON.items():
        for value in values:
            yield _counter(f"vllm:{name}", f'{LABELS},{label}="{value}"', 789)
    for name, bounds in _HISTOGRAMS.items():
        yield _histogram(f"vllm:{name}", LABELS, bounds)
    yield _family("vllm:cache_config_info", "gauge", (f"{{{_CACHE_CONFIG}}} 1.0",))
    yield _histogram("http_request_duration_highr_seconds", "", _HTTP_SECONDS)
    for handler in _HANDLERS:
        labels = f'handler="{handler}",method="POST"'
        yield _counter("http_requests", f'{labels},status="2xx"', 4711)
        yield _histogram("http_request_duration_seconds", labels, (0.1, 0.5, 1.0))


def _counter(name: str, labels: str, value: float) -> str:
    total = _family(f"{name}_total", "counter", (f"{{{labels}}} {float(value)}",))
    return total + _family(f"{name}_created", "gauge", (f"{{{labels}}} 1.7952206961531e+09",))


def _histogram(name: str, labels: str, bounds: Sequence[float]) -> str:
    comma = "," if labels else ""
    braced = f"{{{labels}}}" if labels else ""
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    samples = [
        *(f'_bucket{{{labels}{comma}le="{bound}"}} 4711.0' for bound in names),
        f"_count{braced} 4711.0",
        f"_sum{braced} 1234.567890123",
    ]
    text = _family(name, "histogram", samples)
    return text + _family(f"{name}_created", "gauge", (f"{braced} 1.7952206961531e+09",))


def _family(name: str, kind: str, samples: Iterator[str] | Sequence[str]) -> str:
    head = f"# HELP {name} {name.replace('_', ' ')}, as it stands.\n# TYPE {name} {kind}\n"
    return head + "".join(f"{name}{sample}\n" for sample in samples)
