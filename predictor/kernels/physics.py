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

_OWN_TOKEN, _OWN_CONTEXT = 1, 3
_SEQUENCE, _HELD_CONTEXT = TPOT_START + 1, TPOT_START + 2
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
def marginal(coefficients: FloatArray, place: int, term: int) -> float:
    """Give what one more unit of a term takes at an endpoint: never nothing."""
    return float(max(coefficients[place, SMOOTH, term], _FLOOR * coefficients[place, UNIT, term]))


@compiled
def prefill_token_s(coefficients: FloatArray, place: int) -> float:
    """Give the marginal seconds of an uncached token."""
    return marginal(coefficients, place, _OWN_TOKEN)


@compiled
def prefill_s(features: FloatArray, row: int, coefficients: FloatArray, place: int) -> float:
    """Give the seconds a request's own prefill takes."""
    tokens_s = marginal(coefficients, place, _OWN_TOKEN) * known(features[row, UNCACHED])
    return tokens_s + marginal(coefficients, place, _OWN_CONTEXT) * known(features[row, CONTEXT])


@compiled
def decode_step_s(features: FloatArray, row: int, coefficients: FloatArray, place: int) -> float:
    """Give the seconds that this request, decoding, adds to each step."""
    tokens = known(features[row, PROMPT]) + known(features[row, EXPECTED]) / 2
    held_s = marginal(coefficients, place, _HELD_CONTEXT) * (tokens / 1e3)
    return marginal(coefficients, place, _SEQUENCE) + held_s


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
    design = np.empty(N_DESIGN)
    for row in range(len(features)):
        place = places[row]
        lay_out(features, row, design)
        for target in range(2):
            own, smooth = log_seconds(design, coefficients, place, target)
            logs[OWN, target, row], logs[SMOOTH, target, row] = own, smooth
        marginal_s[0, row] = prefill_s(features, row, coefficients, place)
        marginal_s[1, row] = prefill_token_s(coefficients, place)
        marginal_s[2, row] = decode_step_s(features, row, coefficients, place)
