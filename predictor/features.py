"""The feature table: the one place that names and orders what models see.

Rows are computed by :mod:`predictor.feature_rows`, for serving, training, replay and tests
alike. Traces carry :data:`SCHEMA_HASH`, trained models ``snapshot.MODEL_SCHEMA``, and are
refused where it differs. Everything here is known at dispatch.

NaN means unknown, and each layer has one rule for it, whatever the column: physics and
the residual regression count it as 0 (nothing there, no such speed known); regimes take
the larger of our own count and the scraped one, where known; boosted trees send it down
the branch they learned for missing values; the biases read no columns. Scraped values that
are too old count as unknown (``PASSING``).
"""

import hashlib
from dataclasses import dataclass
from typing import Final

UNKNOWN: Final = float("nan")
LARGEST: Final = 1e8
"""Tokens, requests or seconds beyond it are no reading: they count as unknown."""

RATE_TAU_S: Final = 15.0
"""Rates, of what we send and of what endpoints count, decay by 1/e in this time: several
requests of a busy endpoint fit into it, and a burst shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Name one column.

    Attributes:
        name: Its name, in all code and every trace.
        unit: Its unit.
        source: Who knows it: ``request``, ``index`` (what was sent where), ``learned``,
            ``scrape``, ``configured``, or ``own`` (this router's accounting).
        meaning: What it says.
        unknown: When it is NaN, empty for never.
    """

    name: str
    unit: str
    source: str
    meaning: str
    unknown: str = ""


def _f(name: str, unit: str, source: str, meaning: str, unknown: str = "") -> Feature:
    return Feature(name=name, unit=unit, source=source, meaning=meaning, unknown=unknown)


_UNSCRAPED: Final = "not on the last page, or never scraped"
_UNSET: Final = "not configured"
_NO_CLASS: Final = "no hardware label, or none we have a profile of"

FEATURES: Final[tuple[Feature, ...]] = (
    _f("prompt_tokens", "tokens", "request", "length of the prompt, counted or estimated"),
    _f("max_tokens", "tokens", "request", "the client's bound on the output", "none was set"),
    _f("expected_output_tokens", "tokens", "learned", "mean output length of such requests"),
    _f("streamed", "0/1", "request", "whether the client asked for a stream"),
    _f("matched_gpu_tokens", "tokens", "index", "prompt believed in the GPU's KV cache"),
    _f("matched_cpu_tokens", "tokens", "index", "behind it, believed in its CPU memory"),
    _f("matched_shared_tokens", "tokens", "index", "behind both, believed on shared storage"),
    _f("cached_gpu_tokens", "tokens", "learned", "matched_gpu_tokens x effectiveness there"),
    _f("loaded_cpu_tokens", "tokens", "learned", "matched_cpu_tokens x effectiveness there"),
    _f("loaded_shared_tokens", "tokens", "learned", "matched_shared_tokens x effectiveness there"),
    _f("cached_tokens", "tokens", "learned", "expected hit: the three tiers together"),
    _f("uncached_tokens", "tokens", "learned", "prompt tokens left to prefill"),
    _f("prefill_context", "Mtok^2", "learned", "uncached x (cached + uncached / 2) / 1e6"),
    _f("running_requests", "requests", "scrape", "the endpoint's own running count", _UNSCRAPED),
    _f("waiting_requests", "requests", "scrape", "the endpoint's own waiting count", _UNSCRAPED),
    _f("kv_cache_usage", "fraction", "scrape", "KV blocks in use", _UNSCRAPED),
    _f("kv_free_tokens", "tokens", "scrape", "head-room: KV capacity not in use", _UNSCRAPED),
    _f("kv_capacity_tokens", "tokens", "scrape", "KV capacity", _UNSCRAPED),
    _f("block_size", "tokens", "scrape", "tokens per KV block", _UNSCRAPED),
    _f("preemptions_per_s", "1/s", "scrape", "decayed rate of preemptions", "before two scrapes"),
    _f(
        "prefix_hit_ratio", "fraction", "scrape",
        "decayed share of looked-up prompt tokens its prefix cache had", "before two scrapes",
    ),
    _f("max_batched_tokens", "tokens", "configured", "token budget of a step", _UNSET),
    _f("max_seqs", "requests", "configured", "most requests in the batch", _UNSET),
    _f("class_prefill_tokens_per_s", "tokens/s", "configured",
       "day-0 prefill rate of the hardware label", _NO_CLASS),
    _f("class_step_s", "s", "configured", "day-0 step time of the hardware label", _NO_CLASS),
    _f("scrape_age_s", "s", "scrape", "age of the scraped values", "never scraped"),
    _f("oldest_queued_s", "s", "own", "age of the oldest without a first token, 0 for none"),
    _f("prefill_tokens_per_s", "tokens/s", "own", "decayed rate of uncached tokens sent there"),
    _f("dispatches_per_s", "1/s", "own", "decayed rate of requests sent there"),
    _f("inflight_requests", "requests", "own", "sent by this router, not ended"),
    _f("queued_requests", "requests", "own", "of these without a first token"),
    _f("queued_prefill_tokens", "tokens", "own", "uncached tokens of the queued ones"),
    _f("decoding_requests", "requests", "own", "in flight with a first token"),
    _f("context_ktok", "1e3 tokens", "own", "context held by the decoding ones"),
    _f(
        "remaining_output_tokens", "tokens", "own",
        "mean of what the decoding ones will still generate: expected output less the time"
        " since the first token over recent_tpot_s", "none decodes, or no TPOT seen there",
    ),
    _f("recent_ttft_s", "s", "own", "decayed mean of TTFT observed there", "none seen yet"),
    _f("recent_tpot_s", "s", "own", "decayed mean of TPOT observed there", "none seen yet"),
)  # fmt: skip

NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURES)
COLUMN: Final[dict[str, int]] = {name: index for index, name in enumerate(NAMES)}
N_FEATURES: Final = len(FEATURES)
SCHEMA_HASH: Final = hashlib.sha256(
    "\n".join(f"{feature.name} {feature.unit}" for feature in FEATURES).encode()
).hexdigest()[:16]
"""Identifies names, order and units; rows of another schema are refused."""

TIERS: Final = ("gpu", "cpu", "shared")
"""Where a prefix can be held, nearest first: columns of ``(n, len(TIERS))`` arrays."""

OUTSIDE: Final = slice(COLUMN["running_requests"], COLUMN["oldest_queued_s"])
OWN: Final = slice(COLUMN["oldest_queued_s"], N_FEATURES)
"""Columns that an endpoint's state and its load decide, in rows still to be completed."""

CLOCKS: Final = 5
SCRAPED, OLDEST, RATED, DECODING, DRAIN = range(CLOCKS)
"""Columns of :attr:`predictor.feature_rows.EndpointRows.clocks`."""

PASSING: Final = tuple(
    COLUMN[name]
    for name in (
        *("running_requests", "waiting_requests", "kv_cache_usage", "kv_free_tokens"),
        *("preemptions_per_s", "prefix_hit_ratio"),
    )
)
"""Scraped columns that say nothing once they are old; capacities and sizes do not age."""


def features_page() -> str:
    """Write the table as a page of Markdown; ``docs/features.md`` is kept equal to it.

    >>> print(features_page().splitlines()[0])
    # Features
    """
    head = (
        "# Features\n\n"
        "What a model sees of one request at one endpoint, in this order, all of it known at\n"
        f"dispatch. Schema `{SCHEMA_HASH}`. Made from `predictor/features.py`, whose first lines\n"
        "say what each layer does with an unknown (NaN) value.\n\n"
        "| Column | Unit | Source | Meaning | Unknown when |\n|---|---|---|---|---|\n"
    )
    return head + "".join(
        f"| `{f.name}` | {f.unit} | {f.source} | {f.meaning} | {f.unknown or 'never'} |\n"
        for f in FEATURES
    )
