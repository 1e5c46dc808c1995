"""Prequential errors of the experts, the weights they give, and the average by these."""

from functools import lru_cache
from math import isfinite
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.kernels.compiled import Numbers, Record, compiled
from predictor.kernels.terms import N_REGIMES
from predictor.types import FloatArray

FLOOR: Final = 0.01
"""Mean error of the best: no expert is trusted to be better than 1 %."""
MAX_ERROR: Final = 3.0
"""What one error counts at most."""


@lru_cache(maxsize=16)  # calls with the same one take half the time of calls with its equal
def mixture_dtype(n_experts: int) -> np.dtype[np.void]:
    """Name the numbers of a :class:`predictor.mixture.Mixture`.

    ``error`` is the mean absolute log error by target, regime (the last is all of them) and
    expert, ``labels`` how many it is a mean of; ``weights`` sum up to 1 over experts. ``rate``
    is what a label moves the mean by at least, ``doubt_rows`` what the assumed error weighs,
    ``regime_rows`` the labels a regime's own errors need to outweigh those of all; weight is
    error to the minus ``sharpness``.
    """
    every, each = (2, N_REGIMES + 1, n_experts), (2, N_REGIMES, n_experts)
    numbers = [(name, "f8") for name in ("rate", "doubt_rows", "regime_rows", "sharpness")]
    return np.dtype(
        [("error", "f8", every), ("labels", "f8", every), ("weights", "f8", each), *numbers]
    )


@compiled
def mixed(experts: FloatArray, row: int, target: int, state: Numbers, waits: int) -> float:
    """Average one target's experts in ``(n, 2, n_experts)``; those that are silent are left out."""
    total = said = 0.0
    for expert in range(experts.shape[2]):
        log_s = experts[row, target, expert]
        if isfinite(log_s):
            weight = state["weights"][target, waits, expert]
            total += weight
            said += weight * log_s
    return said / total


@compiled
def mix(experts: FloatArray, regimes: NDArray[np.intp], mixture: Record, said: FloatArray) -> None:
    """Write ``(n, 2)`` averages of ``(n, 2, n_experts)`` log seconds."""
    for row in range(len(experts)):
        for target in range(2):
            said[row, target] = mixed(experts, row, target, mixture[0], regimes[row])


@compiled
def learn(state: Numbers, target: int, waits: int, errors: FloatArray) -> None:
    """Take in each expert's absolute log error on one label, NaN where silent."""
    for regime in (waits, N_REGIMES):
        for expert in range(len(errors)):
            if isfinite(errors[expert]):
                state["labels"][target, regime, expert] += 1.0
                rows = state["labels"][target, regime, expert] + state["doubt_rows"]
                rate = max(state["rate"], 1.0 / rows)
                before = state["error"][target, regime, expert]
                after = before + rate * (min(errors[expert], MAX_ERROR) - before)
                state["error"][target, regime, expert] = after
    weigh(state, target)


@compiled
def weigh(state: Numbers, target: int) -> None:
    """Write one target's weights; an expert never scored counts as bad as the worst scored one."""
    n_experts = state["error"].shape[2]
    worst = 0.0
    for expert in range(n_experts):
        if state["labels"][target, N_REGIMES, expert] > 0:
            worst = max(worst, state["error"][target, N_REGIMES, expert])
    for regime in range(N_REGIMES):
        total = 0.0
        for expert in range(n_experts):
            overall = state["error"][target, N_REGIMES, expert]
            if state["labels"][target, N_REGIMES, expert] == 0 and worst > 0:
                overall = worst
            count = state["labels"][target, regime, expert]
            own = count / (count + (state["regime_rows"] + 1e-9))
            shrunk = overall + own * (state["error"][target, regime, expert] - overall)
            raw = max(shrunk, FLOOR) ** -state["sharpness"]
            state["weights"][target, regime, expert] = raw
            total += raw
        for expert in range(n_experts):
            state["weights"][target, regime, expert] /= total
