"""Read what routing needs from SGLang's ``/metrics`` page (``--enable-metrics``).

Several schedulers report on one page: data-parallel ranks, which add up, and with
``--enable-metrics-for-all-schedulers`` the tensor- and pipeline-parallel ranks of each, which
all say the same. So the most of each data-parallel rank counts. With priority scheduling a
gauge has a sample per priority beside its total, which is the one without a priority.

Source: SGLang's ``SchedulerMetricsCollector`` and ``TokenizerMetricsCollector`` of 2026-08
(python/sglang/srt/observability/metrics_collector.py; before 0.5.10 srt/metrics/collector.py).
Called by :func:`collectors.metrics_page.parse_metrics`.
"""

import math
import re
from typing import Final

from collectors.page_lines import samples, value

RUNNING: Final = b"sglang:num_running_reqs"
WAITING: Final = b"sglang:num_queue_reqs"
USAGE: Final = b"sglang:token_usage"
"""A fraction: of the fullest pool where a model has several."""
RETRACTED: Final = b"sglang:num_retracted_requests_total"
CACHED: Final = b"sglang:cached_tokens_total"
PROMPTS: Final = b"sglang:prompt_tokens_total"
STEPPED: Final = (b"sglang:realtime_tokens_total", b"sglang:generation_tokens_total")
"""What moves while the engine gets on: the first with every batch, the second, which older
versions have alone, with every request."""
CAPACITY: Final = b"sglang:max_total_num_tokens"
PAGE_SIZE: Final = b"sglang:page_size"
CACHE_CONFIG: Final = b"sglang:cache_config_info"
"""Before 0.5.11 the page size stands in its labels."""

NAMES: Final = (
    *(RUNNING, WAITING, USAGE, RETRACTED, CACHED, PROMPTS, *STEPPED),
    *(CAPACITY, PAGE_SIZE, CACHE_CONFIG),
)
"""Everything that is looked for."""

_DP_RANK: Final = re.compile(rb'[{,]dp_rank="([^"]*)"')
_PRIORITY: Final = re.compile(rb'[{,]priority="[^"]')
_PAGE_SIZE: Final = re.compile(rb'[{,]page_size="(\d{1,9})"')


def is_sglang(page: bytes) -> bool:
    """Say whether a page that begins with a newline is one of SGLang's."""
    return page.find(b"\n" + RUNNING) >= 0


def counts(page: bytes) -> dict[str, float | None]:
    r"""Read counts, usage and counters, by field of ``MetricsPage``.

    >>> found = counts(b'\nsglang:num_running_reqs{tp_rank="0"} 3.0\n')
    >>> found["running_requests"], found["waiting_requests"]
    (3.0, None)
    """
    usages = [one for one in _ranks(page, USAGE) if one <= 1.0]
    stepped = (_total(page, name) for name in STEPPED)
    return {
        "running_requests": _sum(_ranks(page, RUNNING)),
        "waiting_requests": _sum(_ranks(page, WAITING)),
        "kv_cache_usage": sum(usages) / len(usages) if usages else None,
        "preemptions_total": _sum(_ranks(page, RETRACTED)),
        "prefix_hits_total": _total(page, CACHED),
        "prefix_queries_total": _total(page, PROMPTS),
        "generated_tokens_total": next((one for one in stepped if one is not None), None),
    }


def cache(page: bytes) -> tuple[int | None, int | None]:
    """Read KV capacity in tokens, summed over data-parallel ranks, and tokens per page."""
    capacity, sizes = _sum(_ranks(page, CAPACITY)), _ranks(page, PAGE_SIZE)
    if not sizes:
        lines = (_PAGE_SIZE.search(line) for line in samples(page, CACHE_CONFIG))
        sizes = [float(found[1]) for found in lines if found is not None]
    size = int(sizes[0]) if sizes else 0
    return int(capacity) or None if capacity is not None else None, size or None


def _ranks(page: bytes, name: bytes) -> list[float]:
    """Give what each data-parallel rank says: the most any of its processes does."""
    most: dict[bytes, float] = {}
    for line in samples(page, name):
        number = value(line)
        if math.isnan(number) or number < 0.0 or _PRIORITY.search(line):
            continue
        found = _DP_RANK.search(line)
        rank = b"" if found is None else found[1]
        most[rank] = max(most.get(rank, 0.0), number)
    return list(most.values())


def _total(page: bytes, name: bytes) -> float | None:
    """Add up a counter over all its labels."""
    numbers = [value(line) for line in samples(page, name)]
    return _sum([number for number in numbers if number >= 0.0])


def _sum(numbers: list[float]) -> float | None:
    return sum(numbers) if numbers else None
