"""Which labels may teach: finite, positive, plausible ones; the rest have a name."""

from typing import Final

import numpy as np

from predictor.features import COLUMN, N_FEATURES
from predictor.physics import BOUNDS_S, TARGETS, TPOT, TTFT
from predictor.types import FloatArray, Observation

_MAX_FEATURE: Final = 1e8  # tokens, requests or seconds: beyond it something is broken
_PROMPT: Final = COLUMN["prompt_tokens"]
_SHORT_OUTPUT_TOKENS: Final = 8.0


def usable_labels(observation: Observation) -> tuple[dict[int, float], list[str]]:
    """Give the labels to learn from by target index, and why others are refused.

    Reasons: ``bad_features`` (refuses all), then per target ``not_finite``,
    ``not_positive``, ``absurd``, each behind the target's name.

    >>> usable_labels(Observation(endpoint="a:1", model="m", hardware=None, observed_s=0,
    ...     features=np.zeros(N_FEATURES), upstream_ttft_s=0.2, tpot_s=-1.0))
    ({0: 0.2}, ['tpot_not_positive'])
    """
    features = observation.features
    measured = {TTFT: observation.upstream_ttft_s, TPOT: observation.tpot_s}
    if not _usable(features) or not np.isfinite(observation.observed_s):
        return {}, ["bad_features"]
    labels: dict[int, float] = {}
    refused: list[str] = []
    for target, value in measured.items():
        if value is None:
            continue
        lowest, highest = BOUNDS_S[target]
        if not np.isfinite(value):
            refused.append(f"{TARGETS[target]}_not_finite")
        elif value <= 0:
            refused.append(f"{TARGETS[target]}_not_positive")
        elif not lowest <= value <= highest:
            refused.append(f"{TARGETS[target]}_absurd")
        else:
            labels[target] = float(value)
    return labels, refused


def label_weight(observation: Observation) -> float:
    """Weigh a TPOT label by the tokens it is a mean of: few make it noisy.

    >>> label_weight(Observation(endpoint="a:1", model="m", hardware=None, observed_s=0,
    ...     features=np.zeros(N_FEATURES), output_tokens=8))
    0.5
    """
    tokens = observation.output_tokens
    return 1.0 if tokens is None else max(tokens, 1) / (max(tokens, 1) + _SHORT_OUTPUT_TOKENS)


def _usable(features: FloatArray) -> bool:
    if features.shape != (N_FEATURES,) or not np.isfinite(features[_PROMPT]):
        return False
    return not bool((np.abs(features) > _MAX_FEATURE).any())
