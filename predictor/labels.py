"""Which labels may teach, how much, and when they can have been observed.

Finite, positive, plausible labels teach; the rest are refused by name. The total time of
a request that was not streamed becomes two labels. Called by the predictor for every
observation and by training for every row, so that both refuse alike.
"""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Final

import numpy as np

from predictor.features import N_FEATURES
from predictor.kernels import labels as kernels
from predictor.kernels.compiled import plain
from predictor.physics import BOUNDS_S, TARGETS, TPOT, TTFT
from predictor.types import LONGEST_OUTPUT_TOKENS, FloatArray, Observation
from predictor.values import replace

_SHORT_OUTPUT_TOKENS: Final = 8.0
_LEAST_SHARE: Final = 0.05
_MOST_OF: Final = 0.5
_APART_S: Final = 6 * 3600.0  # further apart, two labels were not timed by one clock
_BORNE: Final = 20


def usable_labels(observation: Observation) -> tuple[dict[int, float], list[str]]:
    """Give the labels to learn from by target index, and why others are refused.

    Reasons: ``bad_features`` (refuses all), then per target ``not_finite``,
    ``not_positive``, ``absurd``, ``tokens_absurd``, each behind the target's name, or
    behind ``waited`` for a wait that can be none.

    >>> import numpy as np
    >>> usable_labels(Observation(endpoint="a:1", model="m", hardware=None, observed_s=0,
    ...     features=np.zeros(N_FEATURES), upstream_ttft_s=0.2, tpot_s=-1.0))
    ({0: 0.2}, ['tpot_not_positive'])
    """
    if not _usable(observation.features) or not isfinite(observation.observed_s):
        return {}, ["bad_features"]
    labels: dict[int, float] = {}
    refused: list[str] = []
    if _splits(observation) and not _has_plausible_tokens(observation):
        refused.append(f"{TARGETS[TTFT]}_tokens_absurd")
    for target, value in enumerate(_measured(observation)):
        if value is None:
            continue
        problem = _problem(target, value)
        if problem is None and target == TPOT and not _has_plausible_tokens(observation):
            problem = "tokens_absurd"
        if problem is None:
            labels[target] = float(value)
        else:
            refused.append(f"{TARGETS[target]}_{problem}")
    waited = None if observation.waited_s is None else _problem(TTFT, observation.waited_s)
    return labels, refused if waited is None else [*refused, f"waited_{waited}"]


def split_total(observation: Observation) -> Observation:
    """Make two labels of a total time by scaling both predictions of dispatch alike.

    All that is known of such a request is ``ttft + tpot x (output tokens - 1)``. Where
    there is no total, or nothing to split it by, the observation stays as it is.

    >>> import numpy as np
    >>> seen = split_total(Observation(endpoint="a:1", model="m", hardware=None, observed_s=0,
    ...     features=np.zeros(N_FEATURES), total_s=3.0, output_tokens=11,
    ...     predicted_ttft_s=0.5, predicted_tpot_s=0.1))
    >>> seen.upstream_ttft_s, seen.tpot_s
    (1.0, 0.2)
    """
    ttft_s, tpot_s = _measured(observation)
    if ttft_s == observation.upstream_ttft_s and tpot_s == observation.tpot_s:
        return observation
    return replace(observation, upstream_ttft_s=ttft_s, tpot_s=tpot_s)


def label_weight(observation: Observation, target: int = TPOT) -> float:
    """Weigh a label, 0 to 1, by what it rests on.

    A TPOT label counts by the tokens it is a mean of: few make it noisy. Labels made of
    a total count by the share of that total their target makes up.

    >>> import numpy as np
    >>> label_weight(Observation(endpoint="a:1", model="m", hardware=None, observed_s=0,
    ...     features=np.zeros(N_FEATURES), output_tokens=8))
    0.5
    """
    tokens = observation.output_tokens
    weight = 1.0
    if target == TPOT and tokens is not None:
        weight = max(tokens, 1) / (max(tokens, 1) + _SHORT_OUTPUT_TOKENS)
    return weight * max(_share(observation, target), _LEAST_SHARE)


def most_of_total(observation: Observation, target: int) -> bool:
    """Tell whether a label is measured, or the larger part of the total it was made of.

    The smaller part follows the larger one's error, whatever its own was: corrections and
    quantiles that learn from it go wrong (with a TTFT of a tenth of the total, 40 % of
    what is then stated as its p90 is passed). The fit of physics weighs it.

    >>> import numpy as np
    >>> seen = Observation(endpoint="a:1", model="m", hardware=None, observed_s=0,
    ...     features=np.zeros(N_FEATURES), total_s=3.0, output_tokens=11,
    ...     predicted_ttft_s=0.5, predicted_tpot_s=0.1)
    >>> most_of_total(seen, TTFT), most_of_total(seen, TPOT)
    (False, True)
    """
    return _share(observation, target) >= _MOST_OF


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredColumns:
    """Hold what was measured of ``m`` requests, NaN where unknown.

    Attributes:
        features: ``(m, n_features)`` at dispatch, in C order.
        observed_s: ``(m,)``.
        targets_s: ``(2, m)`` TTFT and TPOT.
        output_tokens: ``(m,)``.
    """

    features: FloatArray
    observed_s: FloatArray
    targets_s: FloatArray
    output_tokens: FloatArray


def usable_columns(measured: MeasuredColumns) -> tuple[FloatArray, FloatArray]:
    """Give log labels and their weights, ``(2, m)`` each, NaN where a label may not teach.

    As :func:`usable_labels` and :func:`label_weight` of each row that has no total.

    >>> log_target, weight = usable_columns(MeasuredColumns(
    ...     features=np.zeros((1, N_FEATURES)), observed_s=np.zeros(1),
    ...     targets_s=np.array([[1.0], [-1.0]]), output_tokens=np.array([8.0])))
    >>> log_target[:, 0], weight[:, 0]
    (array([ 0., nan]), array([1. , 0.5]))
    """
    usable, tokens = np.empty(len(measured.features), dtype=np.bool_), measured.output_tokens
    kernels.all_usable(measured.features, usable)
    usable &= np.isfinite(measured.observed_s)
    counted = np.isfinite(tokens)
    plausible = ~counted | ((tokens >= 0) & (tokens <= LONGEST_OUTPUT_TOKENS))
    log_target, weight = np.full((2, len(usable)), np.nan), np.ones((2, len(usable)))
    for target, (lowest, highest) in enumerate(BOUNDS_S):
        value = measured.targets_s[target]
        known = usable & (value >= lowest) & (value <= highest)
        if target == TPOT:
            known &= plausible
        log_target[target, known] = np.log(value[known])
    some = np.maximum(tokens[counted], 1.0)
    weight[TPOT, counted] = some / (some + _SHORT_OUTPUT_TOKENS)
    return log_target, weight


class LabelClock:
    """Keep the time labels come at, against ones that cannot be.

    A label hours after the newest one counts as observed with that, one hours before it
    is refused; twenty in a row of either kind are borne, then the clock follows them: it
    was a long pause in traffic, or everybody's clock was set.

    >>> clock = LabelClock()
    >>> [clock.admit(at_s) for at_s in (100.0, 1e12, 101.0, -1e6)]
    [(100.0, None), (100.0, 'far_future'), (101.0, None), (None, 'out_of_order')]
    """

    __slots__ = ("_newest_s", "_strange")

    def __init__(self) -> None:
        self._newest_s: float | None = None
        self._strange = 0

    def admit(self, observed_s: float) -> tuple[float | None, str | None]:
        """Give the time a label counts as observed at, ``None`` to refuse it, and why."""
        if not isfinite(observed_s):
            return None, "out_of_order"
        newest_s = observed_s if self._newest_s is None else self._newest_s
        if abs(observed_s - newest_s) <= _APART_S:
            self._newest_s = max(newest_s, observed_s)
        elif self._strange < _BORNE:
            self._strange += 1
            return (newest_s, "far_future") if observed_s > newest_s else (None, "out_of_order")
        else:
            self._newest_s = observed_s
        self._strange = 0
        return observed_s, None


def _problem(target: int, value: float) -> str | None:
    lowest, highest = BOUNDS_S[target]
    if not isfinite(value):
        return "not_finite"
    if value <= 0:
        return "not_positive"
    return None if lowest <= value <= highest else "absurd"


def _measured(observation: Observation) -> tuple[float | None, float | None]:
    """Give what was measured of both targets, or made of a total."""
    said_s, tokens = observation.predicted_ttft_s, observation.output_tokens
    if not _splits(observation) or tokens is None or not _has_plausible_tokens(observation):
        return observation.upstream_ttft_s, observation.tpot_s
    total_s, step_s = observation.total_s, observation.predicted_tpot_s
    if total_s is None or said_s is None or step_s is None:
        return None, None
    predicted_s = said_s + step_s * max(tokens - 1, 0)
    if not 0 < predicted_s < inf:
        return None, None
    scale = total_s / predicted_s
    return said_s * scale, step_s * scale if tokens > 1 else None


def _splits(observation: Observation) -> bool:
    """Tell whether a total is all that is known."""
    return (
        observation.total_s is not None
        and observation.upstream_ttft_s is None
        and observation.tpot_s is None
    )


def _share(observation: Observation, target: int) -> float:
    """Give the share of a total that a label made of it makes up, 1 for a measured one."""
    if not _splits(observation):
        return 1.0
    ttft_s, total_s = _measured(observation)[TTFT], observation.total_s
    if ttft_s is None or not total_s:
        return 1.0
    share = min(ttft_s / total_s, 1.0)
    return share if target == TTFT else 1.0 - share


def _has_plausible_tokens(observation: Observation) -> bool:
    tokens = observation.output_tokens
    return tokens is None or 0 <= tokens <= LONGEST_OUTPUT_TOKENS


def _usable(features: FloatArray) -> bool:
    return features.shape == (N_FEATURES,) and kernels.usable(plain(features))
