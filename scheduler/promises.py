"""What has been promised to requests in flight, and how well such promises are kept.

A promise is the objective a request was sent with. Whoever places another request reads
from here whom that may harm. Few distinct promises are in flight at a time (tiers make
them, and limits are rounded), so that each is one row of counts, one column per row of
the endpoint table. Fed by the scheduler with each dispatch and end; read by the decider.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from predictor.types import FloatArray, Objective
from scheduler.endpoint_table import Rows

# Limits are kept at most 2 % below what was asked for: headers can name any number.
_STEPS_PER_E: Final = 50.0
# The share of broken promises is a mean over so many seconds: requests decode that long.
PRESSURE_TAU_S: Final = 15.0
# So many kept ones are taken for granted, for one request does not make a share.
_PRIOR: Final = 20.0


@dataclass(frozen=True, slots=True)
class _Promise:
    priority: int
    ttft_s: float
    tpot_s: float


class Promises:
    """Count the promises of one fleet by endpoint.

    >>> promises = Promises()
    >>> promises.make("r", Objective(tpot_s=0.05), priority=10, row=1)
    >>> rows = np.array([0, 1])
    >>> [(round(limit_s, 2), held.tolist()) for limit_s, held in promises.tpots(rows, priority=0)]
    [(0.05, [0.0, 1.0])]
    >>> promises.end("r")
    >>> bool(promises)
    False
    """

    def __init__(self) -> None:
        self._where: dict[str, tuple[_Promise, int]] = {}  # by request
        self._counts: dict[_Promise, FloatArray] = {}  # by row of the table
        self._total: dict[_Promise, int] = {}

    def __bool__(self) -> bool:
        return bool(self._where)

    def __len__(self) -> int:
        return len(self._where)

    def make(self, request_id: str, objective: Objective, *, priority: int, row: int) -> None:
        """Note what a request was sent with; one without an objective is promised nothing."""
        if not objective:
            return
        promise = _Promise(priority, _rounded(objective.ttft_s), _rounded(objective.tpot_s))
        counts = self._counts.get(promise)
        if counts is None or len(counts) <= row:
            wider = np.zeros(max(16, 2 * (row + 1)))
            if counts is not None:
                wider[: len(counts)] = counts
            counts = self._counts[promise] = wider
        counts[row] += 1
        self._where[request_id] = promise, row
        self._total[promise] = self._total.get(promise, 0) + 1

    def end(self, request_id: str) -> None:
        """Forget a request's promise, if it has one."""
        promise, row = self._where.pop(request_id, (None, 0))
        if promise is None:
            return
        self._counts[promise][row] -= 1
        self._total[promise] -= 1
        if not self._total[promise]:
            del self._counts[promise], self._total[promise]

    def tpots(self, rows: Rows, *, priority: int) -> Iterator[tuple[float, FloatArray]]:
        """Give each TPOT promised to requests of this priority or above, and how often where.

        Returns:
            ``(limit_s, (n,) requests)`` of each.
        """
        for promise, counts in self._counts.items():
            if promise.priority >= priority and promise.tpot_s < math.inf:
                held: FloatArray = counts.take(rows, mode="clip")
                yield promise.tpot_s, np.where(rows < len(counts), held, 0.0)

    def any_above(self, priority: int) -> bool:
        """Say whether any request in flight above a priority was promised something."""
        return bool(self._total) and any(one.priority > priority for one in self._total)

    def ttft_s(self, *, priority: int) -> float:
        """Give the tightest TTFT promised anywhere to requests above this priority."""
        above = (one.ttft_s for one in self._total if one.priority > priority)
        return min(above, default=math.inf)


class Pressure:
    """Follow which share of promises is broken, by priority, lately.

    >>> pressure = Pressure()
    >>> for _ in range(20):
    ...     pressure.note(10, broken=1.0, now=0.0)
    >>> round(pressure.above(0, now=0.0), 2), pressure.above(10, now=0.0)
    (0.5, 0.0)
    """

    def __init__(self) -> None:
        self._means: dict[int, tuple[float, float, float]] = {}  # broken, all, as of when

    def note(self, priority: int, *, broken: float, now: float) -> None:
        """Take in a promise made or ended: the probability, or 0 or 1, that it is broken."""
        before, total, as_of_s = self._means.get(priority, (0.0, 0.0, now))
        keep = _kept(as_of_s, now)
        self._means[priority] = before * keep + broken, total * keep + 1.0, max(now, as_of_s)

    def above(self, priority: int, now: float) -> float:
        """Give the share broken of what requests above a priority were promised, the worst."""
        worst = 0.0
        for one, (broken, total, as_of_s) in self._means.items():
            if one > priority:
                keep = _kept(as_of_s, now)
                worst = max(worst, broken * keep / (total * keep + _PRIOR))
        return worst


def _kept(as_of_s: float, now: float) -> float:
    """Give the weight left of what was seen as of then; whole where the clock stepped back.

    >>> round(_kept(0.0, 15.0), 2), _kept(20_000.0, 0.0)
    (0.37, 1.0)
    """
    return math.exp(min(as_of_s - now, 0.0) / PRESSURE_TAU_S)


def _rounded(limit_s: float | None) -> float:
    """Round a limit down to one of few values; none is infinite.

    >>> _rounded(None), 0.049 < _rounded(0.05) <= 0.05
    (inf, True)
    """
    if limit_s is None or limit_s <= 0.0:
        return math.inf
    whole = round(math.log(limit_s) * _STEPS_PER_E, 6)
    return math.exp(math.floor(whole) / _STEPS_PER_E)
