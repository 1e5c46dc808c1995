"""What was promised to requests in flight."""

import math

import numpy as np
import pytest

from predictor.types import Objective
from scheduler.promises import Pressure, Promises

ROWS = np.arange(40)


def test_promises_are_counted_where_they_were_made_and_end_once() -> None:
    promises = Promises()
    for name, row in (("a", 0), ("b", 0), ("c", 39)):
        promises.make(name, Objective(tpot_s=0.05), priority=10, row=row)
    promises.end("b")
    promises.end("b")

    ((limit_s, held),) = promises.tpots(ROWS, priority=0)

    assert 0.049 <= limit_s <= 0.05
    assert (held[0], held[39], held.sum()) == (1, 1, 2)
    assert len(promises) == 2


def test_lower_priorities_do_not_count() -> None:
    promises = Promises()
    promises.make("low", Objective(ttft_s=1.0, tpot_s=0.1), priority=0, row=1)
    promises.make("high", Objective(ttft_s=0.5, tpot_s=0.05), priority=10, row=1)

    assert len(list(promises.tpots(ROWS, priority=0))) == 2
    assert len(list(promises.tpots(ROWS, priority=1))) == 1
    assert promises.ttft_s(priority=0) == pytest.approx(0.5, rel=0.02)
    assert promises.ttft_s(priority=10) == math.inf


def test_nothing_is_promised_without_an_objective() -> None:
    promises = Promises()

    promises.make("r", Objective(), priority=0, row=0)

    assert not promises


def test_many_different_limits_leave_nothing_behind() -> None:
    promises = Promises()
    for number in range(500):
        promises.make(
            str(number), Objective(tpot_s=0.001 + number * 1e-3), priority=number % 3, row=number
        )
    for number in range(500):
        promises.end(str(number))

    assert not promises
    assert list(promises.tpots(ROWS, priority=-1000)) == []


def test_pressure_is_of_those_above_and_fades() -> None:
    pressure = Pressure()
    for _ in range(100):
        pressure.note(10, broken=1.0, now=0.0)

    assert pressure.above(0, now=0.0) > 0.8
    assert pressure.above(10, now=0.0) == 0.0
    assert pressure.above(0, now=60.0) < 0.1


def test_one_broken_promise_is_no_pressure_yet() -> None:
    pressure = Pressure()

    pressure.note(10, broken=1.0, now=0.0)

    assert pressure.above(0, now=0.0) < 0.05
