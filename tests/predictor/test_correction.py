"""Corrections: they follow, they shrink, and they are capped."""

import numpy as np
import pytest

from predictor.correction import Bias, ResidualRegressor, SharedBias
from predictor.features import N_FEATURES
from predictor.settings import CorrectionSettings

REGIME = np.array([1])


def test_bias_belongs_to_one_endpoint_regime_target_and_expert() -> None:
    bias = Bias(n_experts=2)

    for _ in range(50):
        bias.learn("a:1", 1, 0, np.array([0.5, np.nan]))

    assert bias.predict(["a:1"], REGIME)[0, 0, 0] == pytest.approx(0.5, abs=0.06)
    assert bias.predict(["a:1"], REGIME)[0, 1, 0] == 0.0
    assert bias.predict(["a:1"], REGIME)[1, 0, 0] == 0.0
    assert bias.predict(["a:1"], np.array([0]))[0, 0, 0] == 0.0
    assert bias.predict(["b:1"], REGIME)[0, 0, 0] == 0.0


def test_one_label_moves_a_bias_by_a_seventh() -> None:
    bias = Bias(n_experts=1)

    bias.learn("a:1", 1, 0, np.array([0.7]))

    assert bias.predict(["a:1"], REGIME)[0, 0, 0] == pytest.approx(0.1)


def test_bias_forgets_what_changed_within_some_half_lives() -> None:
    bias = Bias(n_experts=1)

    for residual in [0.6] * 100 + [0.0] * 48:
        bias.learn("a:1", 1, 0, np.array([residual]))

    assert bias.predict(["a:1"], REGIME)[0, 0, 0] < 0.05


def test_absurd_residuals_are_capped() -> None:
    cap = CorrectionSettings().cap_log
    bias, shared, river = Bias(n_experts=1), SharedBias(), ResidualRegressor()
    row = np.full(N_FEATURES, 100.0)

    for _ in range(2000):
        bias.learn("a:1", 1, 0, np.array([50.0]))
        shared.learn(0, 50.0)
        river.learn(row, 0, 50.0)

    assert bias.predict(["a:1"], REGIME)[0, 0, 0] == pytest.approx(cap)
    assert shared.values()[0] <= cap
    assert river.predict(row[None])[0, 0] <= cap


def test_a_shared_correction_is_withheld_once_it_has_become_stale() -> None:
    shared = SharedBias()

    for _ in range(100):
        shared.learn(0, 0.8)
    while_true = shared.values()[0]
    for _ in range(80):
        shared.learn(0, 0.0)

    assert while_true > 0.5
    assert shared.values() == [0.0, 0.0]


def test_river_survives_features_that_never_vary() -> None:
    river = ResidualRegressor()

    for _ in range(300):
        river.learn(np.full(N_FEATURES, np.nan), 0, 0.3)

    assert river.predict(np.zeros((1, N_FEATURES)))[0, 0] == pytest.approx(0.3, abs=0.05)


def test_the_endpoint_longest_without_a_label_makes_room_for_another() -> None:
    bias = Bias(n_experts=1)
    names = [f"{index}:1" for index in range(2049)]  # one more than are remembered
    everywhere = np.zeros(len(names), dtype=np.intp)
    for name in [*names[:2048], names[0], names[2048]]:
        bias.learn(name, 0, 0, np.array([0.7]))

    corrections = bias.predict(names, everywhere)[0, 0]

    assert corrections[1] == 0.0
    assert corrections[0] > corrections[2048] == pytest.approx(0.1)
    assert np.count_nonzero(corrections) == 2048


def test_a_bias_shows_whoever_was_asked_for_before() -> None:
    bias = Bias(n_experts=1)
    pair, regimes = ("a:1", "b:1"), np.zeros(2, dtype=np.intp)

    before = bias.predict(pair, regimes).copy()
    bias.learn("b:1", 0, 1, np.array([0.7]))
    after = bias.predict(pair, regimes)

    assert before.tolist() == np.zeros((2, 1, 2)).tolist()
    assert after[1, 0].tolist() == pytest.approx([0.0, 0.1])
