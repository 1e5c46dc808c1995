"""The clock of labels: what most of them say, whatever one of them claims."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.labels import LabelClock

REFUSED = (None, "out_of_order")


def test_labels_out_of_order_are_all_taken() -> None:
    clock = LabelClock()

    times = [10_000.0, 10_400.0, 130.0, 20_900.0, 500.0, 131.0]

    assert [clock.admit(at_s) for at_s in times] == [(at_s, None) for at_s in times]


@pytest.mark.parametrize("ahead_s", [1e12, -1e12, 86_400.0, 10_000.0])
def test_one_endpoints_wrong_clock_keeps_nobody_else_from_being_heard(ahead_s: float) -> None:
    clock, admitted = LabelClock(), []
    for step in range(500):
        admitted.append(clock.admit(float(step)))
        for _ in range(3):
            clock.admit(ahead_s + step)

    assert admitted == [(float(step), None) for step in range(500)]


def test_a_clock_set_back_for_all_is_followed() -> None:
    clock = LabelClock()
    for step in range(100):
        clock.admit(1e6 + step)

    after = [clock.admit(float(step)) for step in range(50)]

    assert after == [REFUSED] * 20 + [(float(step), None) for step in range(20, 50)]


def test_after_a_night_without_traffic_labels_count_at_once_and_their_time_soon() -> None:
    clock = LabelClock()
    clock.admit(0.0)

    after = [clock.admit(30_000.0 + step) for step in range(30)]

    assert after[:20] == [(0.0, "far_future")] * 20
    assert after[20:] == [(30_000.0 + step, None) for step in range(20, 30)]


def test_traffic_as_slow_as_a_label_an_hour_is_on_time() -> None:
    clock = LabelClock()

    assert all(clock.admit(hour * 3600.0)[1] is None for hour in range(100))


@pytest.mark.parametrize("at_s", [math.nan, math.inf, -math.inf])
def test_no_time_at_all_is_refused(at_s: float) -> None:
    assert LabelClock().admit(at_s) == REFUSED


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True)))
def test_whatever_comes_is_refused_or_finite_and_no_later_than_told(times: list[float]) -> None:
    clock = LabelClock()

    for at_s in times:
        admitted_s, reason = clock.admit(at_s)

        if admitted_s is None:
            assert reason == "out_of_order"
        else:
            assert math.isfinite(admitted_s)
            assert admitted_s <= at_s
            assert (reason is None) == (admitted_s == at_s)
