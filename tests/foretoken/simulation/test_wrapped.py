"""What experiments make of predictions: which differences between endpoints are left."""

import numpy as np
import pytest

from foretoken.simulation.variants import OBJECTIVES, RANKINGS, TERMS, VARIANTS
from foretoken.simulation.wrapped import (
    Changed,
    endpoint_boosted,
    endpoint_speeds_boosted,
    fixed_bias,
    fleet_physics,
    fleet_physics_boosted,
    noise,
)
from predictor import LatencyPredictor
from predictor.features import N_FEATURES
from predictor.types import FloatArray, Predictions
from predictor.values import replace
from tests.scheduler.policy_cases import candidates, load, terms

NAMES = ["a:1", "b:1", "c:1"]
HARDWARE = [None] * 3


class TwiceAsSlow:
    """Endpoints of log speed 0, log 2, log 4; the shared correction is a factor of 1.5."""

    def log_scales(self, *_: object) -> FloatArray:
        return np.log(np.array([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]]))


def said() -> Predictions:
    plain = LatencyPredictor().predict(np.ones((3, N_FEATURES)), NAMES, HARDWARE)
    experts = plain.experts.copy()
    experts[:, 0] = np.log([[1.0, 2.0, 4.0]])
    return replace(
        plain,
        experts=experts,
        rank_ttft_s=1.5 * np.array([1.0, 2.0, 4.0]),
        rank_tpot_s=1.5 * np.array([1.0, 2.0, 4.0]),
        prefill_s=np.array([1.0, 2.0, 4.0]),
        ttft_s=np.array([3.0, 3.0, 3.0]),
        tpot_s=np.array([3.0, 3.0, 3.0]),
    )


def test_the_prior_alone_knows_neither_speeds_nor_the_correction() -> None:
    found = fleet_physics(TwiceAsSlow(), shared=False)(said(), NAMES, HARDWARE)

    assert found.rank_ttft_s == pytest.approx([1.0, 1.0, 1.0])
    assert found.prefill_s == pytest.approx([1.0, 1.0, 1.0])


def test_the_shared_correction_moves_all_alike() -> None:
    found = fleet_physics(TwiceAsSlow(), shared=True)(said(), NAMES, HARDWARE)

    assert found.rank_tpot_s == pytest.approx([1.5, 1.5, 1.5])


def test_a_shared_boosted_correction_brings_the_mean_to_the_mixtures() -> None:
    without_speeds = fleet_physics_boosted(TwiceAsSlow())(said(), NAMES, HARDWARE)
    with_speeds = endpoint_speeds_boosted(said(), NAMES, HARDWARE)

    assert without_speeds.rank_ttft_s == pytest.approx([3.0, 3.0, 3.0])
    assert with_speeds.rank_ttft_s == pytest.approx([1.5, 3.0, 6.0])


def test_boosted_per_endpoint_ranks_by_the_mixture() -> None:
    found = endpoint_boosted(said(), NAMES, HARDWARE)

    assert found.rank_ttft_s == pytest.approx([3.0, 3.0, 3.0])


def test_noise_is_drawn_anew_and_a_bias_is_not() -> None:
    noisy, biased = noise(0.1), fixed_bias(0.3)

    first, again = (noisy(said(), NAMES, HARDWARE).rank_ttft_s for _ in range(2))
    once, twice = (biased(said(), NAMES, HARDWARE).rank_ttft_s for _ in range(2))

    assert (first != again).all()
    assert (once == twice).all()
    assert (once != said().rank_ttft_s).all()


def test_error_is_one_factor_in_everything_a_score_may_read() -> None:
    found, plain = noise(0.1)(said(), NAMES, HARDWARE), said()

    factors = found.rank_ttft_s / plain.rank_ttft_s
    for name in ("ttft_s", "tpot_s", "quantiles_s", "prefill_s", "prefill_token_s"):
        assert getattr(found, name) == pytest.approx(getattr(plain, name) * factors)


def test_what_is_learned_goes_to_the_predictor_underneath() -> None:
    inner = LatencyPredictor()
    rows = np.ones((3, N_FEATURES))

    found = Changed(inner, noise(0.1)).predict(rows, NAMES, HARDWARE)

    assert found.layer == inner.layer
    assert (found.ttft_s != inner.predict(rows, NAMES, HARDWARE).ttft_s).all()


def test_every_term_of_the_default_has_a_variant_without_it() -> None:
    assert set(terms("predicted_latency", candidates([load(2), load(3)]))) == set(TERMS)


def test_every_ablation_is_a_variant() -> None:
    assert set(RANKINGS) | set(OBJECTIVES) <= set(VARIANTS)
