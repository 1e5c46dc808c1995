"""How llm-d turns predicted latencies into a choice: affinity filter, weights, lots.

Decides the weight of every endpoint; who draws the lots decides the rest. Pure
functions of arrays ``(n,)``, in milliseconds.

Source: llm-d-router ebab687 (2026-08), ``latency-scorer``,
``prefix-cache-affinity-filter`` and ``weighted-random-picker``.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.types import FloatArray

TTFT_WEIGHT: Final = 0.8
TPOT_WEIGHT: Final = 0.2
MOST_WEIGHT: Final = 100
"""Weights are 1 to 101: a hundred steps and one more."""
_EPSILON: Final = 1e-9

Mask = NDArray[np.bool_]


def stick(
    among: Mask,
    matched_ratio: FloatArray,
    ttft_ms: FloatArray,
    *,
    affinity_ratio: float,
    max_penalty_ms: float,
) -> Mask:
    """Narrow a choice to endpoints that hold most of the prompt, unless they are too slow.

    Args:
        among: Endpoints that may be chosen.
        matched_ratio: Share of the prompt's blocks believed cached at each.
        ttft_ms: Predicted TTFT at each.
        affinity_ratio: Share from which an endpoint is sticky.
        max_penalty_ms: How much slower the best sticky one may be than the best other.

    >>> every = np.ones(2, dtype=bool)
    >>> held = np.array([0.9, 0.0])
    >>> stick(every, held, np.array([4000.0, 0.0]), affinity_ratio=0.8, max_penalty_ms=5000.0)
    array([ True, False])
    >>> stick(every, held, np.array([6000.0, 0.0]), affinity_ratio=0.8, max_penalty_ms=5000.0)
    array([ True,  True])
    """
    sticky = among & (matched_ratio >= affinity_ratio)
    others = among & ~sticky
    if not sticky.any() or not others.any():
        return among
    penalty_ms = ttft_ms[sticky].min() - ttft_ms[others].min()
    return among if penalty_ms > max_penalty_ms else sticky


def headroom_weights(
    among: Mask, ttft_headroom_ms: FloatArray, tpot_headroom_ms: FloatArray, inflight: FloatArray
) -> FloatArray:
    """Weigh endpoints by headroom, objective less prediction; 0 for those left out.

    Where some meet both objectives, only these count. Else idle ones, where there are
    any; else those of the least bad kind: TPOT missed, TTFT missed, both missed. A
    missing objective is one of 0 ms, so it is always missed. Among those that count,
    the least headroom, or the least deficit, weighs 101 and the most weighs 1.

    >>> every = np.ones(3, dtype=bool)
    >>> headroom_weights(every, -np.array([10.0, 60, 110]), -np.full(3, 20.0), np.ones(3))
    array([101.,  51.,   1.])
    """
    counted = _counted(among, ttft_headroom_ms, tpot_headroom_ms, inflight)
    ttft, ttft_range = _normalised(np.abs(ttft_headroom_ms), counted)
    tpot, tpot_range = _normalised(np.abs(tpot_headroom_ms), counted)
    ttft_weight, tpot_weight = TTFT_WEIGHT, TPOT_WEIGHT
    if ttft_range == 0.0 < tpot_range:  # where one does not differ, the other decides alone
        ttft_weight, tpot_weight = 0.0, 1.0
    elif tpot_range == 0.0 < ttft_range:
        ttft_weight, tpot_weight = 1.0, 0.0
    combined = ttft_weight * ttft + tpot_weight * tpot
    return np.where(counted, np.floor((1.0 - combined) * MOST_WEIGHT) + 1.0, 0.0)


def composite_weights(
    among: Mask, kv_cache_usage: FloatArray, waiting: FloatArray, matched_ratio: FloatArray
) -> FloatArray:
    """Weigh endpoints, 0 to 100, where predictions are missing: free KV, short queue, prefix."""
    longest = waiting.max(initial=0.0)
    short = (longest - waiting) / longest if longest > 0 else np.ones(len(waiting))
    composite = (1.0 - kv_cache_usage + short + matched_ratio) / 3
    return np.where(among, np.round(MOST_WEIGHT * composite), 0.0)


def lots(weights: FloatArray, draw: FloatArray) -> FloatArray:
    """Draw for each so that the lowest is any one with probability proportional to weight.

    Exponential variables over the weights: the order of keys ``u^(1/weight)``, highest
    first, that the published picker sorts by. Weight 0 comes behind all others; where
    nobody has any, all have the same.

    Args:
        weights: At least 0.
        draw: Uniform in [0, 1), one each.
    """
    if not weights.any():
        weights = np.ones(len(weights))
    drawn: FloatArray = -np.log1p(-draw) / np.maximum(weights, 1.0)
    return np.where(weights > 0, drawn, drawn + _BEHIND)


_BEHIND: Final = 1e3  # no lot of a weight of 1 or more exceeds -log(2^-53) = 37


def _counted(
    among: Mask, ttft_headroom_ms: FloatArray, tpot_headroom_ms: FloatArray, inflight: FloatArray
) -> Mask:
    meets_ttft, meets_tpot = ttft_headroom_ms >= 0, tpot_headroom_ms >= 0
    kinds = (meets_ttft & meets_tpot, inflight == 0, meets_ttft, meets_tpot)
    for kind in kinds:
        if (among & kind).any():
            return among & kind
    return among


def _normalised(values: FloatArray, counted: Mask) -> tuple[FloatArray, float]:
    """Scale to 0..1 over those that count; half for all where they do not differ."""
    least, most = float(values[counted].min()), float(values[counted].max())
    if most - least <= _EPSILON:
        return np.full(len(values), 0.5), 0.0
    return (values - least) / (most - least), most - least
