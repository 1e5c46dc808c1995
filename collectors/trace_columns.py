"""From many records' cells to a column of Arrow, in a few calls a thousand rows.

Decides how a column of each Arrow type is made. Cells are as the vocabulary has them, one a
row, ``None`` where unknown; what a client may have written beyond all bounds is clipped or
replaced, for it must not break a file. Called by :mod:`collectors.trace_schema`.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from predictor.types import LEVELS

TEXT: Final = pa.string()
SECONDS: Final = pa.float64()
COUNT: Final = pa.int64()
FLAG: Final = pa.bool_()
HASH: Final = pa.uint64()
"""Made of text, which is not kept."""
HASHES: Final = pa.list_(pa.uint64())
NAMES: Final = pa.list_(pa.string())
VECTOR: Final = pa.list_(pa.float32())
MATRIX: Final = pa.list_(pa.list_(pa.float32()))
FEATURES: Final = pa.list_(pa.float64())

_UINT64: Final = (1 << 64) - 1
_INT64: Final = (1 << 63) - 1
_NO_NUMBERS: Final = np.empty(0)
_NO_ROWS: Final = np.empty((0, 0))
_NO_QUANTILES: Final = np.empty((2, len(LEVELS), 0))


def seconds(cells: Sequence[float | None]) -> pa.Array:
    """Make a column of :data:`SECONDS`."""
    return pa.array(cells, type=SECONDS)


def flags(cells: Sequence[bool | None]) -> pa.Array:
    """Make a column of :data:`FLAG`."""
    return pa.array(cells, type=FLAG)


def texts(cells: Sequence[str | None]) -> pa.Array:
    """Make a column of :data:`TEXT`."""
    try:
        return pa.array(cells, type=TEXT)
    except UnicodeEncodeError:  # halves of characters are no text
        known = [None if cell is None else cell.encode(errors="replace") for cell in cells]
        return pa.array([None if cell is None else cell.decode() for cell in known], type=TEXT)


def counts(cells: Sequence[int | None]) -> pa.Array:
    """Make a column of :data:`COUNT`.

    >>> counts([7, None, 1 << 70]).to_pylist()
    [7, None, 9223372036854775807]
    """
    try:
        return pa.array(cells, type=COUNT)
    except OverflowError:
        kept = [None if cell is None else max(-_INT64, min(cell, _INT64)) for cell in cells]
        return pa.array(kept, type=COUNT)


def hashes_of_text(cells: Sequence[str | None]) -> pa.Array:
    """Make a column of :data:`HASH`."""
    hashes = [
        None if cell is None else xxhash.xxh3_64_intdigest(cell.encode(errors="replace"))
        for cell in cells
    ]
    return pa.array(hashes, type=HASH)


def hash_lists(cells: Sequence[Sequence[int]]) -> pa.Array:
    """Make a column of :data:`HASHES`."""
    lengths = list(map(len, cells))
    numbers = chain.from_iterable(cells)
    try:
        values: NDArray[np.uint64] = np.fromiter(numbers, np.uint64, sum(lengths))
    except OverflowError:
        clipped = (number & _UINT64 for number in chain.from_iterable(cells))
        values = np.fromiter(clipped, np.uint64, sum(lengths))
    return _lists(lengths, pa.array(values), None)


def name_lists(cells: Sequence[tuple[str, ...] | None]) -> pa.Array:
    """Make a column of :data:`NAMES`: successive requests choose among the same."""
    if cells and cells.count(cells[0]) == len(cells):
        return pa.repeat(pa.array(cells[:1], type=NAMES)[0], len(cells))
    names = list(chain.from_iterable(cell or () for cell in cells))
    lengths = [0 if cell is None else len(cell) for cell in cells]
    unknown = missing(cells) if None in cells else None
    return _lists(lengths, pa.array(names, type=TEXT), unknown)


def vectors(cells: Sequence[NDArray[Any] | None], dtype: type = np.float32) -> pa.Array:
    """Make a column of ``(n,)`` arrays in one copy: by far most numbers are in these."""
    whole, unknown = _filled(cells, _NO_NUMBERS)
    values: NDArray[Any] = np.concatenate([_NO_NUMBERS, *whole]).astype(dtype, copy=False)
    return _lists(list(map(len, whole)), pa.array(values), unknown)


def feature_rows(cells: Sequence[NDArray[Any] | None]) -> pa.Array:
    """Make a column of :data:`FEATURES`."""
    return vectors(cells, np.float64)


def matrices(cells: Sequence[NDArray[Any] | None]) -> pa.Array:
    """Make a column of ``(n, k)`` arrays likewise."""
    whole, unknown = _filled(cells, _NO_ROWS)
    try:
        joined = np.concatenate(whole)
        widths = np.full(len(joined), joined.shape[1])
    except ValueError:  # not of one width, or none at all
        joined = np.concatenate([_NO_NUMBERS, *[cell.reshape(-1) for cell in whole]])
        widths = np.repeat([cell.shape[1] for cell in whole], list(map(len, whole)))
    rows = _lists(widths, pa.array(joined.astype(np.float32).reshape(-1)), None)
    return _lists(list(map(len, whole)), rows, unknown)


def quantiles(cells: Sequence[NDArray[Any] | None], level: int) -> tuple[pa.Array, pa.Array]:
    """Make two columns, one a target, of one level of ``(2, n_levels, n)`` arrays."""
    whole, unknown = _filled(cells, _NO_QUANTILES)
    lengths = [cell.shape[2] for cell in whole]
    try:
        joined = np.concatenate(whole)
        by_target = [joined[target::2, level].reshape(-1) for target in range(2)]
    except ValueError:  # not of one size, or none at all
        by_target = [
            np.concatenate([_NO_NUMBERS, *[cell[target, level] for cell in whole]])
            for target in range(2)
        ]
    ttft, tpot = (
        _lists(lengths, pa.array(values.astype(np.float32)), unknown) for values in by_target
    )
    return ttft, tpot


def _filled(
    cells: Sequence[NDArray[Any] | None], filler: NDArray[Any]
) -> tuple[Sequence[NDArray[Any]], pa.Array | None]:
    """Put empty arrays where there is none, and mark these."""
    known = [cell for cell in cells if cell is not None]
    if len(known) == len(cells):
        return known, None
    return [filler if cell is None else cell for cell in cells], missing(cells)


def _lists(
    lengths: Sequence[int] | NDArray[Any], values: pa.Array, unknown: pa.Array | None
) -> pa.Array:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=unknown)


def missing(cells: Sequence[object]) -> pa.Array:
    """Mark the cells that are unknown."""
    return pa.array([cell is None for cell in cells], type=FLAG)
