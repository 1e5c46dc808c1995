"""Trees by table look-up, as :mod:`predictor.forest` lays them out."""

from collections.abc import Callable
from math import isnan, nan
from typing import Any, NamedTuple, cast

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from predictor.features import N_FEATURES
from predictor.kernels.compiled import compiled
from predictor.kernels.physics import log_seconds
from predictor.kernels.terms import N_DESIGN, lay_out
from predictor.types import FloatArray

Masks = NDArray[np.unsignedinteger[Any]]
Integers = NDArray[np.intp]

lowest_bit = cast("Callable[[Any], int]", trailing_zeros)  # an intrinsic has no types


class Tables(NamedTuple):
    """Lay out trees for look-up.

    Attributes:
        columns: ``(n_columns,)`` the inputs that trees look at.
        starts: ``(n_columns + 1,)`` where the thresholds of each start.
        thresholds: ``(n_thresholds,)``, rising within a column.
        first_row: ``(n_columns,)`` first row of masks of each: one for a value beyond none
            of its thresholds, one for beyond the first, and so on, then one for NaN.
        masks: ``(n_rows, n_trees)`` bits of the leaves that are still possible; all of
            them in the first row.
        values: ``(n_trees, n_leaves)``.
        first_tree: ``(n_models + 1,)`` where the trees of each model start.
    """

    columns: Integers
    starts: Integers
    thresholds: FloatArray
    first_row: Integers
    masks: Masks
    values: FloatArray
    first_tree: Integers


@compiled
def row_of(value: float, column: int, tables: Tables) -> int:
    """Give the row of masks of a value in a column.

    All thresholds are compared: a search in halves would branch at random.
    """
    start, end = tables.starts[column], tables.starts[column + 1]
    passed = 0
    if isnan(value):
        passed = end - start + 1
    else:
        for place in range(start, end):
            passed += int(tables.thresholds[place] < value)
    return int(tables.first_row[column] + passed)


@compiled
def all_equal(inputs: FloatArray, column: int) -> bool:
    """Tell whether all rows have the same value there."""
    first = inputs[0, column]
    for row in range(1, len(inputs)):
        value = inputs[row, column]
        if value != first and not (isnan(value) and isnan(first)):
            return False
    return True


@compiled
def predict(inputs: FloatArray, tables: Tables, said: FloatArray) -> None:
    """Write ``(n, n_models)`` of ``n`` rows; what all rows share is looked up once."""
    masks = tables.masks
    n_trees, n_columns = masks.shape[1], len(tables.columns)
    shared, left = np.empty(n_trees, masks.dtype), np.empty(n_trees, masks.dtype)
    varying, n_varying = np.empty(n_columns, dtype=np.intp), 0
    for tree in range(n_trees):
        shared[tree] = masks[0, tree]
    for row in range(min(len(inputs), 1)):
        for column in range(n_columns):
            if all_equal(inputs, tables.columns[column]):
                keep_possible(inputs, row, column, tables, shared)
            else:
                varying[n_varying] = column
                n_varying += 1
    for row in range(len(inputs)):
        for tree in range(n_trees):
            left[tree] = shared[tree]
        for which in range(n_varying):
            keep_possible(inputs, row, varying[which], tables, left)
        add_up(left, row, tables, said)


@compiled
def keep_possible(inputs: FloatArray, row: int, column: int, tables: Tables, left: Masks) -> None:
    """Take from ``left``, ``(n_trees,)``, the leaves that a value in a column rules out."""
    mask_row = row_of(inputs[row, tables.columns[column]], column, tables)
    for tree in range(len(left)):
        left[tree] &= tables.masks[mask_row, tree]


@compiled
def add_up(left: Masks, row: int, tables: Tables, said: FloatArray) -> None:
    """Write each model's sum over its trees' first possible leaves."""
    for model in range(len(tables.first_tree) - 1):
        total = 0.0
        for tree in range(tables.first_tree[model], tables.first_tree[model + 1]):
            total += tables.values[tree, lowest_bit(left[tree])]
        said[row, model] = total


@compiled
def boosted(
    features: FloatArray,
    coefficients: FloatArray,
    places: Integers,
    columns: Integers,
    starts: Integers,
    thresholds: FloatArray,
    first_row: Integers,
    masks: Masks,
    values: FloatArray,
    first_tree: Integers,
    models: Integers,
    log_prior: FloatArray,
    said: FloatArray,
) -> None:
    """Predict ``n`` rows by frozen physics and the trees that stand on it.

    Args:
        features: ``(n, N_FEATURES)``.
        coefficients: ``(n_places, 3, N_DESIGN)`` of that physics.
        places: ``(n,)`` places of the endpoints in these.
        columns: Of the trees' :class:`Tables`, as the next ones: a tuple costs more to pass.
        starts: Of the trees.
        thresholds: Of the trees.
        first_row: Of the trees.
        masks: Of the trees.
        values: Of the trees.
        first_tree: Of the trees.
        models: ``(n_models,)`` column in ``said`` of each model; even ones are ratios.
        log_prior: Gets ``(n, 2)`` log seconds by physics.
        said: Gets ``(n, 4)`` log seconds, NaN in columns without a model.
    """
    n, n_inputs = len(features), N_FEATURES + 2
    inputs, raw = np.empty((n, n_inputs)), np.empty((n, len(models)))
    log_priors(features, coefficients, places, log_prior)
    tree_inputs(features, log_prior, inputs)
    tables = Tables(columns, starts, thresholds, first_row, masks, values, first_tree)
    if len(models):
        predict(inputs, tables, raw)
    for row in range(n):
        for column in range(said.shape[1]):
            said[row, column] = nan
        for model in range(len(models)):
            column = models[model]
            base = log_prior[row, column // 2] if column % 2 == 0 else 0.0
            said[row, column] = raw[row, model] + base


@compiled
def log_priors(
    features: FloatArray, coefficients: FloatArray, places: Integers, log_prior: FloatArray
) -> None:
    """Write ``(n, 2)`` log seconds of ``n`` rows by their endpoints' own coefficients."""
    design = np.empty(N_DESIGN)
    for row in range(len(features)):
        lay_out(features, row, design)
        for target in range(2):
            log_prior[row, target], _ = log_seconds(design, coefficients, places[row], target)


@compiled
def tree_inputs(features: FloatArray, log_prior: FloatArray, inputs: FloatArray) -> None:
    """Lay feature rows and physics' ``(n, 2)`` log seconds side by side."""
    for row in range(len(features)):
        for column in range(N_FEATURES):
            inputs[row, column] = features[row, column]
        for target in range(2):
            inputs[row, N_FEATURES + target] = log_prior[row, target]
