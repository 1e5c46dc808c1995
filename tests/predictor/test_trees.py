"""Trees: the C call gives what the library's own does, and refuses what it cannot read."""

import lightgbm
import numpy as np
import pytest

from predictor.trees import Trees


def model(n_inputs: int) -> lightgbm.Booster:
    rng = np.random.default_rng(0)
    inputs = rng.random((500, n_inputs))
    inputs[::7, 0] = np.nan
    data = lightgbm.Dataset(inputs, np.nansum(inputs, axis=1))
    return lightgbm.train({"objective": "l1", "verbose": -1, "num_threads": 1}, data, 20)


@pytest.mark.parametrize("n", [1, 8, 200])
def test_predictions_equal_the_librarys_own(n: int) -> None:
    booster = model(4)
    inputs = np.random.default_rng(1).random((n, 4))
    inputs[::3, 0] = np.nan

    said = Trees(booster.model_to_string(), n_inputs=4).predict(inputs)

    np.testing.assert_array_equal(said, booster.predict(inputs))


@pytest.mark.parametrize("text", ["", "tree", "tree\nversion=v4\n", "{}"])
def test_text_that_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Trees(text, n_inputs=4)


def test_a_model_of_other_inputs_is_refused() -> None:
    text = model(3).model_to_string()

    with pytest.raises(ValueError, match="made for 3 inputs, not 4"):
        Trees(text, n_inputs=4)


def test_a_model_of_several_outputs_is_refused() -> None:
    inputs = np.random.default_rng(0).random((90, 4))
    data = lightgbm.Dataset(inputs, np.arange(90) % 3)
    options = {"objective": "multiclass", "num_class": 3, "verbose": -1, "num_threads": 1}

    with pytest.raises(ValueError, match="more than one output"):
        Trees(lightgbm.train(options, data, 2).model_to_string(), n_inputs=4)


def test_inputs_of_another_shape_are_refused() -> None:
    trees = Trees(model(4).model_to_string(), n_inputs=4)

    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        trees.predict(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="inputs"):
        trees.predict(np.zeros((4, 2)).T)
