"""LightGBM's text form of a model, read into arrays: what a :class:`Forest` is built of.

Only what this code trains is read: one output, absolute error, splits by ``<=``. The
library's own reader ends the process at some damaged texts; this one refuses them.
Source: LightGBM 4.6, ``src/boosting/gbdt_model_text.cpp``, ``src/io/tree.cpp``
(``Tree::ToString``) and ``include/LightGBM/tree.h`` (``NumericalDecision``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from predictor.types import FloatArray

Integers = NDArray[np.intp]
Number = TypeVar("Number")

MAX_LEAVES: Final = 64
"""Leaves of a tree, at most: a mask of them is one machine word."""

_CATEGORICAL, _DEFAULT_LEFT, _ZERO_MISSING, _NAN_MISSING = 1, 2, 4, 8  # bits of decision_type
_FIELDS: Final = (
    "num_leaves",
    "split_feature",
    "threshold",
    "decision_type",
    "left_child",
    "right_child",
    "leaf_value",
    "is_linear",
)
_INTEGERS: Final = msgspec.json.Decoder(list[int])
_NUMBERS: Final = msgspec.json.Decoder(list[float | None])


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeArrays:
    """Hold trees of one or several models; the splits of all trees behind each other.

    The leaves of a tree are numbered from left to right.

    Attributes:
        tree: ``(n_splits,)`` tree each split is in.
        feature: ``(n_splits,)`` column it looks at.
        threshold: ``(n_splits,)``; what is above goes right. Infinity tells only unknown
            from known.
        nan_right: ``(n_splits,)`` whether a missing value goes right.
        first: ``(n_splits,)`` first of the leaves on its left.
        count: ``(n_splits,)`` number of these.
        value: ``(n_trees, most leaves)`` by leaf, NaN where a tree has fewer.
    """

    tree: Integers
    feature: Integers
    threshold: FloatArray
    nan_right: NDArray[np.bool_]
    first: Integers
    count: Integers
    value: FloatArray


def parse_trees(texts: Sequence[str], *, n_inputs: int) -> tuple[TreeArrays, Integers]:
    """Read models of ``n_inputs`` inputs together: what NumPy's calls cost is paid once.

    Returns:
        The trees of all behind each other, and ``(n_models + 1,)`` where those of each start.

    Raises:
        ValueError: One is damaged, or of another kind.

    >>> import lightgbm
    >>> data = lightgbm.Dataset(np.arange(100.0)[:, None], np.arange(100.0))
    >>> options = {"objective": "l1", "verbose": -1, "num_threads": 1, "num_leaves": 2}
    >>> model = lightgbm.train(options, data, 3).model_to_string()
    >>> trees, starts = parse_trees([model, model], n_inputs=1)
    >>> starts, trees.feature, trees.threshold.shape, trees.count, trees.value.shape
    (array([0, 3, 6]), array([0, 0, 0, 0, 0, 0]), (6,), array([1, 1, 1, 1, 1, 1]), (6, 2))
    """
    models = [_trees(text, n_inputs) for text in texts]
    starts = np.cumsum([0, *map(len, models)])
    trees = list(chain.from_iterable(models))
    return (_arrays(trees, n_inputs) if trees else _nothing()), starts


def _trees(text: str, n_inputs: int) -> list[str]:
    """Take a model's text apart."""
    body, end, _ = text.partition("\nend of trees\n")
    if not end:
        raise ValueError("no LightGBM model, or not all of one")
    header, *trees = body.split("\n\nTree=")
    _check_header(header, len(trees), n_inputs)
    return trees


def _arrays(trees: Sequence[str], n_inputs: int) -> TreeArrays:
    fields = _fields(trees)
    leaves = _integers(fields, "num_leaves", np.ones(len(trees), dtype=np.intp))
    if not 1 <= leaves.min() <= leaves.max() <= MAX_LEAVES:
        raise ValueError(f"a tree has from 1 to {MAX_LEAVES} leaves")
    is_split = np.arange(leaves.max() - 1) < leaves[:, None] - 1
    tree, split = np.nonzero(is_split)
    splits = leaves - 1
    decision = _integers(fields, "decision_type", splits)
    if (decision & (_CATEGORICAL | _ZERO_MISSING)).any() or "1" in fields["is_linear"]:
        raise ValueError("splits by category, zeros as missing, or linear leaves")
    feature = _integers(fields, "split_feature", splits)
    if ((feature < 0) | (feature >= n_inputs)).any():
        raise ValueError("splits by inputs that there are not")
    threshold = _numbers(fields, "threshold", splits)
    sides = [_integers(fields, side, splits) for side in ("left_child", "right_child")]
    below = np.stack([_padded(children, is_split) for children in sides])
    _check_shape(below, leaves, is_split)
    first, size = _spans(*below)
    left = below[0, tree, split]
    nan_left = np.where(decision & _NAN_MISSING, decision & _DEFAULT_LEFT, threshold >= 0.0)
    return TreeArrays(
        tree=tree,
        feature=feature,
        threshold=threshold,
        nan_right=nan_left == 0,
        first=first[tree, left],
        count=size[tree, left],
        value=_values(_numbers(fields, "leaf_value", leaves), leaves, first),
    )


def _nothing() -> TreeArrays:
    none = np.empty(0, dtype=np.intp)
    return TreeArrays(
        tree=none,
        feature=none,
        threshold=np.empty(0),
        nan_right=np.empty(0, dtype=np.bool_),
        first=none,
        count=none,
        value=np.empty((0, 1)),
    )


def _check_header(header: str, n_trees: int, n_inputs: int) -> None:
    first, *lines = header.split("\n")
    if first != "tree":
        raise ValueError("no LightGBM model")
    said = {name: value for name, _, value in (line.partition("=") for line in lines)}
    wanted = {
        "version": "v4",
        "num_class": "1",
        "num_tree_per_iteration": "1",
        "max_feature_idx": str(n_inputs - 1),
        "objective": "regression_l1",
    }
    for name, value in wanted.items():
        if said.get(name) != value:
            raise ValueError(f"{name} is {said.get(name)}, not {value}")
    if "average_output" in said:
        raise ValueError("gives the mean of its trees")
    if n_trees == 0 or len(said.get("tree_sizes", "").split()) != n_trees:
        raise ValueError("trees are missing")


def _check_shape(below: Integers, leaves: Integers, is_split: NDArray[np.bool_]) -> None:
    """See that every split but the first, and every leaf, is below one split before it."""
    n_trees, n_splits = is_split.shape
    expected = np.zeros((n_trees, 2 * n_splits + 2), dtype=np.intp)
    expected[:, 1:n_splits] = is_split[:, 1:]
    expected[:, n_splits:-1] = (np.arange(n_splits + 1) < leaves[:, None]) & (leaves > 1)[:, None]
    tree, split = np.nonzero(is_split)
    children = below[:, tree, split]
    found = np.zeros_like(expected)
    inside = (split < children) & (children < expected.shape[1] - 1)
    if inside.all():
        np.add.at(found, (tree, children), 1)
    if (found != expected).any():
        raise ValueError("splits do not make trees")


def _spans(left: Integers, right: Integers) -> tuple[Integers, Integers]:
    """Give the first leaf and the number of leaves below each split, leaf and nothing.

    Both are ``(n_trees, n_splits + n_leaves + 1)``, which is how :func:`_padded` numbers
    children. A split is numbered above its parent: LightGBM numbers in order of growth.
    """
    n_trees, n_splits = left.shape
    trees = np.arange(n_trees)
    size = np.ones((n_trees, 2 * n_splits + 2), dtype=np.intp)
    size[:, -1] = 0
    for split in reversed(range(n_splits)):
        size[:, split] = size[trees, left[:, split]] + size[trees, right[:, split]]
    first = np.zeros_like(size)
    for split in range(n_splits):
        first[trees, left[:, split]] = first[:, split]
        first[trees, right[:, split]] = first[:, split] + size[trees, left[:, split]]
    return first, size


def _padded(children: Integers, is_split: NDArray[np.bool_]) -> Integers:
    """Lay children out as ``(n_trees, n_splits)``: splits, then leaves, last for none."""
    padded = np.full(is_split.shape, -1)
    padded[is_split] = np.where(children >= 0, children, is_split.shape[1] - 1 - children)
    return padded


def _values(values: FloatArray, leaves: Integers, first: Integers) -> FloatArray:
    """Lay the values of leaves out as ``(n_trees, n_leaves)``, from left to right."""
    most = leaves.max()
    is_leaf = np.arange(most) < leaves[:, None]
    ordered = np.full(is_leaf.shape, np.nan)
    ordered[np.nonzero(is_leaf)[0], first[:, most - 1 : -1][is_leaf]] = values
    return ordered


def _fields(trees: Sequence[str]) -> dict[str, list[str]]:
    """Gather what is read of all trees by name."""
    fields: dict[str, list[str]] = {name: [] for name in _FIELDS}
    for tree in trees:
        for line in tree.split("\n"):
            name, _, value = line.partition("=")
            if name in fields:
                fields[name].append(value)
    return fields


def _integers(fields: Mapping[str, list[str]], name: str, counts: Integers) -> Integers:
    return np.array(_read(_INTEGERS, fields, name, counts), dtype=np.intp)


def _numbers(fields: Mapping[str, list[str]], name: str, counts: Integers) -> FloatArray:
    numbers = np.array(_read(_NUMBERS, fields, name, counts), dtype=np.float64)
    numbers[np.isnan(numbers)] = np.inf
    return numbers


def _read(
    decoder: msgspec.json.Decoder[list[Number]],
    fields: Mapping[str, list[str]],
    name: str,
    counts: Integers,
) -> list[Number]:
    """Read a field of ``(n_trees,)`` numbers each as JSON: a quarter of the time NumPy takes.

    JSON knows no infinity: it is read as null.
    """
    words = [value.split() for value in fields[name]]
    found = [len(each) for each in words if each]
    if found != counts[counts > 0].tolist():
        raise ValueError(f"{sum(found)} of {counts.sum()} {name}")
    text = ",".join(chain.from_iterable(words))
    if "null" in text:
        raise ValueError(f"{name} is not a number")
    try:
        return decoder.decode(f"[{text}]".replace("inf", "null"))
    except msgspec.DecodeError as error:
        raise ValueError(f"{name} is not a number") from error
