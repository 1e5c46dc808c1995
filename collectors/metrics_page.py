r"""Read the few numbers of an endpoint's ``/metrics`` page that routing needs.

Decides which metric name, of which version of vLLM, means what: the one adapter table is
:data:`SIGNALS`, its versions are :data:`VERSIONS`. What a page carries says what it is of: one
without vLLM's names may be SGLang's (:mod:`collectors.sglang_page`). Missing, NaN and nonsense
are ``None``, never 0; nothing here raises. Several data-parallel ranks on one page are one
endpoint: counts and capacity are summed, usage is averaged.

A page is 60 KB, of which this wants ten lines, for 100 endpoints five times a second:
it searches for the names and does not parse the rest. What that gives up: a metric's
samples must stand together (the text format demands it), exemplars are not understood,
types and help are not read, and a label value may not contain ``}`` followed by a
number. Called by the scraper.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from collectors import sglang_page
from collectors.page_lines import samples, value


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsPage:
    """Hold what one page said, in the units of ``predictor.types.EndpointState``."""

    running_requests: float | None = None
    waiting_requests: float | None = None
    kv_cache_usage: float | None = None
    preemptions_total: float | None = None
    prefix_hits_total: float | None = None
    prefix_queries_total: float | None = None
    generated_tokens_total: float | None = None
    kv_capacity_tokens: int | None = None
    block_size: int | None = None
    active_adapters: tuple[str, ...] = ()
    max_adapters: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """Map the names a quantity has had, newest first, to one number.

    Attributes:
        names: Metric names; the first with a usable sample counts.
        join: Makes one number of the samples of several ranks.
        highest: Samples above are nonsense.
    """

    names: tuple[bytes, ...]
    join: Callable[[list[float]], float] = sum
    highest: float = math.inf


SIGNALS: Final = {
    "running_requests": Signal(names=(b"vllm:num_requests_running",)),
    "waiting_requests": Signal(names=(b"vllm:num_requests_waiting",)),
    "kv_cache_usage": Signal(  # a fraction, whatever the name says
        names=(b"vllm:kv_cache_usage_perc", b"vllm:gpu_cache_usage_perc"), join=fmean, highest=1.0
    ),
    "preemptions_total": Signal(names=(b"vllm:num_preemptions_total",)),
    "prefix_hits_total": Signal(
        names=(b"vllm:prefix_cache_hits_total", b"vllm:gpu_prefix_cache_hits_total")
    ),
    "prefix_queries_total": Signal(
        names=(b"vllm:prefix_cache_queries_total", b"vllm:gpu_prefix_cache_queries_total")
    ),
    "generated_tokens_total": Signal(names=(b"vllm:generation_tokens_total",)),
}
"""Field of :class:`MetricsPage` -> where it stands on a page."""

VERSIONS: Final[Mapping[bytes, tuple[str, str | None]]] = {
    b"vllm:gpu_cache_usage_perc": ("0.8", "0.11"),
    b"vllm:gpu_prefix_cache_hits_total": ("0.8", "0.11"),
    b"vllm:gpu_prefix_cache_queries_total": ("0.8", "0.11"),
    b"vllm:kv_cache_usage_perc": ("0.9.2", None),
    b"vllm:prefix_cache_hits_total": ("0.9.2", None),
    b"vllm:prefix_cache_queries_total": ("0.9.2", None),
}
"""First and last version of vLLM that has a name, where not all have it; ``None``: the newest.
Those renamed in 0.9.2 are hidden from 0.10 on (``--show-hidden-metrics-for-version``), and gone
with 0.12; 0.8 is the oldest looked at. Source: vllm/v1/metrics/loggers.py of 0.11.0, which says
when and until when, and pages of 0.8 and 0.32."""

LORA: Final = b"vllm:lora_requests_info"
_ADAPTERS: Final = re.compile(rb'[{,](running|waiting)_lora_adapters="([^"]*)"')
_MAX_LORA: Final = re.compile(rb'[{,]max_lora="(\d{1,6})"')
CACHE_CONFIG: Final = b"vllm:cache_config_info"
_LABEL: Final = re.compile(rb'[{,](kv_cache_size_tokens|num_gpu_blocks|block_size)="(\d{1,18})"')


def parse_metrics(page: bytes) -> MetricsPage:
    r"""Read a page in the Prometheus text format.

    >>> parse_metrics(b'vllm:num_requests_running{engine="0"} 3.0\n').running_requests
    3.0
    >>> parse_metrics(b"vllm:num_requests_running NaN\n").running_requests is None
    True
    """
    page = b"\n" + page  # so that every line begins after a newline
    numbers = {field: _read(page, signal) for field, signal in SIGNALS.items()}
    if numbers["running_requests"] is None and sglang_page.is_sglang(page):
        numbers = sglang_page.counts(page)
        capacity, block_size = sglang_page.cache(page)
    else:
        capacity, block_size = _cache_config(page)
    active, most = _adapters(page)
    return MetricsPage(
        kv_capacity_tokens=capacity,
        block_size=block_size,
        active_adapters=active,
        max_adapters=most,
        **numbers,
    )


def _read(page: bytes, signal: Signal) -> float | None:
    for name in signal.names:
        values = [value(line) for line in samples(page, name)]
        known = [number for number in values if 0.0 <= number <= signal.highest]
        if known:
            return signal.join(known)
    return None


def _cache_config(page: bytes) -> tuple[int | None, int | None]:
    """Read KV capacity in tokens, summed over ranks, and tokens per block."""
    capacities, block_size = [], None
    for line in samples(page, CACHE_CONFIG):
        labels = {key: int(digits) for key, digits in _LABEL.findall(line)}
        block_size = labels.get(b"block_size") or block_size
        blocks = labels.get(b"num_gpu_blocks", 0) * labels.get(b"block_size", 0)
        capacities.append(labels.get(b"kv_cache_size_tokens") or blocks)
    return sum(capacities) or None, block_size


def _adapters(page: bytes) -> tuple[tuple[str, ...], int | None]:
    """Read the LoRA adapters of running and waiting requests, and how many fit.

    Every set of adapters there ever was keeps its sample; its value is when it was last
    so, and the latest one holds.
    """
    latest = max(samples(page, LORA), key=_when, default=b"")
    most = _MAX_LORA.search(latest)
    if most is None:
        return (), None
    names = {
        name.strip().decode(errors="replace")
        for _, listed in _ADAPTERS.findall(latest)
        for name in listed.split(b",")
    }
    return tuple(sorted(names - {""})), int(most[1])


def _when(line: bytes) -> float:
    seen_s = value(line)
    return -math.inf if math.isnan(seen_s) else seen_s
