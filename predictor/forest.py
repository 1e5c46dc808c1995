"""Several LightGBM models of the same inputs, predicted together by table look-up.

Walking trees costs a mispredicted branch a split. Here each input is placed once among
the thresholds that any tree has of it; a table says which leaves of every tree can still be
reached with that input in that place; of the leaves that all inputs leave, the first is the
one. The cost does not depend on the data; the numbers are LightGBM's but for the order of
a sum. This module lays the table out, :mod:`predictor.kernels.forest` reads it.

Source: C. Lucchese et al., QuickScorer (2015), with a row of masks for every threshold.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from predictor.kernels import forest as kernels
from predictor.kernels.compiled import plain
from predictor.kernels.forest import Masks, Tables
from predictor.tree_text import Integers, TreeArrays, parse_trees
from predictor.types import FloatArray

_MASKS: Final = {16: np.uint16, 32: np.uint32, 64: np.uint64}  # by the leaves they have bits for


class Forest:
    """Predict with models given as LightGBM's text, by name.

    Raises:
        ValueError: A text, named, is damaged, of another kind or of other inputs.

    Attributes:
        tables: What kernels predict with.

    >>> import lightgbm
    >>> data = lightgbm.Dataset(np.arange(100.0)[:, None], np.arange(100.0))
    >>> model = lightgbm.train({"objective": "l1", "verbose": -1, "num_threads": 1}, data, 5)
    >>> x = np.array([[3.0], [70.0]])
    >>> said = Forest({"a": model.model_to_string()}, n_inputs=1).predict(x)
    >>> bool(np.allclose(said[0], model.predict(x)))
    True
    """

    def __init__(self, texts: Mapping[str, str], *, n_inputs: int) -> None:
        self._n_inputs = n_inputs
        self.tables = _laid_out(*_trees(texts, n_inputs))

    def predict(self, inputs: FloatArray) -> FloatArray:
        """Give ``(n_models, n)`` from ``(n, n_inputs)``; NaN is LightGBM's own missing.

        Raises:
            ValueError: The inputs have another shape.
        """
        if inputs.shape[1:] != (self._n_inputs,):
            raise ValueError(f"inputs of shape {inputs.shape}")
        said = np.empty((len(inputs), len(self.tables.first_tree) - 1))
        kernels.predict(plain(inputs), self.tables, said)
        return said.T


def _trees(texts: Mapping[str, str], n_inputs: int) -> tuple[TreeArrays, Integers]:
    try:
        return parse_trees(list(texts.values()), n_inputs=n_inputs)
    except (ValueError, OverflowError) as error:
        if len(texts) > 1:
            for name, text in texts.items():  # which of them is it?
                _trees({name: text}, n_inputs)
        raise ValueError(f"trees of {', '.join(texts)}: {error}") from error


def _laid_out(trees: TreeArrays, first_tree: Integers) -> Tables:
    """Write the table: for each column rows of masks by the thresholds passed, last NaN's."""
    n_trees, n_leaves = trees.value.shape
    without_left = _without_left(trees, n_leaves)
    columns, column = np.unique(trees.feature, return_inverse=True)
    rising = np.lexsort((trees.threshold, column))
    rising = rising[trees.threshold[rising] < np.inf]  # splits that a value can pass
    threshold, passed_in = trees.threshold[rising], column[rising]
    differs = (np.diff(threshold, prepend=np.nan) != 0) | (np.diff(passed_in, prepend=-1) != 0)
    starts = np.searchsorted(passed_in[differs], np.arange(len(columns) + 1))
    first_row = 1 + starts[:-1] + 2 * np.arange(len(columns))
    nan_row = 2 + starts[1:] + 2 * np.arange(len(columns))
    masks = np.full((1 + starts[-1] + 2 * len(columns), n_trees), ~without_left.dtype.type(0))
    passed_row = 1 + np.cumsum(differs) + 2 * passed_in
    np.bitwise_and.at(masks, (passed_row, trees.tree[rising]), without_left[rising])
    for first, end in zip(first_row.tolist(), nan_row.tolist(), strict=True):
        np.bitwise_and.accumulate(masks[first:end], axis=0, out=masks[first:end])
    missing = trees.nan_right
    np.bitwise_and.at(masks, (nan_row[column[missing]], trees.tree[missing]), without_left[missing])
    return Tables(
        columns=columns.astype(np.intp),
        starts=starts,
        thresholds=threshold[differs],
        first_row=first_row,
        masks=masks,
        values=np.ascontiguousarray(trees.value),
        first_tree=first_tree,
    )


def _without_left(trees: TreeArrays, n_leaves: int) -> Masks:
    """Give, ``(n_splits,)``, masks of the leaves that remain where a value goes right."""
    mask = next(mask for size, mask in _MASKS.items() if n_leaves <= size)
    one = np.uint64(1)
    left = ((one << trees.count.astype(np.uint64)) - one) << trees.first.astype(np.uint64)
    return (~left).astype(mask)
