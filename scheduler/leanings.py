"""How far the ranking of each endpoint is off for good, whatever predicts.

A predictor that flatters one endpoint by 30 % sends it what others should have. What
requests then take tells: each endpoint's median error, slow, pulled toward the others' as
far as chance explains it, and relative to them, for an error that all share ranks nobody.
It follows a predictor that learns the same by itself, which leaves nothing to correct.
Written by the lessons, read by the decider; one writer, no clock.
"""

from dataclasses import dataclass
from math import inf, log
from typing import Final

import numpy as np

from predictor.fit import shrunk_scales
from predictor.physics import TPOT, TTFT
from predictor.types import FloatArray

_RATE: Final = 0.01  # of each label: about the last hundred of an endpoint count
_LEAST_LABELS: Final = 4  # of an endpoint before it is told apart
_EVERY: Final = 32  # labels of the fleet between two looks at all of them
_MOST_LABELS: Final = 100.0
_FURTHEST: Final = 1.0  # log seconds


@dataclass(slots=True)
class _Error:
    """Hold one endpoint's error: a slow median of log(actual / ranked), and its spread."""

    labels: int = 0
    middle: float = 0.0
    spread: float = 0.3

    def learn(self, error: float) -> None:
        self.labels += 1
        rate = max(_RATE, 1.0 / self.labels)
        gap = error - self.middle
        self.spread += rate * (abs(gap) - self.spread)
        self.middle += rate * min(max(gap, -self.spread), self.spread)


class Leanings:
    """Correct the ranking by what each endpoint's has been off lately.

    >>> leanings = Leanings()
    >>> for _ in range(16):
    ...     leanings.learn(TTFT, "a:1", actual_s=2.0, ranked_s=1.0)
    ...     leanings.learn(TTFT, "b:1", actual_s=1.0, ranked_s=1.0)
    >>> leanings.factors(("a:1", "b:1"))[TTFT].round(1).tolist()
    [1.4, 0.7]
    """

    def __init__(self) -> None:
        self._errors: tuple[dict[str, _Error], dict[str, _Error]] = ({}, {})
        self._logs: tuple[dict[str, float], dict[str, float]] = ({}, {})
        self._labels = 0
        self._gathered: tuple[tuple[str, ...], FloatArray] | None = None

    def learn(self, target: int, endpoint: str, *, actual_s: float, ranked_s: float) -> None:
        """Take in a label of ``TTFT`` or ``TPOT`` beside what the request was ranked by."""
        if not (actual_s > 0 and 0 < ranked_s < inf):
            return
        error = log(actual_s / ranked_s) + self._logs[target].get(endpoint, 0.0)
        self._errors[target].setdefault(endpoint, _Error()).learn(error)
        self._labels += 1
        if self._labels % _EVERY == 0:
            self._settle()

    def forget(self, endpoint: str) -> None:
        """Forget an endpoint that has left."""
        for target in (TTFT, TPOT):
            self._errors[target].pop(endpoint, None)
            self._logs[target].pop(endpoint, None)
        self._gathered = None

    def factors(self, endpoints: tuple[str, ...]) -> FloatArray:
        """Give ``(2, n)`` factors on TTFT and TPOT; 1 for who is not told apart."""
        gathered = self._gathered
        if gathered is None or gathered[0] is not endpoints:
            logs = [[known.get(name, 0.0) for name in endpoints] for known in self._logs]
            gathered = self._gathered = endpoints, np.exp(logs)
        return gathered[1]

    def _settle(self) -> None:
        for target, errors in enumerate(self._errors):
            known = {name: one for name, one in errors.items() if one.labels >= _LEAST_LABELS}
            logs = self._logs[target]
            logs.clear()
            if len(known) > 1:
                middles = np.array([one.middle for one in known.values()])
                labels = np.array([min(one.labels, _MOST_LABELS) for one in known.values()])
                sigma = 1.25 * float(np.median([one.spread for one in known.values()]))
                shrunk, mean = shrunk_scales(middles, labels, sigma=sigma)
                off = np.clip(shrunk - mean, -_FURTHEST, _FURTHEST)
                logs.update(zip(known, off.tolist(), strict=True))
        self._gathered = None
