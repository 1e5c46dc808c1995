"""Whether a row of features can have been seen at all."""

from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.features import COLUMN
from predictor.kernels.compiled import compiled
from predictor.types import FloatArray

_MAX_FEATURE: Final = 1e8  # tokens, requests or seconds: beyond it something is broken
_MIN_FEATURE: Final = -1.0  # no feature is negative, but two clocks may disagree a little
_PROMPT: Final = COLUMN["prompt_tokens"]


@compiled
def usable(features: FloatArray) -> bool:
    """Tell whether all of a row, ``(N_FEATURES,)``, is plausible or unknown, the prompt known."""
    for column in range(len(features)):
        value = features[column]
        if value > _MAX_FEATURE or value < _MIN_FEATURE:
            return False
    return isfinite(features[_PROMPT])


@compiled
def all_usable(features: FloatArray, found: NDArray[np.bool_]) -> None:
    """Tell it of many rows, ``(m, N_FEATURES)``, into ``(m,)``."""
    for row in range(len(features)):
        found[row] = usable(features[row])
