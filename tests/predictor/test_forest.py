"""Forest: says what LightGBM says of any row, and refuses what it would read otherwise."""

import re
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from predictor.forest import Forest
from predictor.types import FloatArray

N_INPUTS = 4


def table(n: int, *, seed: int = 0) -> FloatArray:
    """Draw columns of four kinds: some unknown, whole numbers, both signs, only two values."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((n, N_INPUTS))
    inputs[::7, 0] = np.nan
    inputs[:, 1] = rng.integers(0, 9, n)
    inputs[:, 3] = rng.integers(0, 2, n)
    return inputs


def model(*, trees: int = 20, rows: int = 600, seed: int = 0, **options: Any) -> lightgbm.Booster:
    inputs = table(rows, seed=seed)
    labels = np.where(np.isnan(inputs[:, 0]), 3.0, inputs[:, 0]) + np.sin(3 * inputs).sum(axis=1)
    given = {"objective": "l1", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 3} | options
    data = lightgbm.Dataset(inputs, np.nan_to_num(labels), params=given)
    return lightgbm.train(given, data, trees)


def forest(*models: lightgbm.Booster) -> Forest:
    texts = {str(index): booster.model_to_string() for index, booster in enumerate(models)}
    return Forest(texts, n_inputs=N_INPUTS)


def continued() -> lightgbm.Booster:
    return lightgbm.train(
        {"objective": "l1", "verbose": -1, "num_threads": 1},
        lightgbm.Dataset(table(99, seed=5), np.arange(99.0)),
        5,
        init_model=model(num_leaves=15),
    )


def known_or_not() -> lightgbm.Booster:
    return lightgbm.train(
        {"objective": "l1", "verbose": -1, "num_threads": 1},
        lightgbm.Dataset(table(600), np.isnan(table(600)[:, 0]) + 0.1 * table(600)[:, 1]),
        20,
    )


KINDS: dict[str, Callable[[], lightgbm.Booster]] = {
    "two leaves": partial(model, num_leaves=2),
    "15 leaves": partial(model, num_leaves=15),
    "16 leaves": partial(model, num_leaves=16),
    "31 leaves": partial(model, num_leaves=31),
    "64 leaves": partial(model, num_leaves=64),
    "deep": partial(model, num_leaves=40, max_depth=-1, learning_rate=0.5, seed=3),
    "continued": continued,
    "known or not": known_or_not,
    "nothing to learn": partial(model, rows=9, min_data_in_leaf=20),
}


@cache
def trained(kind: str) -> lightgbm.Booster:
    """Train when first asked: importing this module must not."""
    return KINDS[kind]()


def text_of(kind: str) -> str:
    return trained(kind).model_to_string()


VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 0.5, 1.0, 3.5, 1e-36, -1e-36]),
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(inputs=arrays(float, st.tuples(st.integers(1, 40), st.just(N_INPUTS)), elements=VALUES))
def test_any_row_gets_what_the_library_gives_it(kind: str, inputs: FloatArray) -> None:
    booster = trained(kind)

    said = forest(booster).predict(inputs)

    np.testing.assert_allclose(said[0], booster.predict(inputs), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("n", [0, 1, 8, 15, 16, 17, 200])
def test_models_of_different_sizes_answer_together(n: int) -> None:
    inputs = table(n, seed=9)

    said = forest(*map(trained, KINDS)).predict(inputs)

    assert said.shape == (len(KINDS), n)
    for row, booster in zip(said, map(trained, KINDS), strict=True):
        expected = booster.predict(inputs) if n else np.empty(0)
        np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-12)


def test_a_value_on_a_threshold_goes_left_and_the_next_one_right() -> None:
    booster = trained("31 leaves")
    thresholds = [
        float(number)
        for line in booster.model_to_string().splitlines()
        if line.startswith("threshold=")
        for number in line.partition("=")[2].split()
        if abs(float(number)) > 1e-30  # the library takes what is closer to 0 as 0
    ]
    edges = np.repeat(np.array(thresholds)[:, None], N_INPUTS, axis=1)
    inputs = np.concatenate([edges, np.nextafter(edges, np.inf), np.nextafter(edges, -np.inf)])

    said = forest(booster).predict(inputs)

    np.testing.assert_allclose(said[0], booster.predict(inputs), rtol=1e-9, atol=1e-12)


def widened(text: str) -> str:
    """Make every threshold infinite; as long as it was, for the library goes by length."""
    return re.sub(
        r"^threshold=(.*)$",
        lambda line: "threshold=" + re.sub(r"\S+", lambda one: "inf".ljust(len(one[0])), line[1]),
        text,
        flags=re.MULTILINE,
    )


@pytest.mark.parametrize("kind", ["two leaves", "15 leaves", "known or not"])
def test_an_infinite_threshold_is_passed_by_nothing_known(kind: str) -> None:
    text = widened(text_of(kind))
    inputs = table(300)
    inputs[::5], inputs[1::5] = np.nan, np.inf

    said = Forest({"": text}, n_inputs=N_INPUTS).predict(inputs)

    expected = lightgbm.Booster(model_str=text).predict(inputs)
    np.testing.assert_allclose(said[0], expected, rtol=1e-9)
    assert len(set(said[0].round(9))) == 2


def test_the_library_does_write_infinite_thresholds() -> None:
    text = text_of("known or not")

    assert re.search(r"^threshold=.*\binf\b", text, re.MULTILINE)


def test_inputs_stay_as_they_are() -> None:
    inputs = table(20)
    before = inputs.copy()

    forest(trained("15 leaves")).predict(inputs)

    np.testing.assert_array_equal(inputs, before)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"num_leaves": 80}, "from 1 to 64 leaves"),
        ({"zero_as_missing": True}, "zeros as missing"),
        ({"categorical_feature": [1]}, "by category"),
        ({"linear_tree": True, "objective": "regression"}, "objective is regression"),
        ({"objective": "multiclass", "num_class": 2}, "num_class is 2"),
        ({"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}, "mean of its trees"),
    ],
)
def test_trees_of_another_kind_are_refused(options: dict[str, Any], why: str) -> None:
    inputs = table(3000)
    labels = (
        inputs[:, 3]
        if "num_class" in options
        else np.abs(inputs[:, 1] - 4) + np.sin(9 * inputs[:, 2])
    )
    given = {"objective": "l1", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 2} | options
    categorical = given.pop("categorical_feature", "auto")
    data = lightgbm.Dataset(inputs, labels, categorical_feature=categorical, params=given)
    text = lightgbm.train(given, data, 5).model_to_string()

    with pytest.raises(ValueError, match=f"trees of odd: .*{why}"):
        Forest({"odd": text}, n_inputs=N_INPUTS)


@pytest.mark.parametrize("text", ["", "tree", "tree\nversion=v4\n", "{}"])
def test_text_that_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="trees of odd: "):
        Forest({"odd": text}, n_inputs=N_INPUTS)


@given(st.data())
def test_text_that_ends_early_is_refused(data: st.DataObject) -> None:
    trees = text_of("15 leaves").partition("\nend of trees\n")[0]
    end = data.draw(st.integers(0, len(trees)))

    with pytest.raises(ValueError, match="trees of odd: "):
        Forest({"odd": trees[:end]}, n_inputs=N_INPUTS)


@pytest.mark.parametrize(
    ("line", "damaged", "why"),
    [
        ("num_leaves=15", "num_leaves=14", "280 of 279 decision_type"),
        ("num_leaves=15", "num_leaves=1000000000", "from 1 to 64 leaves"),
        ("left_child=1", "left_child=0", "do not make trees"),
        ("left_child=1", "left_child=99999999999999999999", ""),
        ("left_child=1", "left_child=900", "do not make trees"),
        ("left_child=1", "left_child=-900", "do not make trees"),
        ("threshold=", "threshold=1 ", "281 of 280 threshold"),
        ("threshold=-1.0000000180025095e-35 ", "threshold=nan ", "threshold is not a number"),
        ("leaf_value=", "leaf_value=1 ", "301 of 300 leaf_value"),
        ("leaf_value=", "leaf_value=null ", "leaf_value"),
        ("tree_sizes=", "tree_sizes=1 ", "trees are missing"),
        ("split_feature=0", "split_feature=9", "inputs that there are not"),
        ("split_feature=0", "split_feature=x", ""),
        ("decision_type=", "kind=", "0 of 280 decision_type"),
    ],
)
def test_damaged_text_is_refused(line: str, damaged: str, why: str) -> None:
    whole = text_of("15 leaves")
    text = whole.replace(line, damaged, -1 if why.startswith("0 of") else 1)
    assert text != whole

    with pytest.raises(ValueError, match=f"trees of odd: .*{why}"):
        Forest({"odd": text}, n_inputs=N_INPUTS)


def test_of_several_models_the_damaged_one_is_named() -> None:
    texts = {"first": text_of("15 leaves"), "second": text_of("15 leaves")}
    texts["second"] = texts["second"].replace("threshold=", "threshold=1 ", 1)

    with pytest.raises(ValueError, match=r"^trees of second: 281 of 280 threshold"):
        Forest(texts, n_inputs=N_INPUTS)


def test_damage_of_two_trees_does_not_even_out() -> None:
    lines = text_of("15 leaves").split("\n")
    first, second, *_ = [at for at, line in enumerate(lines) if line.startswith("threshold=")]
    lines[first] += " 1"
    lines[second] = lines[second].rpartition(" ")[0]

    with pytest.raises(ValueError, match="280 of 280 threshold"):
        Forest({"odd": "\n".join(lines)}, n_inputs=N_INPUTS)


def test_a_model_of_other_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="max_feature_idx is 3, not 2"):
        Forest({"odd": text_of("15 leaves")}, n_inputs=3)


def test_inputs_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        forest(trained("15 leaves")).predict(np.zeros((2, 3)))
