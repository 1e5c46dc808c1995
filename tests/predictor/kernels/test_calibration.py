"""The windows of residuals hold what lists sorted anew would hold."""

from bisect import insort
from collections import deque

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from predictor.calibration import Calibration
from predictor.kernels.calibration import EVERY, ORDERED, keep
from predictor.settings import CalibrationSettings

SETTINGS = CalibrationSettings(window_rows=20, most_rows=30, window_s=5.0)


class Lists:
    """The same windows, the plain way."""

    def __init__(self) -> None:
        self.arrived: deque[tuple[float, float]] = deque()
        self.ordered: list[float] = []

    def keep(self, residual: float, at_s: float) -> None:
        self.arrived.append((at_s, residual))
        insort(self.ordered, residual)
        while len(self.arrived) > SETTINGS.most_rows or (
            len(self.arrived) > SETTINGS.window_rows
            and self.arrived[0][0] <= at_s - SETTINGS.window_s
        ):
            self.ordered.remove(self.arrived.popleft()[1])


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(0, 2)), max_size=120))
def test_residuals_come_and_go_in_order(arrivals: list[tuple[float, float]]) -> None:
    calibration, lists, at_s = Calibration(SETTINGS), Lists(), 0.0

    for residual, later_s in arrivals:
        at_s += later_s
        keep(calibration.state[0], calibration.windows, EVERY, residual, at_s)
        lists.keep(residual, at_s)

        kept = int(calibration.state["kept"][0, EVERY])
        np.testing.assert_array_equal(calibration.windows[ORDERED, EVERY, :kept], lists.ordered)
