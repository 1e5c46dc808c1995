"""The feature table: the one place that names, orders and computes what models see.

Serving, training, replay and tests call :func:`feature_matrix`; a trained model
carries :data:`SCHEMA_HASH` and is refused where it differs. Everything here is
known at dispatch. NaN means unknown; each model says what it does with it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from predictor.types import LONGEST_OUTPUT_TOKENS, EndpointLoad, EndpointState, FloatArray

UNKNOWN: Final = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Name one column: its unit, where it comes from and what it means."""

    name: str
    unit: str
    source: str
    meaning: str


def _f(name: str, unit: str, source: str, meaning: str) -> Feature:
    return Feature(name=name, unit=unit, source=source, meaning=meaning)


FEATURES: Final[tuple[Feature, ...]] = (
    _f("prompt_tokens", "tokens", "request", "length of the prompt"),
    _f("cached_tokens", "tokens", "index", "expected prefix-cache hit: match x effectiveness"),
    _f("uncached_tokens", "tokens", "index", "prompt tokens left to prefill"),
    _f("prefill_context", "Mtok^2", "index", "uncached x (cached + uncached/2) / 1e6"),
    _f("max_tokens", "tokens", "request", "the client's bound on the output"),
    _f("expected_output_tokens", "tokens", "learned", "mean output length expected"),
    _f("streamed", "0/1", "request", "whether the client asked for a stream"),
    _f("running_requests", "requests", "scrape", "the endpoint's own running count"),
    _f("waiting_requests", "requests", "scrape", "the endpoint's own waiting count"),
    _f("kv_cache_usage", "fraction", "scrape", "KV blocks in use"),
    _f("kv_free_tokens", "tokens", "scrape", "KV capacity not in use"),
    _f("scrape_age_s", "s", "scrape", "age of the scraped values"),
    _f("inflight_requests", "requests", "own", "sent by this router, not ended"),
    _f("queued_requests", "requests", "own", "of these without a first token"),
    _f("queued_prefill_tokens", "tokens", "own", "uncached tokens of the queued ones"),
    _f("decoding_requests", "requests", "own", "in flight with a first token"),
    _f("context_ktok", "1e3 tokens", "own", "context held by the decoding ones"),
    _f("oldest_queued_s", "s", "own", "age of the oldest queued request"),
    _f("prefill_tokens_per_s", "tokens/s", "own", "decayed rate of uncached tokens sent there"),
    _f("recent_ttft_s", "s", "own", "decayed mean of TTFT observed there"),
    _f("recent_tpot_s", "s", "own", "decayed mean of TPOT observed there"),
)

NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURES)
COLUMN: Final[dict[str, int]] = {name: index for index, name in enumerate(NAMES)}
N_FEATURES: Final = len(FEATURES)
SCHEMA_HASH: Final = hashlib.sha256(
    "\n".join(f"{feature.name} {feature.unit}" for feature in FEATURES).encode()
).hexdigest()[:16]
"""Identifies names, order and units; a model of another schema is refused."""


def feature_matrix(
    *,
    prompt_tokens: float,
    cached_tokens: FloatArray,
    max_tokens: int | None,
    expected_output_tokens: float,
    streamed: bool,
    states: Sequence[EndpointState],
    loads: Sequence[EndpointLoad],
    now: float,
) -> FloatArray:
    """Build the rows one request has at each candidate endpoint.

    Args:
        prompt_tokens: Length of the prompt, exact or estimated.
        cached_tokens: ``(n,)`` expected prefix-cache hit at each endpoint, in tokens.
        max_tokens: The client's bound on output tokens, ``None`` if it set none.
        expected_output_tokens: Mean output length expected of this request.
        streamed: Whether the client asked for a stream.
        states: ``n`` snapshots from outside.
        loads: ``n`` snapshots of this router's own accounting.
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
    matrix = np.empty((len(states), N_FEATURES))
    cached = np.minimum(cached_tokens, prompt_tokens)
    uncached = prompt_tokens - cached
    matrix[:, 0] = prompt_tokens
    matrix[:, 1] = cached
    matrix[:, 2] = uncached
    matrix[:, 3] = uncached * (cached + uncached / 2) / 1e6
    matrix[:, 4] = UNKNOWN if max_tokens is None else min(max_tokens, LONGEST_OUTPUT_TOKENS)
    matrix[:, 5] = expected_output_tokens
    matrix[:, 6] = streamed
    matrix[:, 7:] = [
        _endpoint_row(state, load, now) for state, load in zip(states, loads, strict=True)
    ]
    return matrix


def _endpoint_row(state: EndpointState, load: EndpointLoad, now: float) -> tuple[float, ...]:
    usage, capacity = state.kv_cache_usage, state.kv_capacity_tokens
    free = UNKNOWN if usage is None or capacity is None else (1.0 - usage) * capacity
    return (
        _known(state.running_requests),
        _known(state.waiting_requests),
        _known(usage),
        free,
        UNKNOWN if state.scraped_s is None else now - state.scraped_s,
        load.inflight_requests,
        load.queued_requests,
        load.queued_prefill_tokens,
        load.decoding_requests,
        load.context_tokens / 1e3,
        load.oldest_queued_s,
        load.prefill_tokens_per_s,
        _known(load.recent_ttft_s),
        _known(load.recent_tpot_s),
    )


def _known(value: float | None) -> float:
    return UNKNOWN if value is None else value
