"""LightGBM's text form of a model, read into arrays: what a :class:`Forest` is built of.

Only what this code trains is read: one output, absolute error, splits by ``<=``. The
library's own reader ends the process at some damaged texts; this one refuses them.
Source: LightGBM 4.6, ``src/boosting/gbdt_model_text.cpp``, ``src/io/tree.cpp``
(``Tree::ToString``) and ``include/LightGBM/tree.h`` (``NumericalDecision``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.types import FloatArray

Integers = NDArray[np.intp]

MAX_LEAVES: Final = 64
"""Leaves of a tree, at most: a mask of them is one machine word."""

_CATEGORICAL, _DEFAULT_LEFT, _ZERO_MISSING, _NAN_MISSING = 1, 2, 4, 8  # bits of decision_type


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeArrays:
    """Hold the trees of a model; the splits of all trees behind each other.

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


def parse_trees(text: str, *, n_inputs: int) -> TreeArrays:
    """Read a model of ``n_inputs`` inputs.

    Raises:
        ValueError: It is damaged, or of another kind.

    >>> import lightgbm
    >>> data = lightgbm.Dataset(np.arange(100.0)[:, None], np.arange(100.0))
    >>> options = {"objective": "l1", "verbose": -1, "num_threads": 1, "num_leaves": 2}
    >>> trees = parse_trees(lightgbm.train(options, data, 3).model_to_string(), n_inputs=1)
    >>> trees.feature, trees.threshold.shape, trees.count, trees.value.shape
    (array([0, 0, 0]), (3,), array([1, 1, 1]), (3, 2))
    """
    body, end, _ = text.partition("\nend of trees\n")
    if not end:
        raise ValueError("no LightGBM model, or not all of one")
    header, *trees = body.split("\n\nTree=")
    _check_header(header, len(trees), n_inputs)
    fields = _fields(trees)
    leaves = _integers(fields, "num_leaves", len(trees))
    if not 1 <= leaves.min() <= leaves.max() <= MAX_LEAVES:
        raise ValueError(f"a tree has from 1 to {MAX_LEAVES} leaves")
    is_split = np.arange(leaves.max() - 1) < leaves[:, None] - 1
    tree, split = np.nonzero(is_split)
    n_splits = len(tree)
    decision = _integers(fields, "decision_type", n_splits)
    if (decision & (_CATEGORICAL | _ZERO_MISSING)).any() or "1" in fields.get("is_linear", ()):
        raise ValueError("splits by category, zeros as missing, or linear leaves")
    feature = _integers(fields, "split_feature", n_splits)
    if ((feature < 0) | (feature >= n_inputs)).any():
        raise ValueError("splits by inputs that there are not")
    threshold = _numbers(fields, "threshold", n_splits)
    sides = [_integers(fields, side, n_splits) for side in ("left_child", "right_child")]
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
        value=_values(_numbers(fields, "leaf_value", leaves.sum().item()), leaves, first),
    )


def joined(models: Sequence[TreeArrays]) -> TreeArrays:
    """Put the trees of several models behind each other."""
    models = models or [_nothing()]
    counts = [len(model.value) for model in models]
    starts = np.cumsum([0, *counts])
    value = np.full((starts[-1], max(model.value.shape[1] for model in models)), np.nan)
    for model, start in zip(models, starts, strict=False):
        value[start : start + len(model.value), : model.value.shape[1]] = model.value
    return TreeArrays(
        tree=np.concatenate(
            [model.tree + start for model, start in zip(models, starts, strict=False)]
        ),
        feature=np.concatenate([model.feature for model in models]),
        threshold=np.concatenate([model.threshold for model in models]),
        nan_right=np.concatenate([model.nan_right for model in models]),
        first=np.concatenate([model.first for model in models]),
        count=np.concatenate([model.count for model in models]),
        value=value,
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
    """Gather the fields of all trees by name."""
    fields: dict[str, list[str]] = {}
    for tree in trees:
        for line in tree.split("\n"):
            name, _, value = line.partition("=")
            fields.setdefault(name, []).append(value)
    return fields


def _integers(fields: Mapping[str, list[str]], name: str, count: int) -> Integers:
    return np.array(_words(fields, name, count), dtype=np.intp)


def _numbers(fields: Mapping[str, list[str]], name: str, count: int) -> FloatArray:
    numbers = np.array(_words(fields, name, count), dtype=np.float64)
    if np.isnan(numbers).any():
        raise ValueError(f"{name} is not a number")
    return numbers


def _words(fields: Mapping[str, list[str]], name: str, count: int) -> list[str]:
    words = " ".join(fields.get(name, ())).split()
    if len(words) != count:
        raise ValueError(f"{len(words)} of {count} {name}")
    return words
