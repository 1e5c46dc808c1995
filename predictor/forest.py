"""Several LightGBM models of the same inputs, predicted together by table look-up.

Walking trees costs a mispredicted branch a split. Here each input is placed once among
all thresholds of all trees; a table says which leaves of every tree can still be reached
with that input in that place; of the leaves that all inputs leave, the first is the one.
The cost does not depend on the data; the numbers are LightGBM's but for the order of a sum.

Source: C. Lucchese et al., QuickScorer (2015), with a row of masks for every threshold.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.tree_text import Integers, TreeArrays, joined, parse_trees
from predictor.types import FloatArray

Masks = NDArray[np.unsignedinteger]

_BLOCK: Final = 16  # rows whose masks a core's own cache holds together
_MASKS: Final = {16: np.uint16, 32: np.uint32, 64: np.uint64}  # by the leaves they have bits for


class Forest:
    """Predict with models given as LightGBM's text, by name.

    Raises:
        ValueError: A text, named, is damaged, of another kind or of other inputs.

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
        models = []
        for name, text in texts.items():
            try:
                models.append(parse_trees(text, n_inputs=n_inputs))
            except (ValueError, OverflowError) as error:
                raise ValueError(f"trees of {name}: {error}") from error
        counts = np.array([len(model.value) for model in models])
        self._model = counts.cumsum() - counts  # the first tree of each
        self._lay_out(joined(models))

    def predict(self, inputs: FloatArray) -> FloatArray:
        """Give ``(n_models, n)`` from ``(n, n_inputs)``; NaN is LightGBM's own missing.

        Raises:
            ValueError: The inputs have another shape.
        """
        if inputs.shape[1:] != (self._n_inputs,):
            raise ValueError(f"inputs of shape {inputs.shape}")
        rows = self._mask_rows(inputs)
        masks: Masks = np.empty((len(inputs), len(self._leaf)), dtype=self._masks.dtype)
        for start in range(0, len(inputs), _BLOCK):
            block = slice(start, start + _BLOCK)
            np.bitwise_and.reduce(self._masks.take(rows[block], axis=0), axis=1, out=masks[block])
        lowest_bit = np.frexp(masks & -masks)[1]  # counted from 1
        values = self._value.take(lowest_bit + self._leaf)
        said: FloatArray = np.add.reduceat(values, self._model, axis=1).T
        return said

    def _mask_rows(self, inputs: FloatArray) -> Integers:
        """Give, ``(n, n_columns)``, where in the table the masks of each input are."""
        values = inputs.take(self._columns, axis=1).ravel()
        order = values.view(np.int64).argsort()  # nearly theirs; a search in order is faster
        place = np.empty(len(values), dtype=np.intp)
        place[order] = self._grid.searchsorted(values[order])
        rows: Integers = self._row.take(
            place.reshape(len(inputs), len(self._columns)) + self._row_start
        )
        return rows

    def _lay_out(self, trees: TreeArrays) -> None:
        """Write the table: rows of masks by column and place, one mask for each tree."""
        n_trees, n_leaves = trees.value.shape
        self._value = trees.value.ravel()
        self._leaf = np.arange(n_trees) * n_leaves - 1
        self._columns, column = np.unique(trees.feature, return_inverse=True)
        self._grid = np.unique(np.append(trees.threshold, np.inf))  # so that only NaN is behind
        place = self._grid.searchsorted(trees.threshold)
        passable = trees.threshold < np.inf
        own = np.zeros((len(self._columns), len(self._grid)), dtype=bool)
        own[column[passable], place[passable]] = True
        rows, starts = _rows(own)
        self._row = rows.ravel().astype(np.min_scalar_type(starts[-1]))  # small stays cached
        self._row_start = np.arange(len(rows)) * rows.shape[1]
        without_left = _without_left(trees, n_leaves)
        self._masks: Masks = np.full((starts[-1], n_trees), ~without_left.dtype.type(0))
        behind = rows[column[passable], place[passable] + 1]
        np.bitwise_and.at(self._masks, (behind, trees.tree[passable]), without_left[passable])
        for start, end in pairwise(starts.tolist()):
            for row in range(start + 1, end - 1):  # the last is for a missing value
                self._masks[row] &= self._masks[row - 1]
        missing = rows[column, -1]
        right = trees.nan_right
        np.bitwise_and.at(self._masks, (missing[right], trees.tree[right]), without_left[right])


def _rows(own: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Number the table's rows: for each column one by thresholds passed, one for NaN.

    Args:
        own: ``(n_columns, n_places)`` whether the threshold there is one of the column's.

    Returns:
        ``(n_columns, n_places + 1)`` the row by the place of a value, which is the number
        of thresholds below it, last NaN's; and where each column's rows start, and the end.
    """
    passed = np.zeros((len(own), own.shape[1] + 1), dtype=np.intp)
    np.cumsum(own, axis=1, out=passed[:, 1:])
    passed[:, -1] += 1
    starts = np.concatenate(([0], np.cumsum(passed[:, -1] + 1)))
    return passed + starts[:-1, None], starts


def _without_left(trees: TreeArrays, n_leaves: int) -> Masks:
    """Give, ``(n_splits,)``, masks of the leaves that remain where a value goes right."""
    mask = next(mask for size, mask in _MASKS.items() if n_leaves <= size)
    one = np.uint64(1)
    left = ((one << trees.count.astype(np.uint64)) - one) << trees.first.astype(np.uint64)
    return (~left).astype(mask)
