"""The loops of a decision over its endpoints, compiled: what ranks them, and in which order.

A decision makes a few of these calls where it would make dozens of small NumPy ones, which
at a handful of endpoints cost a microsecond each and next to nothing of it for arithmetic
(docs/decisions/kernels.md). What the terms mean is said where they are asked for. Arrays
that results go to are given. Called by the policies, the ranking and the saturation.
"""

from math import inf, isfinite, isnan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.features import COLUMN
from predictor.kernels.compiled import compiled
from predictor.types import FloatArray

BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.intp]

_CACHED: Final = COLUMN["cached_tokens"]
_UNCACHED: Final = COLUMN["uncached_tokens"]
_QUEUED: Final = COLUMN["queued_prefill_tokens"]
_INFLIGHT: Final = COLUMN["inflight_requests"]
_RUNNING: Final = COLUMN["running_requests"]
_SEATS: Final = COLUMN["max_seqs"]
_CAPACITY: Final = COLUMN["kv_capacity_tokens"]
_FREE: Final = COLUMN["kv_free_tokens"]
_USAGE: Final = COLUMN["kv_cache_usage"]

TTFT, ROOM, DECODE, DELAY, STEPS, DUPLICATE, NEXT, LATE, TOTAL = range(9)
"""Rows that :func:`latency_cost` writes, in seconds; :data:`TOTAL` is the sum of the others."""

# Share of the KV cache that the growth of running answers takes while a prompt is prefilled.
KV_MARGIN_RATIO: Final = 0.02


@compiled
def latency_cost(
    features: FloatArray,
    rank_ttft_s: FloatArray,
    rank_tpot_s: FloatArray,
    prefill_s: FloatArray,
    decode_step_s: FloatArray,
    prefill_token_s: FloatArray,
    leanings: FloatArray,
    expected_tokens: float,
    ttft_weight: float,
    duplicate_weight: float,
    late_exponent: float,
    terms: FloatArray,
) -> None:
    """Write what a request costs at each of ``n`` endpoints, term by term, ``(9, n)``.

    The terms are those of :class:`scheduler.predicted_latency.PredictedLatency`. What is
    predicted is corrected by ``leanings``, ``(2, n)``.
    """
    n = len(features)
    most_cached, first_s = 0.0, inf
    for i in range(n):
        terms[TTFT, i] = rank_ttft_s[i] * leanings[0, i]
        terms[DECODE, i] = expected_tokens * (rank_tpot_s[i] * leanings[1, i])
        terms[ROOM, i] = wait_for_room(features, i, terms[DECODE, i])
        most_cached = max(most_cached, features[i, _CACHED])
        first_s = min(first_s, terms[TTFT, i] + terms[ROOM, i])
    for i in range(n):
        slower, decode_s, others = leanings[0, i], terms[DECODE, i], features[i, _INFLIGHT]
        own_first_s = terms[TTFT, i] + terms[ROOM, i]
        terms[TTFT, i] *= ttft_weight
        terms[ROOM, i] *= ttft_weight
        terms[DELAY, i] = others * (prefill_s[i] * slower)
        terms[STEPS, i] = others * expected_tokens * (decode_step_s[i] * leanings[1, i])
        lacking = most_cached - features[i, _CACHED]
        terms[DUPLICATE, i] = duplicate_weight * (prefill_token_s[i] * slower) * lacking
        # Who queues for a seat puts off all who queue later: of those about as many come in
        # the time of an answer as there are seats, and each waits one turn more.
        terms[NEXT, i] = ttft_weight * decode_s if _seats_left(features, i) < 1 else 0.0
        cost = 0.0
        for term in range(LATE):
            cost += terms[term, i]
        terms[LATE, i] = cost * ((own_first_s / first_s) ** late_exponent - 1.0)
        terms[TOTAL, i] = cost + terms[LATE, i]


@compiled
def tokens_x_batch(features: FloatArray, products: FloatArray) -> None:
    """Write (queued + own uncached tokens + 1) x (requests in flight + 1), ``(n,)``."""
    for i in range(len(features)):
        tokens = features[i, _QUEUED] + features[i, _UNCACHED] + 1.0
        products[i] = tokens * (features[i, _INFLIGHT] + 1.0)


@compiled
def sort_near_ties(
    features: FloatArray,
    costs: FloatArray,
    preference: FloatArray,
    draw: FloatArray,
    near: float,
    order: IndexArray,
) -> bool:
    """Sort by cost, those within ``near`` of the best by preference, cache, load and the draw.

    Args:
        features: ``(n, n_features)``.
        costs: ``(n,)``.
        preference: ``(n,)``, or of no length for none.
        draw: ``(n,)``.
        near: Share of the best cost.
        order: ``(n,)`` indices, best first.

    Returns:
        Whether all costs are finite; else they are in no order.
    """
    n = len(costs)
    best = inf
    for i in range(n):
        if not isfinite(costs[i]):
            return False
        best = min(best, costs[i])
    limit = best + near * abs(best)
    keys = np.zeros((5, n))
    for i in range(n):
        keys[0, i], keys[4, i] = costs[i], draw[i]
        if costs[i] <= limit:
            keys[0, i] = best
            if len(preference):
                keys[1, i] = -preference[i]
            keys[2, i] = -features[i, _CACHED]
            keys[3, i] = features[i, _INFLIGHT]
    _sort(keys, order)
    return True


@compiled
def sort_by_cost(costs: FloatArray, draw: FloatArray, order: IndexArray) -> bool:
    """Sort by cost, equal ones by the draw; false where costs are not finite."""
    keys = np.empty((2, len(costs)))
    for i in range(len(costs)):
        if not isfinite(costs[i]):
            return False
        keys[0, i], keys[1, i] = costs[i], draw[i]
    _sort(keys, order)
    return True


@compiled
def _sort(keys: FloatArray, order: IndexArray) -> None:
    """Order columns by their first key, equal ones by the next: insertion, for there are few."""
    for i in range(len(order)):
        low, high = 0, i
        while low < high:
            middle = (low + high) // 2
            if _precedes(keys, i, order[middle]):
                high = middle
            else:
                low = middle + 1
        for j in range(i, low, -1):
            order[j] = order[j - 1]
        order[low] = i


@compiled
def _precedes(keys: FloatArray, one: int, other: int) -> bool:
    for k in range(len(keys)):
        if keys[k, one] != keys[k, other]:
            return bool(keys[k, one] < keys[k, other])
    return False


@compiled
def rooms(features: FloatArray, answer_s: FloatArray, waits_s: FloatArray) -> None:
    """Write how long a request waits for a seat and KV room at each, ``(n,)``."""
    for i in range(len(features)):
        waits_s[i] = wait_for_room(features, i, answer_s[i])


@compiled
def wait_for_room(features: FloatArray, i: int, answer_s: float) -> float:
    """Give the seconds until an engine has a seat and KV blocks for a request.

    Those who run there leave one by one over the time one answer takes, each with its
    share of the blocks. Unknown seats or room count as enough.
    """
    capacity, free = features[i, _CAPACITY], features[i, _FREE]
    lacking = 0.0
    if not isnan(capacity) and not isnan(free):
        needed = features[i, _QUEUED] + features[i, _UNCACHED] + KV_MARGIN_RATIO * capacity
        lacking = max(needed - free, 0.0) / max(capacity - free, 1.0)
    seats = _seats_left(features, i)
    if seats < 1:
        lacking = max(lacking, (1.0 - seats) / features[i, _SEATS])
    return answer_s * lacking


@compiled
def closed(features: FloatArray, full_kv: float, found: BoolArray) -> int:
    """Mark where a request would only queue, ``(n,)``, and count these."""
    count = 0
    for i in range(len(features)):
        # Seats that other routers' requests take count too.
        found[i] = (
            _seats_left(features, i) <= 0
            or features[i, _RUNNING] >= features[i, _SEATS]
            or features[i, _USAGE] >= full_kv
        )
        count += found[i]
    return count


@compiled
def _seats_left(features: FloatArray, i: int) -> float:
    """Give how many more requests a batch takes, below 0 for a queue; unknown: infinite."""
    seats = features[i, _SEATS]
    return inf if isnan(seats) else seats - features[i, _INFLIGHT]
