"""Put the candidates of one request in order, best first.

Called by the decider only.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.types import FloatArray
from scheduler.candidates import Candidates

Order = NDArray[np.intp]
"""Indices of all candidates, best first, ``(n,)``."""

# Costs this close to the best are told apart by cache and load, not by prediction.
NEAR_TIE_RATIO: Final = 0.01


def cheapest_first(candidates: Candidates, costs: FloatArray) -> Order:
    """Sort by cost; equal costs by the draw."""
    return np.lexsort((candidates.draw, costs))


def with_near_ties(candidates: Candidates, costs: FloatArray) -> Order:
    """Sort by cost; costs close to the best by preference, cache, load and the draw."""
    best = np.minimum.reduce(costs)
    close = costs <= best + NEAR_TIE_RATIO * abs(best)
    level = np.where(close, best, costs)
    if np.count_nonzero(close) == 1:
        return np.lexsort((candidates.draw, level))
    cache = np.where(close, -candidates.feature("cached_tokens"), 0.0)
    load = np.where(close, candidates.inflight, 0.0)
    if candidates.preference is None:
        return np.lexsort((candidates.draw, load, cache, level))
    rather = np.where(close, -candidates.preference, 0.0)
    return np.lexsort((candidates.draw, load, cache, rather, level))
