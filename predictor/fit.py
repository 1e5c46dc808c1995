"""What the models are fitted by: a robust fit, shrinkage of scales, forgetting.

Pure functions of arrays; :mod:`predictor.coefficients` and :mod:`predictor.training`
decide what goes in and when.
"""

import numpy as np
from scipy.optimize import nnls

from predictor.types import FloatArray

_ROUNDS = 3
_HUBER = 2.0  # in robust standard deviations of the log residual
_MIN_SIGMA = 0.02
_LEAST_SIZE = 1e-12  # the square of a smaller one may be 0
_LEAST_SHARE = 0.3  # of the median size: what had shrunk can grow again
_LEAST_PULL = 0.05  # (log noise 0.4 / 2)^2: a term hardly seen is within a few times its prior
_OLDEST_HALF_LIVES = 20.0  # a millionth: less would only cost precision
_CORRELATED_ROWS = 4.0  # neighbouring labels share a queue: so many count as one


def forgetting(
    observed_s: FloatArray, *, now: float, half_life_rows: float, half_life_s: float
) -> FloatArray:
    """Weigh ``(m,)`` rows, oldest first, by age: by whichever clock calls them younger.

    >>> times = np.array([0.0, 100.0, 200.0])
    >>> forgetting(times, now=200.0, half_life_rows=1.0, half_life_s=200.0).round(2)
    array([0.5 , 0.71, 1.  ])
    """
    age_rows = np.arange(len(observed_s) - 1, -1, -1.0) / half_life_rows
    age = np.minimum(age_rows, np.maximum(now - observed_s, 0.0) / half_life_s)
    weight: FloatArray = np.exp2(-np.minimum(age, _OLDEST_HALF_LIVES))
    return weight


def fit_nonnegative(
    design: FloatArray,
    target: FloatArray,
    weight: FloatArray,
    *,
    prior: FloatArray,
    ridge_rows: float,
) -> FloatArray:
    """Fit non-negative coefficients to positive targets by (about) log error, robustly.

    Minimises ``weight * (y - X b)^2 / (y * predicted)``, which is the squared log
    residual near the solution, with Huber weights from the round before (from ``prior`` in
    the first), plus ``ridge_rows`` rows' worth of pull toward ``prior``. The pull on each
    coefficient is measured by the share of the target its term makes up in the rows that
    have it: it depends not on how rare such rows are. Where all of them have next to
    nothing of a term, ``prior`` holds: a wild coefficient would fit them as well, and be
    far off where there is more of it. So a term comes in units of its usual size, of which
    coefficients are a few. Source: C. L. Lawson
    and R. J. Hanson, Solving Least Squares Problems, chapter 23 (the solver behind it).

    Args:
        design: ``(m, k)`` non-negative terms.
        target: ``(m,)`` positive.
        weight: ``(m,)`` non-negative.
        prior: ``(k,)`` coefficients to fall back to.
        ridge_rows: What the prior weighs, in rows.

    Returns:
        ``(k,)`` finite non-negative coefficients; ``prior`` where the solver fails.

    >>> x = np.column_stack([np.full(500, 10.0), np.arange(500.0) / 10.0])
    >>> y = x @ np.array([2.0, 0.5])
    >>> fit_nonnegative(x, y, np.ones(500), prior=np.zeros(2), ridge_rows=1e-6).round(2)
    array([2. , 0.5])
    """
    present = np.maximum(weight @ (design > 0), 1e-12)
    share = weight @ np.square(design / target[:, None]) / present
    ridge = np.maximum(ridge_rows * share, _LEAST_PULL / np.square(_sizes(prior)))
    solution = prior
    rows = (
        _reweighted(design @ prior, target, weight) if prior.any() else weight / np.square(target)
    )
    for _ in range(_ROUNDS):
        weighted = design * rows[:, None]
        gram = weighted.T @ design
        gram.flat[:: len(prior) + 1] += ridge
        found = _solve(gram, weighted.T @ target + ridge * prior)
        if found is None:
            return solution
        solution = found
        rows = _reweighted(design @ solution, target, weight)
    return solution


def _sizes(prior: FloatArray) -> FloatArray:
    """Give the size to expect of each coefficient: its prior, or those of the others."""
    known = prior > 0
    if not known.any():
        return np.ones(len(prior))
    usual = max(float(np.median(prior[known])), _LEAST_SIZE)
    return np.where(known, np.maximum(prior, _LEAST_SHARE * usual), usual)


def _reweighted(predicted: FloatArray, target: FloatArray, weight: FloatArray) -> FloatArray:
    predicted = np.clip(predicted, target / 20.0, target * 20.0)
    residual = np.abs(np.log(target / predicted))
    edge = _HUBER * max(1.48 * float(np.median(residual)), _MIN_SIGMA)
    return weight * np.minimum(1.0, edge / np.maximum(residual, 1e-9)) / (target * predicted)


def shrunk_level(
    predicted: FloatArray, target: FloatArray, weight: FloatArray, *, rows: float
) -> float:
    """Give the log level by which targets lie above predictions, shrunk toward none.

    >>> round(shrunk_level(np.ones(8), np.full(8, np.e), np.ones(8), rows=8.0), 2)
    0.5
    """
    known = predicted > 0
    if not known.any():
        return 0.0
    seen = float(weight[known].sum())
    return float(np.median(np.log(target[known] / predicted[known]))) * seen / (seen + rows)


def _solve(gram: FloatArray, moment: FloatArray) -> FloatArray | None:
    scale = 1.0 / np.sqrt(gram.diagonal())
    try:
        root = np.linalg.cholesky(gram * np.outer(scale, scale) + 1e-10 * np.eye(len(gram)))
        solution = nnls(root.T, np.linalg.solve(root, moment * scale))[0] * scale
    except (np.linalg.LinAlgError, RuntimeError, ValueError):
        return None
    return solution if np.isfinite(solution).all() else None


def shrunk_scales(
    scales: FloatArray, rows: FloatArray, *, sigma: float
) -> tuple[FloatArray, float]:
    """Pull each endpoint's log scale toward its class, as far as chance explains it.

    Empirical Bayes: where endpoints differ by no more than ``sigma`` over their number
    of rows would make them, all get the class's mean; where they truly differ, each
    keeps its own. Source: R. DerSimonian and N. Laird, Meta-analysis in clinical trials
    (1986), equation 8.

    Args:
        scales: ``(e,)`` log scales as measured.
        rows: ``(e,)`` labels each rests on.
        sigma: Standard deviation of one label's log residual.

    Returns:
        ``(e,)`` shrunk log scales, and the class's mean.

    >>> same, _ = shrunk_scales(np.array([0.01, -0.01, 0.0]), np.full(3, 50.0), sigma=0.2)
    >>> bool(np.ptp(same) == 0.0)
    True
    >>> odd, _ = shrunk_scales(np.array([0.0, 0.0, 0.7]), np.full(3, 50.0), sigma=0.2)
    >>> bool(odd[2] - odd[0] > 0.6)
    True
    """
    variance = max(sigma, _MIN_SIGMA) ** 2 * _CORRELATED_ROWS / np.maximum(rows, 1e-3)
    precision = 1.0 / variance
    total = float(precision.sum())
    mean = float(precision @ scales) / total
    excess = float(precision @ np.square(scales - mean)) - (len(scales) - 1)
    spread = total - float(precision @ precision) / total
    between = max(0.0, excess / spread) if spread > 1e-9 else 0.0
    own = between / (between + variance)
    return mean + own * (scales - mean), mean
