"""Play a set's events through a contender: it predicts at dispatch and learns at labels.

Predict, then learn: what a label is compared with was said when its request was sent, by
what had been learned until then. Each contender trains on its own cadence.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.prediction.rowset import TARGETS, Dispatch, Label, Request, RowSet, Target
from predictor.terms import regimes
from predictor.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Hold what a contender said of one request, in seconds by target.

    Attributes:
        mean_s: ``(2,)`` expected TTFT and TPOT.
        p50_s: ``(2,)`` their stated medians, the expectation where none is stated.
        p90_s: ``(2,)`` their stated 90 % quantiles.
        experts: ``(2, n_experts)`` log seconds by expert; none of them for a contender
            without experts.
    """

    mean_s: FloatArray
    p50_s: FloatArray
    p90_s: FloatArray
    experts: FloatArray


class Contender(Protocol):
    """Predict and learn."""

    @property
    def expert_names(self) -> tuple[str, ...]:
        """Name the columns of :attr:`Said.experts`."""
        ...

    def predict(self, request: Request, now: float) -> Said:
        """Predict a request that is sent."""
        ...

    def learn(self, rows: RowSet, label: Label, said: Said) -> None:
        """Take in a label; ``said`` is what was predicted of its request."""
        ...

    def train(self, now: float) -> None:
        """Train anew if it is time; called before every event."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Hold all labels of one target beside what was said, in the order they were sent.

    Attributes:
        actual_s: ``(n,)`` labels.
        mean_s: ``(n,)`` predictions.
        p50_s: ``(n,)`` stated medians.
        p90_s: ``(n,)`` stated 90 % quantiles.
        request: ``(n,)`` index of the request in its set.
        regime: ``(n,)`` by :func:`predictor.terms.regimes`, at dispatch.
        experts_s: ``(n, n_experts)`` predictions by expert; NaN where one had none.
        expert_names: Of those columns.
    """

    actual_s: FloatArray
    mean_s: FloatArray
    p50_s: FloatArray
    p90_s: FloatArray
    request: NDArray[np.intp]
    regime: NDArray[np.intp]
    experts_s: FloatArray
    expert_names: tuple[str, ...]

    @property
    def error(self) -> FloatArray:
        """Give the absolute percentage errors, ``(n,)``, as fractions."""
        error: FloatArray = np.abs(self.mean_s / self.actual_s - 1.0)
        return error


def play(rows: RowSet, contender: Contender) -> dict[Target, Played]:
    """Play all events; give what came of each target."""
    said: dict[int, Said] = {}
    labels: list[Label] = []
    for event in rows.events:
        contender.train(event.at_s)
        if isinstance(event, Dispatch):
            said[event.request] = contender.predict(rows.requests[event.request], event.at_s)
        else:
            contender.learn(rows, event, said[event.request])
            labels.append(event)
    labels.sort(key=lambda label: label.request)
    return {
        target: _played(rows, contender, said, labels, index)
        for index, target in enumerate(TARGETS)
    }


def _played(
    rows: RowSet, contender: Contender, said: dict[int, Said], labels: list[Label], target: int
) -> Played:
    mine = [label for label in labels if label.target == TARGETS[target]]
    spoken = [said[label.request] for label in mine]
    features = np.array([rows.requests[label.request].features for label in mine])
    names = contender.expert_names
    return Played(
        actual_s=np.array([label.seconds for label in mine]),
        mean_s=np.array([one.mean_s[target] for one in spoken]),
        p50_s=np.array([one.p50_s[target] for one in spoken]),
        request=np.array([label.request for label in mine], dtype=np.intp),
        p90_s=np.array([one.p90_s[target] for one in spoken]),
        regime=regimes(features) if mine else np.empty(0, dtype=np.intp),
        experts_s=np.exp([one.experts[target] for one in spoken]).reshape(len(mine), len(names)),
        expert_names=names,
    )
