"""The feature table: the one place that names, orders and computes what models see.

Serving, training, replay and tests compute rows by :func:`complete`: serving from the
scheduler's table of endpoints, everyone else from snapshots by :func:`feature_matrix`.
Traces carry :data:`SCHEMA_HASH`, trained models ``snapshot.MODEL_SCHEMA``, and are refused
where it differs. Everything here is known at dispatch.

NaN means unknown, and each layer has one rule for it, whatever the column: physics and
the residual regression count it as 0 (nothing there, no such speed known); regimes take
the larger of our own count and the scraped one, where known; boosted trees send it down
the branch they learned for missing values; the biases read no columns. Scraped values that
are too old count as unknown (:func:`forget_stale`).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from predictor.hardware import profile_of
from predictor.types import LONGEST_OUTPUT_TOKENS, EndpointLoad, EndpointState, FloatArray

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
"""Columns of :attr:`EndpointRows.clocks`."""

_PASSING: Final = [
    COLUMN[name]
    for name in (
        *("running_requests", "waiting_requests", "kv_cache_usage", "kv_free_tokens"),
        *("preemptions_per_s", "prefix_hit_ratio"),
    )
]
"""Scraped columns that say nothing once they are old; capacities and sizes do not age."""
_SCRAPE_AGE: Final = COLUMN["scrape_age_s"]

_REQUEST: Final = slice(COLUMN["prompt_tokens"], COLUMN["matched_gpu_tokens"])
_MATCHED: Final = slice(COLUMN["matched_gpu_tokens"], COLUMN["cached_gpu_tokens"])
_HITS: Final = slice(COLUMN["cached_gpu_tokens"], COLUMN["cached_tokens"])
_CACHED: Final = COLUMN["cached_tokens"]
_UNCACHED: Final = COLUMN["uncached_tokens"]
_CONTEXT: Final = COLUMN["prefill_context"]
_AGES: Final = slice(COLUMN["scrape_age_s"], COLUMN["oldest_queued_s"] + 1)
_RATES: Final = slice(COLUMN["prefill_tokens_per_s"], COLUMN["inflight_requests"])
_REMAINING: Final = COLUMN["remaining_output_tokens"]
_EACH_TIER: Final = np.ones(len(TIERS))
_YOUNGEST: Final = np.array([UNKNOWN, 0.0, UNKNOWN, UNKNOWN, UNKNOWN])
"""What the age by each clock is at least: that of no queued request is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointRows:
    """Hold ``n`` endpoints as columns, as of whenever each was last written.

    Attributes:
        values: ``(n, N_FEATURES)``; the columns of the request are not set, and those
            that change with time are as of the clocks.
        clocks: ``(n, CLOCKS)``: when it was scraped (NaN for never), when its oldest
            queued request was sent (NaN for none), when its rates were updated, since
            when its decoding requests decode on average, and how many tokens a second
            each of them is expected to generate.
    """

    values: FloatArray
    clocks: FloatArray


def complete(
    rows: EndpointRows,
    *,
    prompt_tokens: float,
    matched_tokens: FloatArray,
    cached_tokens: FloatArray,
    max_tokens: int | None,
    expected_output_tokens: float,
    streamed: bool,
    now: float,
) -> FloatArray:
    """Build the rows one request has at each endpoint, in place of the rows given.

    Args:
        rows: The endpoints; their ``values`` are used up.
        prompt_tokens: Length of the prompt, exact or estimated.
        matched_tokens: ``(n, len(TIERS))`` prompt tokens believed held, by tier.
        cached_tokens: Likewise, what of these is expected to be found.
        max_tokens: The client's bound on output tokens, ``None`` if it set none.
        expected_output_tokens: Mean output length expected of this request.
        streamed: Whether the client asked for a stream.
        now: Time on the clock of the rows.

    Returns:
        ``(n, N_FEATURES)`` in the order of :data:`FEATURES`.
    """
    matrix, clocks = rows.values, rows.clocks
    bound = UNKNOWN if max_tokens is None else min(max_tokens, LONGEST_OUTPUT_TOKENS)
    matrix[:, _REQUEST] = prompt_tokens, bound, expected_output_tokens, streamed
    matrix[:, _MATCHED] = matched_tokens
    matrix[:, _HITS] = cached_tokens
    cached = np.minimum(cached_tokens.dot(_EACH_TIER), prompt_tokens)
    uncached = prompt_tokens - cached
    matrix[:, _CACHED] = cached
    matrix[:, _UNCACHED] = uncached
    matrix[:, _CONTEXT] = uncached * (cached + uncached / 2) / 1e6
    ages = np.fmax(now - clocks, _YOUNGEST)
    matrix[:, _AGES] = ages[:, : OLDEST + 1]
    matrix[:, _RATES] *= np.exp(ages[:, RATED, None] / -RATE_TAU_S)
    left = matrix[:, _REMAINING]
    left -= ages[:, DECODING] * clocks[:, DRAIN]
    np.maximum(left, 0.0, out=left)
    return matrix


def forget_stale(matrix: FloatArray, older_than_s: float) -> None:
    """Make unknown, in place, what rows hold of scrapes that are too old to go by.

    Left are our own counts; ``scrape_age_s`` still says how old. There is at least one row.

    >>> rows = np.zeros((2, N_FEATURES))
    >>> rows[:, COLUMN["scrape_age_s"]] = 0.1, 60.0
    >>> forget_stale(rows, 2.0)
    >>> rows[:, COLUMN["waiting_requests"]]
    array([ 0., nan])
    """
    ages = matrix[:, _SCRAPE_AGE]
    if np.fmax.reduce(ages) > older_than_s:
        stale = np.flatnonzero(ages > older_than_s)
        matrix[stale[:, None], _PASSING] = UNKNOWN


def feature_matrix(
    *,
    prompt_tokens: float,
    cached_tokens: FloatArray,
    matched_tokens: FloatArray | None = None,
    max_tokens: int | None,
    expected_output_tokens: float,
    streamed: bool,
    states: Sequence[EndpointState],
    loads: Sequence[EndpointLoad],
    now: float,
) -> FloatArray:
    """Build the rows one request has at each of ``n`` endpoints, from snapshots of them.

    Args:
        prompt_tokens: Length of the prompt, exact or estimated.
        cached_tokens: Expected prefix-cache hit at each endpoint, in tokens: ``(n,)`` all
            on the GPU, or ``(n, len(TIERS))``.
        matched_tokens: Likewise the hit predicted before experience with such
            predictions; the same by default.
        max_tokens: The client's bound on output tokens, ``None`` if it set none.
        expected_output_tokens: Mean output length expected of this request.
        streamed: Whether the client asked for a stream.
        states: ``n`` snapshots from outside.
        loads: ``n`` snapshots of this router's own accounting, taken at ``now``.
        now: The clock ``scraped_s`` was read from.

    Returns:
        ``(n, N_FEATURES)`` in the order of :data:`FEATURES`.

    >>> row = feature_matrix(
    ...     prompt_tokens=1000, cached_tokens=np.array([600.0]), max_tokens=None,
    ...     expected_output_tokens=100, streamed=True,
    ...     states=[EndpointState(endpoint="a:1", url="http://a:1")],
    ...     loads=[EndpointLoad()], now=0.0)[0]
    >>> float(row[COLUMN["uncached_tokens"]]), float(row[COLUMN["prefill_context"]])
    (400.0, 0.32)
    >>> bool(np.isnan(row[COLUMN["max_tokens"]]))
    True
    """
    cached = _by_tier(cached_tokens)
    return complete(
        _snapshot_rows(states, loads, now),
        prompt_tokens=prompt_tokens,
        matched_tokens=cached if matched_tokens is None else _by_tier(matched_tokens),
        cached_tokens=cached,
        max_tokens=max_tokens,
        expected_output_tokens=expected_output_tokens,
        streamed=streamed,
        now=now,
    )


def outside_columns(state: EndpointState) -> tuple[float, ...]:
    """Give the columns :data:`OUTSIDE` of one endpoint; its age is left to :func:`complete`."""
    usage, capacity = _known(state.kv_cache_usage), _known(state.kv_capacity_tokens)
    profile = profile_of(state.hardware)
    return (
        _known(state.running_requests),
        _known(state.waiting_requests),
        usage,
        (1.0 - usage) * capacity,
        capacity,
        _known(state.block_size),
        _known(state.preemptions_per_s),
        _known(state.prefix_hit_ratio),
        _known(state.max_batched_tokens),
        _known(state.max_seqs),
        UNKNOWN if profile is None else 1.0 / profile.prefill_token_s,
        UNKNOWN if profile is None else profile.step_s,
        UNKNOWN,
    )


def own_columns(
    *,
    prefill_tokens_per_s: float,
    dispatches_per_s: float,
    inflight_requests: float,
    queued_requests: float,
    queued_prefill_tokens: float,
    decoding_requests: float,
    context_tokens: float,
    remaining_output_tokens: float | None,
    recent_ttft_s: float | None,
    recent_tpot_s: float | None,
) -> tuple[float, ...]:
    """Give the columns :data:`OWN` of one endpoint; its oldest request is left to the clocks."""
    return (
        0.0,
        prefill_tokens_per_s,
        dispatches_per_s,
        inflight_requests,
        queued_requests,
        queued_prefill_tokens,
        decoding_requests,
        context_tokens / 1e3,
        _known(remaining_output_tokens),
        _known(recent_ttft_s),
        _known(recent_tpot_s),
    )


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


def _snapshot_rows(
    states: Sequence[EndpointState], loads: Sequence[EndpointLoad], now: float
) -> EndpointRows:
    rows = EndpointRows(
        values=np.empty((len(states), N_FEATURES)), clocks=np.zeros((len(states), CLOCKS))
    )
    rows.clocks[:, (RATED, DECODING)] = now
    for index, (state, load) in enumerate(zip(states, loads, strict=True)):
        rows.values[index, OUTSIDE] = outside_columns(state)
        rows.values[index, OWN] = load_columns(load)
        rows.clocks[index, SCRAPED] = UNKNOWN if state.scraped_s is None else state.scraped_s
        rows.clocks[index, OLDEST] = now - load.oldest_queued_s
    return rows


def load_columns(load: EndpointLoad) -> tuple[float, ...]:
    """Give the columns :data:`OWN` of a snapshot of the accounting."""
    return own_columns(
        prefill_tokens_per_s=load.prefill_tokens_per_s,
        dispatches_per_s=load.dispatches_per_s,
        inflight_requests=load.inflight_requests,
        queued_requests=load.queued_requests,
        queued_prefill_tokens=load.queued_prefill_tokens,
        decoding_requests=load.decoding_requests,
        context_tokens=load.context_tokens,
        remaining_output_tokens=load.remaining_output_tokens,
        recent_ttft_s=load.recent_ttft_s,
        recent_tpot_s=load.recent_tpot_s,
    )


def _by_tier(tokens: FloatArray) -> FloatArray:
    if tokens.ndim > 1:
        return tokens
    by_tier = np.zeros((len(tokens), len(TIERS)))
    by_tier[:, 0] = tokens
    return by_tier


def _known(value: float | None) -> float:
    return value if value is not None and 0.0 <= value <= LARGEST else UNKNOWN
