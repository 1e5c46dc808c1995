"""Which labels may teach, how much, and when they can have been observed.

Finite, positive, plausible labels teach; the rest are refused by name. The total time of
a request that was not streamed becomes two labels. Called by the predictor for every
observation and by training for every row, so that both refuse alike.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from predictor.features import COLUMN, N_FEATURES
from predictor.physics import BOUNDS_S, TARGETS, TPOT, TTFT
from predictor.types import LONGEST_OUTPUT_TOKENS, FloatArray, Observation

_MAX_FEATURE: Final = 1e8  # tokens, requests or seconds: beyond it something is broken
_MIN_FEATURE: Final = -1.0  # no feature is negative, but two clocks may disagree a little
_PROMPT: Final = COLUMN["prompt_tokens"]
_SHORT_OUTPUT_TOKENS: Final = 8.0
_LEAST_SHARE: Final = 0.05
_LEAP_S: Final = 600.0  # a label this long after the last one is a pause in traffic
_LATE_S: Final = 900.0  # longer than a leap, so that one absurd time refuses nobody else
_AGREEING: Final = 8


def usable_labels(observation: Observation) -> tuple[dict[int, float], list[str]]:
    """Give the labels to learn from by target index, and why others are refused.

    Reasons: ``bad_features`` (refuses all), then per target ``not_finite``,
    ``not_positive``, ``absurd``, ``tokens_absurd``, each behind the target's name.

    >>> usable_labels(Observation(endpoint="a:1", model="m", hardware=None, observed_s=0,
    ...     features=np.zeros(N_FEATURES), upstream_ttft_s=0.2, tpot_s=-1.0))
    ({0: 0.2}, ['tpot_not_positive'])
    """
    if not _usable(observation.features) or not np.isfinite(observation.observed_s):
        return {}, ["bad_features"]
    labels: dict[int, float] = {}
    refused: list[str] = []
    if _splits(observation) and not _has_plausible_tokens(observation):
        refused.append(f"{TARGETS[TTFT]}_tokens_absurd")
    seen = split_total(observation)
    for target, value in ((TTFT, seen.upstream_ttft_s), (TPOT, seen.tpot_s)):
        if value is None:
            continue
        problem = _problem(target, value)
        if problem is None and target == TPOT and not _has_plausible_tokens(observation):
            problem = "tokens_absurd"
        if problem is None:
            labels[target] = float(value)
        else:
            refused.append(f"{TARGETS[target]}_{problem}")
    return labels, refused


def split_total(observation: Observation) -> Observation:
    """Make two labels of a total time by scaling both predictions of dispatch alike.

    All that is known of such a request is ``ttft + tpot x (output tokens - 1)``. Where
    there is no total, or nothing to split it by, the observation stays as it is.

    >>> seen = split_total(Observation(endpoint="a:1", model="m", hardware=None, observed_s=0,
    ...     features=np.zeros(N_FEATURES), total_s=3.0, output_tokens=11,
    ...     predicted_ttft_s=0.5, predicted_tpot_s=0.1))
    >>> seen.upstream_ttft_s, seen.tpot_s
    (1.0, 0.2)
    """
    total_s, tokens = observation.total_s, observation.output_tokens
    if not _splits(observation) or total_s is None or tokens is None:
        return observation
    ttft_s, tpot_s = observation.predicted_ttft_s, observation.predicted_tpot_s
    if ttft_s is None or tpot_s is None or not _has_plausible_tokens(observation):
        return observation
    predicted_s = ttft_s + tpot_s * max(tokens - 1, 0)
    if not 0 < predicted_s < np.inf:
        return observation
    scale = total_s / predicted_s
    return replace(
        observation,
        upstream_ttft_s=ttft_s * scale,
        tpot_s=tpot_s * scale if tokens > 1 else None,
    )


def label_weight(observation: Observation, target: int = TPOT) -> float:
    """Weigh a label, 0 to 1, by what it rests on.

    A TPOT label counts by the tokens it is a mean of: few make it noisy. Labels made of
    a total count by the share of that total their target makes up.

    >>> label_weight(Observation(endpoint="a:1", model="m", hardware=None, observed_s=0,
    ...     features=np.zeros(N_FEATURES), output_tokens=8))
    0.5
    """
    tokens = observation.output_tokens
    weight = 1.0
    if target == TPOT and tokens is not None:
        weight = max(tokens, 1) / (max(tokens, 1) + _SHORT_OUTPUT_TOKENS)
    if not _splits(observation):
        return weight
    seen, total_s = split_total(observation), observation.total_s
    if seen.upstream_ttft_s is None or not total_s:
        return weight
    share = min(seen.upstream_ttft_s / total_s, 1.0)
    return weight * max(share if target == TTFT else 1.0 - share, _LEAST_SHARE)


class LabelClock:
    """Keep the time labels come at, against ones that cannot be.

    A label far in the future counts as observed a while after the last one; one that is
    far too old is refused, until eight in a row agree that it is the clock that was wrong.

    >>> clock = LabelClock()
    >>> [clock.admit(at_s) for at_s in (100.0, 1e12, 101.0, -1e6)]
    [(100.0, None), (700.0, 'far_future'), (101.0, None), (None, 'out_of_order')]
    """

    __slots__ = ("_newest_s", "_refused")

    def __init__(self) -> None:
        self._newest_s: float | None = None
        self._refused = 0

    def admit(self, observed_s: float) -> tuple[float | None, str | None]:
        """Give the time a label counts as observed at, ``None`` to refuse it, and why."""
        if not np.isfinite(observed_s):
            return None, "out_of_order"
        newest_s = observed_s if self._newest_s is None else self._newest_s
        if observed_s < newest_s - _LATE_S:
            self._refused += 1
            if self._refused < _AGREEING:
                return None, "out_of_order"
            newest_s = observed_s
        self._refused = 0
        admitted_s = min(observed_s, newest_s + _LEAP_S)
        self._newest_s = max(newest_s, admitted_s)
        return admitted_s, None if admitted_s == observed_s else "far_future"


def _problem(target: int, value: float) -> str | None:
    lowest, highest = BOUNDS_S[target]
    if not np.isfinite(value):
        return "not_finite"
    if value <= 0:
        return "not_positive"
    return None if lowest <= value <= highest else "absurd"


def _splits(observation: Observation) -> bool:
    """Tell whether a total is all that is known."""
    return (
        observation.total_s is not None
        and observation.upstream_ttft_s is None
        and observation.tpot_s is None
    )


def _has_plausible_tokens(observation: Observation) -> bool:
    tokens = observation.output_tokens
    return tokens is None or 0 <= tokens <= LONGEST_OUTPUT_TOKENS


def _usable(features: FloatArray) -> bool:
    if features.shape != (N_FEATURES,) or not np.isfinite(features[_PROMPT]):
        return False
    return not bool(((features > _MAX_FEATURE) | (features < _MIN_FEATURE)).any())
