"""The mixture: weights by error, per regime, and silence of experts."""

import numpy as np
import pytest

from predictor.mixture import Mixture

EXPERTS = np.log(np.array([0.1, 0.4]))[None, :, None] * np.ones((2, 1, 3))
REGIMES = np.array([0, 1, 2])


def test_without_evidence_experts_count_alike() -> None:
    mixed = np.exp(Mixture(["a", "b"]).predict(EXPERTS, REGIMES))

    np.testing.assert_allclose(mixed, 0.2)


def test_each_regime_trusts_who_is_best_there() -> None:
    mixture = Mixture(["a", "b"])

    for _ in range(200):
        mixture.learn(0, 0, np.array([0.05, 0.5]))
        mixture.learn(0, 1, np.array([0.5, 0.05]))

    mixed = np.exp(mixture.predict(EXPERTS, REGIMES))[0]
    assert mixed[0] == pytest.approx(0.1, rel=0.1)
    assert mixed[1] == pytest.approx(0.4, rel=0.1)


def test_trust_moves_when_errors_do() -> None:
    mixture = Mixture(["a", "b"])
    for errors in [(0.05, 0.3)] * 200 + [(0.6, 0.3)] * 120:
        mixture.learn(1, 0, np.array(errors))

    weights = mixture.weights()["tpot"]

    assert weights["b"] > 0.8


def test_a_silent_expert_is_left_out() -> None:
    experts = EXPERTS.copy()
    experts[:, 0] = np.nan

    mixed = np.exp(Mixture(["a", "b"]).predict(experts, REGIMES))

    np.testing.assert_allclose(mixed, 0.4)


def test_an_expert_never_scored_counts_as_bad_as_the_worst() -> None:
    mixture = Mixture(["scored", "bad", "new"])
    for _ in range(100):
        mixture.learn(0, 0, np.array([0.1, 0.4, np.nan]))

    weights = mixture.weights()["ttft"]

    assert weights["new"] == pytest.approx(weights["bad"], rel=0.5)
    assert weights["new"] < 0.05


def test_a_seed_counts_only_until_evidence_exists() -> None:
    mixture = Mixture(["a", "b"])
    for _ in range(50):
        mixture.learn(0, 0, np.array([0.2, np.nan]))

    mixture.seed(0, "b", 0.05)
    mixture.seed(0, "a", 3.0)

    weights = mixture.weights()["ttft"]
    assert weights["b"] > 0.9
