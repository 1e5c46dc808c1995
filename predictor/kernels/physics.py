"""Seconds by physics: terms times coefficients, as :mod:`predictor.physics` holds them."""

from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.kernels.compiled import compiled
from predictor.kernels.terms import (
    CONTEXT,
    EXPECTED,
    N_DESIGN,
    PROMPT,
    TPOT_START,
    UNCACHED,
    known,
    lay_out,
)
from predictor.types import FloatArray

OWN, SMOOTH, UNIT = range(3)
"""Of an endpoint's coefficients, ``(3, N_DESIGN)``: its own fit, the fleet's at its speed,
and what they are multiples of."""

_MARGINAL: Final = (1, 3, TPOT_START + 1, TPOT_START + 2)
"""Terms of what a request itself brings: own tokens and context, a sequence, context held."""
_PARTS: Final = ((0, TPOT_START), (TPOT_START, N_DESIGN))
BOUNDS_S: Final = ((1e-4, 3600.0), (1e-5, 60.0))
"""What each target can plausibly be: labels beyond are refused, predictions held within."""
_FURTHEST: Final = 0.7  # log seconds between an endpoint's own fit and the fleet's
_FLOOR: Final = 0.05  # of the day-0 coefficient: a marginal cost is never free


@compiled
def log_seconds(
    design: FloatArray, coefficients: FloatArray, place: int, target: int
) -> tuple[float, float]:
    """Give log seconds of one target by an endpoint's own coefficients and by smooth ones.

    Its own fit is held within sight of the fleet's, where it has no rows of the kind.
    """
    own_s = smooth_s = 0.0
    for term in range(_PARTS[target][0], _PARTS[target][1]):
        own_s += design[term] * coefficients[place, OWN, term]
        smooth_s += design[term] * coefficients[place, SMOOTH, term]
    lowest_s, highest_s = BOUNDS_S[target]
    own = log(min(max(own_s, lowest_s), highest_s))
    smooth = log(min(max(smooth_s, lowest_s), highest_s))
    return min(max(own, smooth - _FURTHEST), smooth + _FURTHEST), smooth


@compiled
def marginal_costs(
    features: FloatArray, row: int, coefficients: FloatArray, place: int, costs: FloatArray
) -> None:
    """Write what a request costs at an endpoint, ``(3,)``: never nothing.

    Seconds of its own prefill, of one more uncached token, and what it adds, decoding, to
    each step.
    """
    units = np.empty(len(_MARGINAL))
    for which in range(len(_MARGINAL)):
        term = _MARGINAL[which]
        floor = _FLOOR * coefficients[place, UNIT, term]
        units[which] = max(coefficients[place, SMOOTH, term], floor)
    token_s, context_s, sequence_s, held_s = units[0], units[1], units[2], units[3]
    prefill_s = token_s * known(features[row, UNCACHED])
    costs[0] = prefill_s + context_s * known(features[row, CONTEXT])
    costs[1] = token_s
    tokens = known(features[row, PROMPT]) + known(features[row, EXPECTED]) / 2
    costs[2] = sequence_s + held_s * (tokens / 1e3)


@compiled
def predict(
    features: FloatArray,
    coefficients: FloatArray,
    places: NDArray[np.intp],
    logs: FloatArray,
    marginal_s: FloatArray,
) -> None:
    """Predict ``n`` rows by physics alone.

    Args:
        features: ``(n, N_FEATURES)``.
        coefficients: ``(n_places, 3, N_DESIGN)``.
        places: ``(n,)`` places of the endpoints in these.
        logs: Gets ``(2, 2, n)`` log seconds by own and by smooth coefficients, by target.
        marginal_s: Gets ``(3, n)``: own prefill, one more token of it, one more sequence.
    """
    design, costs = np.empty(N_DESIGN), np.empty(3)
    for row in range(len(features)):
        place = places[row]
        lay_out(features, row, design)
        for target in range(2):
            own, smooth = log_seconds(design, coefficients, place, target)
            logs[OWN, target, row], logs[SMOOTH, target, row] = own, smooth
        marginal_costs(features, row, coefficients, place, costs)
        for which in range(len(costs)):
            marginal_s[which, row] = costs[which]
