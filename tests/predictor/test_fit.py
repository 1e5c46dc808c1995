"""The two estimators: what they recover, what they withstand, where they fall back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.fit import fit_nonnegative, shrunk_scales

TRUTH = np.array([0.02, 5e-5, 1e-3])


def rows(n: int, *, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    design = np.column_stack([np.ones(n), rng.uniform(0, 8000, n), rng.uniform(0, 60, n)])
    return design, design @ TRUTH * np.exp(noise * rng.standard_normal(n))


def test_coefficients_are_recovered_from_noisy_rows() -> None:
    design, target = rows(400, noise=0.1)

    found = fit_nonnegative(design, target, np.ones(400), prior=np.zeros(3), ridge_rows=0.1)

    np.testing.assert_allclose(found, TRUTH, rtol=0.2)


def test_a_tenth_of_stalled_rows_hardly_moves_the_fit() -> None:
    design, target = rows(400, noise=0.1)
    target[::10] = 5.0

    found = fit_nonnegative(design, target, np.ones(400), prior=np.zeros(3), ridge_rows=0.1)

    np.testing.assert_allclose(design @ found, design @ TRUTH, rtol=0.25)


def test_few_rows_stay_near_the_prior_and_many_leave_it() -> None:
    design, target = rows(400, noise=0.05)
    prior = 2 * TRUTH

    few, many = (
        fit_nonnegative(design[:n], target[:n], np.ones(n), prior=prior, ridge_rows=20)
        for n in (2, 400)
    )

    assert few[1] > 1.6 * TRUTH[1]
    assert many[1] == pytest.approx(TRUTH[1], rel=0.15)


def test_a_prior_of_next_to_nothing_does_not_stop_the_fit_of_other_terms() -> None:
    design, _ = rows(400, noise=0.0)
    target = design @ (TRUTH * [1, 0, 1])
    prior = 2 * TRUTH * [1, 1e-200, 1]

    found = fit_nonnegative(design, target, np.ones(400), prior=prior, ridge_rows=20)

    np.testing.assert_allclose(found, TRUTH * [1, 0, 1], rtol=0.2, atol=1e-12)


def test_terms_that_never_vary_apart_are_split_as_the_prior_says() -> None:
    design = np.column_stack([np.ones(50), np.full(50, 1000.0)])

    found = fit_nonnegative(
        design, np.full(50, 0.2), np.ones(50), prior=np.array([0.02, 8e-5]), ridge_rows=1.0
    )

    np.testing.assert_allclose(design @ found, 0.2, rtol=0.02)
    assert (found > 0).all()


@given(
    st.lists(st.floats(1e-4, 3600), min_size=1, max_size=30),
    st.floats(0, 1e8),
    st.floats(0, 1.0),
)
def test_any_plausible_labels_give_finite_non_negative_coefficients(
    target: list[float], size: float, weight: float
) -> None:
    n = len(target)
    design = np.column_stack([np.ones(n), np.full(n, size)])

    found = fit_nonnegative(
        design, np.array(target), np.full(n, weight), prior=np.ones(2), ridge_rows=1.0
    )

    assert np.isfinite(found).all()
    assert (found >= 0).all()


def test_scales_within_chance_become_one() -> None:
    chance = 0.2 / np.sqrt(50) * np.random.default_rng(0).standard_normal(8)

    shrunk, mean = shrunk_scales(chance, np.full(8, 50.0), sigma=0.2)

    assert np.ptp(shrunk) < 0.02
    assert shrunk.mean() == pytest.approx(mean, abs=0.01)


def test_one_odd_endpoint_keeps_its_scale_among_equals() -> None:
    scales = np.array([0.0] * 9 + [0.7])

    shrunk, _ = shrunk_scales(scales, np.full(10, 50.0), sigma=0.2)

    assert shrunk[-1] > 0.6
    assert abs(shrunk[0]) < 0.05


def test_an_endpoint_with_few_rows_stays_near_its_class() -> None:
    scales = np.array([0.5, -0.5, 0.5])

    shrunk, mean = shrunk_scales(scales, np.array([200.0, 200.0, 1.0]), sigma=1.0)

    assert abs(shrunk[2] - mean) < abs(scales[2] - mean) / 2
