"""Feature rows: what one request would find at each endpoint, in the order of the table.

Serving completes rows of the scheduler's table of endpoints by :func:`request_rows`,
everyone else snapshots of them by :func:`feature_matrix`; one kernel computes both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictor.features import (
    CLOCKS,
    DECODING,
    LARGEST,
    N_FEATURES,
    OLDEST,
    OUTSIDE,
    OWN,
    RATED,
    SCRAPED,
    TIERS,
    UNKNOWN,
)
from predictor.hardware import profile_of
from predictor.kernels import rows as kernels
from predictor.kernels.compiled import plain
from predictor.types import LONGEST_OUTPUT_TOKENS, EndpointLoad, EndpointState, FloatArray


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


def request_rows(
    table: EndpointRows,
    rows: NDArray[np.intp],
    *,
    prompt_tokens: float,
    matched_tokens: FloatArray,
    effectiveness: FloatArray,
    max_tokens: int | None,
    expected_output_tokens: float,
    streamed: bool,
    now: float,
    stale_after_s: float = float("inf"),
) -> FloatArray:
    """Build the rows one request has at ``n`` of the endpoints in a table.

    Args:
        table: All endpoints.
        rows: ``(n,)`` which of them.
        prompt_tokens: Length of the prompt, exact or estimated.
        matched_tokens: ``(n, len(TIERS))`` prompt tokens believed held, by tier.
        effectiveness: ``(n,)`` share of these that is expected to be found.
        max_tokens: The client's bound on output tokens, ``None`` if it set none.
        expected_output_tokens: Mean output length expected of this request.
        streamed: Whether the client asked for a stream.
        now: Time on the clock of the table.
        stale_after_s: Scrapes older than this say nothing.

    Returns:
        ``(n, N_FEATURES)`` in the order of :data:`FEATURES`.
    """
    matrix = np.empty((len(rows), N_FEATURES))
    request = _request(prompt_tokens, max_tokens, expected_output_tokens, streamed=streamed)
    kernels.complete(
        table.values, table.clocks, rows, request, matched_tokens, matched_tokens,
        effectiveness, float(now), float(stale_after_s), matrix,
    )  # fmt: skip
    return matrix


def _request(
    prompt_tokens: float, max_tokens: int | None, expected: float, *, streamed: bool
) -> tuple[float, float, float, float]:
    """Give the columns that the request alone decides."""
    bound = UNKNOWN if max_tokens is None else float(min(max_tokens, LONGEST_OUTPUT_TOKENS))
    return float(prompt_tokens), bound, float(expected), float(streamed)


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

    >>> from predictor.features import COLUMN
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
    cached, n = _by_tier(cached_tokens), len(states)
    matched = cached if matched_tokens is None else _by_tier(matched_tokens)
    table, matrix = _snapshot_rows(states, loads, now), np.empty((n, N_FEATURES))
    request = _request(prompt_tokens, max_tokens, expected_output_tokens, streamed=streamed)
    kernels.complete(
        table.values, table.clocks, np.arange(n), request, plain(matched), plain(cached),
        np.ones(n), float(now), float("inf"), matrix,
    )  # fmt: skip
    return matrix


def outside_columns(state: EndpointState) -> tuple[float, ...]:
    """Give the columns :data:`OUTSIDE` of one endpoint; its age is left to the clocks."""
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
