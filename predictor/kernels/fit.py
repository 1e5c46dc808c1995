"""The fit of physics: rows weighed by age and error, non-negative least squares on them."""

from math import exp, isfinite, log, sqrt
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.kernels.compiled import compiled
from predictor.kernels.median import median
from predictor.types import FloatArray

Inside = NDArray[np.bool_]
"""Which terms are above 0, ``(k,)``."""

_ROUNDS: Final = 3
_HUBER: Final = 2.0  # in robust standard deviations of the log residual
MIN_SIGMA: Final = 0.02
"""Standard deviation of a label's log residual, at least."""
_LEAST_SIZE: Final = 1e-12  # the square of a smaller one may be 0
_LEAST_SHARE: Final = 0.3  # of the median size: what had shrunk can grow again
_LEAST_PULL: Final = (
    0.05  # (log noise 0.4 / 2)^2: a term hardly seen is within a few times its prior
)
_OLDEST_HALF_LIVES: Final = 20.0  # a millionth: less would only cost precision
_FURTHEST: Final = 20.0  # times a target that a prediction counts as being off
_JITTER: Final = 1e-10  # of a term's own size: makes terms that never vary apart two
_SMALLEST_GAIN: Final = 1e-12  # of the largest moment: a term that helps less stays out


@compiled
def forgotten(
    observed_s: FloatArray, now_s: float, half_life_rows: float, half_life_s: float, row: int
) -> float:
    """Weigh a row, the oldest being first, by whichever clock calls it younger."""
    age_rows = (len(observed_s) - 1 - row) / half_life_rows
    age_s = max(now_s - observed_s[row], 0.0) / half_life_s
    return float(2.0 ** -min(age_rows, age_s, _OLDEST_HALF_LIVES))


@compiled
def all_forgotten(
    observed_s: FloatArray, now_s: float, half_life_rows: float, half_life_s: float,
    weight: FloatArray,
) -> None:  # fmt: skip
    """Write the weights of all rows by age."""
    for row in range(len(observed_s)):
        weight[row] = forgotten(observed_s, now_s, half_life_rows, half_life_s, row)


@compiled
def gather(
    rows: tuple[FloatArray, FloatArray, FloatArray, FloatArray],
    unit: FloatArray,
    log_scale: float,
    now_s: float,
    half_life_rows: float,
    half_life_s: float,
    start: int,
    design: FloatArray,
    target: FloatArray,
    weight: FloatArray,
) -> None:
    """Write an endpoint's rows, in units and at the fleet's speed, from a position on.

    Args:
        rows: Design, target, observed_s and weight, oldest first.
        unit: ``(n_terms,)`` what coefficients are multiples of.
        log_scale: The endpoint's log speed factor.
        now_s: When rows have no age.
        half_life_rows: Half-life by number.
        half_life_s: Half-life by time.
        start: Position.
        design: Gets ``(m, n_terms)``.
        target: Gets ``(m,)``.
        weight: Gets ``(m,)``.
    """
    raw_design, raw_target, observed_s, raw_weight = rows
    slowness = exp(-log_scale)
    for row in range(len(raw_target)):
        to = start + row
        for term in range(len(unit)):
            design[to, term] = raw_design[row, term] * unit[term]
        target[to] = raw_target[row] * slowness
        age = forgotten(observed_s, now_s, half_life_rows, half_life_s, row)
        weight[to] = raw_weight[row] * age


@compiled
def spread(
    design: FloatArray, target: FloatArray, coefficients: FloatArray, away: FloatArray
) -> float:
    """Give the median log residual of rows, and write how far each is away from it."""
    for row in range(len(target)):
        predicted = 0.0
        for term in range(len(coefficients)):
            predicted += design[row, term] * coefficients[term]
        away[row] = log(target[row] / max(predicted, 1e-9))
    middle = median(away, np.empty(len(away)))
    for row in range(len(target)):
        away[row] = abs(away[row] - middle)
    return middle


@compiled
def fit_nonnegative(
    design: FloatArray,
    target: FloatArray,
    weight: FloatArray,
    prior: FloatArray,
    ridge_rows: float,
    found: FloatArray,
) -> None:
    """Fit coefficients as :func:`predictor.fit.fit_nonnegative` says.

    Args:
        design: ``(m, k)`` non-negative terms.
        target: ``(m,)`` positive.
        weight: ``(m,)`` non-negative.
        prior: ``(k,)``.
        ridge_rows: What the prior weighs, in rows.
        found: Gets ``(k,)``.
    """
    m, k = design.shape
    pulls, rows = np.empty(k), np.empty(m)
    gram, moment, solution = np.empty((k, k)), np.empty(k), np.empty(k)
    set_pulls(design, target, weight, prior, ridge_rows, pulls)
    start = 0.0
    for term in range(k):
        found[term] = prior[term]
        start += prior[term]
    if start > 0.0:
        reweigh(design, target, weight, found, rows)
    else:
        for row in range(m):
            rows[row] = weight[row] / (target[row] * target[row])
    for _ in range(_ROUNDS):
        add_up(design, target, rows, gram, moment)
        for term in range(k):
            gram[term, term] += pulls[term]
            moment[term] += pulls[term] * prior[term]
        if not solve(gram, moment, solution):
            return
        for term in range(k):
            found[term] = solution[term]
        reweigh(design, target, weight, found, rows)


@compiled
def set_pulls(
    design: FloatArray, target: FloatArray, weight: FloatArray, prior: FloatArray,
    ridge_rows: float, pulls: FloatArray,
) -> None:  # fmt: skip
    """Write the pull toward each prior: by its term's share of the target where there is any."""
    usual = usual_size(prior)
    for term in range(len(prior)):
        present = share = 0.0
        for row in range(len(target)):
            if design[row, term] > 0:
                present += weight[row]
            part = design[row, term] / target[row]
            share += weight[row] * part * part
        size = max(prior[term], _LEAST_SHARE * usual) if prior[term] > 0 else usual
        pull = ridge_rows * share / max(present, 1e-12)
        pulls[term] = max(pull, _LEAST_PULL / (size * size))


@compiled
def usual_size(prior: FloatArray) -> float:
    """Give the median of the coefficients that are above 0, 1 without any."""
    known, above = np.empty(len(prior)), 0
    for term in range(len(prior)):
        if prior[term] > 0:
            known[above] = prior[term]
            above += 1
    if above == 0:
        return 1.0
    return max(median(known[:above], np.empty(above)), _LEAST_SIZE)


@compiled
def reweigh(
    design: FloatArray, target: FloatArray, weight: FloatArray, coefficients: FloatArray,
    rows: FloatArray,
) -> None:  # fmt: skip
    """Write weights that make squares of what is left squares of log residuals, robustly."""
    residual = np.empty(len(target))
    for row in range(len(target)):
        predicted = 0.0
        for term in range(len(coefficients)):
            predicted += design[row, term] * coefficients[term]
        predicted = min(max(predicted, target[row] / _FURTHEST), target[row] * _FURTHEST)
        residual[row] = abs(log(target[row] / predicted))
        rows[row] = weight[row] / (target[row] * predicted)
    middle = median(residual, np.empty(len(residual)))
    edge = _HUBER * max(1.48 * middle, MIN_SIGMA)
    for row in range(len(target)):
        rows[row] *= min(1.0, edge / max(residual[row], 1e-9))


@compiled
def add_up(
    design: FloatArray, target: FloatArray, rows: FloatArray, gram: FloatArray, moment: FloatArray
) -> None:
    """Write the normal equations of weighted rows."""
    for term in range(len(moment)):
        moment[term] = 0.0
        for other in range(len(moment)):
            gram[term, other] = 0.0
    for row in range(len(target)):
        for term in range(len(moment)):
            weighed = rows[row] * design[row, term]
            if weighed == 0.0:
                continue
            moment[term] += weighed * target[row]
            for other in range(term + 1):
                gram[term, other] += weighed * design[row, other]
    for term in range(len(moment)):
        for other in range(term):
            gram[other, term] = gram[term, other]


@compiled
def solve(gram: FloatArray, moment: FloatArray, solution: FloatArray) -> bool:
    """Write the non-negative solution of normal equations; ``False`` where there is none."""
    k = len(moment)
    scale, scaled, aim = np.empty(k), np.empty((k, k)), np.empty(k)
    for term in range(k):
        scale[term] = 1.0 / sqrt(gram[term, term])
    for term in range(k):
        for other in range(k):
            scaled[term, other] = gram[term, other] * scale[term] * scale[other]
        scaled[term, term] += _JITTER
        aim[term] = moment[term] * scale[term]
    if not least_squares(scaled, aim, solution):
        return False
    for term in range(k):
        solution[term] *= scale[term]
        if not isfinite(solution[term]):
            return False
    return True


@compiled
def least_squares(gram: FloatArray, moment: FloatArray, solution: FloatArray) -> bool:
    """Minimise ``x' G x / 2 - m' x`` over ``x >= 0``; ``False`` where it does not converge.

    Terms come in one by one, the one that would gain most first, and go out where the
    solution of those that are in would make them negative. Source: C. L. Lawson and
    R. J. Hanson, Solving Least Squares Problems, chapter 23, algorithm NNLS.
    """
    k = len(moment)
    inside = np.zeros(k, dtype=np.bool_)
    least = 0.0
    for term in range(k):
        solution[term] = 0.0
        least = max(least, _SMALLEST_GAIN * abs(moment[term]))
    for _ in range(10 * k):
        best = gains_most(gram, moment, solution, inside, least)
        if best < 0:
            return True
        inside[best] = True
        if not settle(gram, moment, solution, inside):
            return False
    return False


@compiled
def settle(gram: FloatArray, moment: FloatArray, solution: FloatArray, inside: Inside) -> bool:
    """Go to the solution of the terms inside, leaving behind those it would make negative."""
    trial = np.empty(len(moment))
    leaves = 0
    while leaves >= 0:
        if not solve_inside(gram, moment, inside, trial):
            return False
        step, leaves = first_to_leave(solution, trial, inside)
        for term in range(len(moment)):
            if inside[term]:
                solution[term] += step * (trial[term] - solution[term])
            if leaves >= 0 and (term == leaves or solution[term] <= 0.0):
                inside[term], solution[term] = False, 0.0
    return True


@compiled
def gains_most(
    gram: FloatArray, moment: FloatArray, solution: FloatArray, inside: Inside, least: float
) -> int:
    """Give the term outside that would gain most, -1 where none gains."""
    best = -1
    for term in range(len(moment)):
        if inside[term]:
            continue
        gain = moment[term]
        for other in range(len(moment)):
            gain -= gram[term, other] * solution[other]
        if gain > least:
            best, least = term, gain
    return best


@compiled
def first_to_leave(solution: FloatArray, trial: FloatArray, inside: Inside) -> tuple[float, int]:
    """Give how far one can go toward a trial, 0 to 1, and the term that stops it, -1 for none."""
    step, leaves = 1.0, -1
    for term in range(len(trial)):
        if inside[term] and trial[term] <= 0.0:
            possible = solution[term] / (solution[term] - trial[term])
            if leaves < 0 or possible < step:
                step, leaves = possible, term
    return step, leaves


@compiled
def solve_inside(gram: FloatArray, moment: FloatArray, inside: Inside, trial: FloatArray) -> bool:
    """Solve for the terms inside, by Cholesky's decomposition; ``False`` where it fails."""
    k = len(moment)
    root = np.zeros((k, k))
    if not decompose(gram, inside, root):
        return False
    for row in range(k):
        trial[row] = moment[row] if inside[row] else 0.0
        if inside[row]:
            for other in range(row):
                trial[row] -= root[row, other] * trial[other]
            trial[row] /= root[row, row]
    for row in range(k - 1, -1, -1):
        if inside[row]:
            for other in range(row + 1, k):
                trial[row] -= root[other, row] * trial[other]
            trial[row] /= root[row, row]
    return True


@compiled
def decompose(gram: FloatArray, inside: Inside, root: FloatArray) -> bool:
    """Write the lower root of the part of a matrix that is inside; ``False`` without one."""
    for row in range(len(inside)):
        if not inside[row]:
            continue
        for column in range(row + 1):
            if not inside[column]:
                continue
            left = gram[row, column]
            for other in range(column):
                left -= root[row, other] * root[column, other]
            if column < row:
                root[row, column] = left / root[column, column]
            elif left <= 0.0:
                return False
            else:
                root[row, row] = sqrt(left)
    return True
