"""Put the candidates of one request in order, best first.

Called by the decider only.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.kernels.compiled import plain
from predictor.types import FloatArray
from scheduler.candidates import Candidates
from scheduler.kernels import sort_by_cost, sort_near_ties

Order = NDArray[np.intp]
"""Indices of all candidates, best first, ``(n,)``."""

# Costs this close to the best are told apart by cache and load, not by prediction.
NEAR_TIE_RATIO: Final = 0.01

_INDIFFERENT: Final = np.empty(0)


def cheapest_first(candidates: Candidates, costs: FloatArray) -> Order | None:
    """Sort by cost; equal costs by the draw. ``None`` where a cost is not finite."""
    order = np.empty(len(costs), np.intp)
    return order if sort_by_cost(plain(costs), candidates.draw, order) else None


def with_near_ties(candidates: Candidates, costs: FloatArray) -> Order | None:
    """Sort by cost; costs close to the best by preference, cache, load and the draw.

    ``None`` where a cost is not finite.
    """
    order = np.empty(len(costs), np.intp)
    preference = candidates.preference
    finite = sort_near_ties(
        candidates.features,
        plain(costs),
        _INDIFFERENT if preference is None else preference,
        candidates.draw,
        NEAR_TIE_RATIO,
        order,
    )
    return order if finite else None
