"""What the models are fitted by: a robust fit, shrinkage of scales, forgetting.

Pure functions of arrays; :mod:`predictor.coefficients` and :mod:`predictor.training`
decide what goes in and when.
"""

import numpy as np

from predictor.kernels import fit as kernels
from predictor.kernels.compiled import plain
from predictor.kernels.fit import MIN_SIGMA
from predictor.types import FloatArray

_CORRELATED_ROWS = 4.0  # neighbouring labels share a queue: so many count as one


def forgetting(
    observed_s: FloatArray, *, now: float, half_life_rows: float, half_life_s: float
) -> FloatArray:
    """Weigh ``(m,)`` rows, oldest first, by age: by whichever clock calls them younger.

    >>> times = np.array([0.0, 100.0, 200.0])
    >>> forgetting(times, now=200.0, half_life_rows=1.0, half_life_s=200.0).round(2)
    array([0.5 , 0.71, 1.  ])
    """
    weight = np.empty(len(observed_s))
    kernels.all_forgotten(plain(observed_s), now, half_life_rows, half_life_s, weight)
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
    and R. J. Hanson, Solving Least Squares Problems, chapter 23 (the solver).

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
    found = np.empty(len(prior))
    kernels.fit_nonnegative(
        plain(design), plain(target), plain(weight), plain(prior), ridge_rows, found
    )
    return found


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
    variance = max(sigma, MIN_SIGMA) ** 2 * _CORRELATED_ROWS / np.maximum(rows, 1e-3)
    precision = 1.0 / variance
    total = float(precision.sum())
    mean = float(precision @ scales) / total
    excess = float(precision @ np.square(scales - mean)) - (len(scales) - 1)
    spread = total - float(precision @ precision) / total
    between = max(0.0, excess / spread) if spread > 1e-9 else 0.0
    own = between / (between + variance)
    return mean + own * (scales - mean), mean
