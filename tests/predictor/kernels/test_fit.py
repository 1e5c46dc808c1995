"""The solver and the median find what SciPy's and NumPy's do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from predictor.kernels.fit import solve
from predictor.kernels.median import median


@pytest.mark.parametrize("seed", range(40))
def test_normal_equations_are_solved_as_scipy_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = np.abs(rng.normal(size=(30, 9))) * rng.uniform(0, 2, 9)
    target = design @ np.maximum(rng.normal(size=9), 0.0) + 0.1 * rng.normal(size=30)
    gram, found = design.T @ design + 1e-6 * np.eye(9), np.empty(9)

    assert solve(gram, design.T @ target, found)

    root = np.linalg.cholesky(gram)
    expected, _ = nnls(root.T, np.linalg.solve(root, design.T @ target))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_what_no_coefficients_can_tell_is_refused() -> None:
    assert not solve(np.full((2, 2), np.nan), np.ones(2), np.empty(2))


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_medians_are_numpys(values: list[float]) -> None:
    numbers = np.array(values)

    assert median(numbers, np.empty(len(values))) == pytest.approx(np.median(numbers))
    assert numbers.tolist() == values
