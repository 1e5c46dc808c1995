"""Calibration: coverage, honesty before data, caps, probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.calibration import Calibration
from predictor.drift import DriftCount
from predictor.kernels.calibration import EVERY, keep, quantile
from predictor.settings import CalibrationSettings
from predictor.types import P90

ZERO = np.array([0])


def coverage(residuals: "np.ndarray[tuple[int], np.dtype[np.float64]]", skip: int) -> float:
    calibration, covered = Calibration(), []
    for residual in residuals.tolist():
        covered.append(residual <= calibration.offsets(ZERO)[P90, 0])
        calibration.learn(0, residual)
    return float(np.mean(covered[skip:]))


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.7])
def test_nine_in_ten_are_covered_whatever_the_spread(sigma: float) -> None:
    residuals = sigma * np.random.default_rng(0).standard_normal(2000)

    assert coverage(residuals, 200) == pytest.approx(0.9, abs=0.02)


def test_coverage_comes_back_after_the_spread_doubles() -> None:
    rng = np.random.default_rng(1)
    residuals = np.concatenate([0.1 * rng.standard_normal(800), 0.2 * rng.standard_normal(800)])

    assert coverage(residuals, 900) == pytest.approx(0.9, abs=0.04)


def test_before_data_the_quantile_is_a_factor_of_two_away() -> None:
    offset = Calibration().offsets(ZERO)[P90, 0]

    assert np.exp(offset) == pytest.approx(2.0, abs=0.05)


def test_a_regime_without_labels_borrows_from_the_others() -> None:
    calibration = Calibration()
    for step in range(400):
        calibration.learn(0, (step % 10) / 100)

    assert calibration.offsets(np.array([2]))[P90, 0] < 0.2


def test_the_quantile_is_the_conformal_order_statistic() -> None:
    calibration = Calibration()
    state, windows = calibration.state[0], calibration.windows
    for value in range(1, 20):
        keep(state, windows, EVERY, float(value), 0.0)

    assert [quantile(state, windows, EVERY, level) for level in (0.9, 0.85, 0.97, 1.0)] == [
        18,
        17,
        19,
        19,
    ]


def test_the_offset_is_capped() -> None:
    settings = CalibrationSettings()
    calibration = Calibration(settings)

    for _ in range(500):
        calibration.learn(0, 40.0)

    assert calibration.offsets(ZERO)[P90, 0] == settings.cap_log


@given(st.lists(st.floats(-5, 5), max_size=60), st.lists(st.floats(-50, 50), min_size=2))
def test_probabilities_lie_between_zero_and_one_and_grow(
    residuals: list[float], limits: list[float]
) -> None:
    calibration = Calibration()
    for residual in residuals:
        calibration.learn(0, residual)
    ratios = np.sort(np.array(limits))

    chances = calibration.probability(ratios, np.full(len(ratios), 0.5))

    assert ((chances >= 0) & (chances <= 1)).all()
    assert (np.diff(chances) >= 0).all()


def test_steady_errors_raise_no_drift_alarm_and_doubled_ones_do() -> None:
    rng = np.random.default_rng(0)
    count = DriftCount()

    for error in np.abs(0.2 * rng.standard_normal(2000)):
        count.learn(float(error))
    steady = count.alarms
    for error in 0.6 + np.abs(0.2 * rng.standard_normal(200)):
        count.learn(float(error))

    assert steady == 0
    assert count.alarms > 0
