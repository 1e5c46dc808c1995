"""The composed predictor: what it learns, refuses, reports and promises."""

import numpy as np
import pytest

from predictor import (
    EXPERTS,
    LatencyPredictor,
    train,
)
from predictor.features import COLUMN, N_FEATURES
from predictor.types import Objective
from predictor.values import replace
from tests.predictor.fleet import (
    SMALL,
    fleet_observations,
    learned,
    predict_both,
    served,
)


def test_day_zero_orders_by_queued_plus_own_uncached_tokens() -> None:
    rows = np.zeros((4, N_FEATURES))
    rows[:, COLUMN["prompt_tokens"]] = 1000
    rows[:, COLUMN["uncached_tokens"]] = 1000, 400, 1000, 200
    rows[:, COLUMN["queued_prefill_tokens"]] = 0, 900, 500, 100
    rows[:, COLUMN["decoding_requests"]] = 0, 9, 1, 50

    said = LatencyPredictor().predict(rows, ["a:1", "b:1", "c:1", "d:1"], [None] * 4)

    assert said.layer == "cold"
    assert np.argsort(said.rank_ttft_s).tolist() == [3, 0, 1, 2]


def test_day_zero_knows_labelled_hardware() -> None:
    rows = np.zeros((2, N_FEATURES))
    rows[:, COLUMN["uncached_tokens"]] = 2000
    labels = ("l40s/llama-3.1-8b", "b200_sxm/llama-3.1-8b")

    said = LatencyPredictor().predict(rows, ["a:1", "b:1"], labels)

    assert said.rank_ttft_s[0] > 3 * said.rank_ttft_s[1]
    assert said.rank_tpot_s[0] > 3 * said.rank_tpot_s[1]


def test_an_endpoint_twice_slower_is_ranked_slower_within_twenty_observations() -> None:
    observations = fleet_observations(20)

    said = predict_both(learned(observations), observations[-1].features)

    assert said.rank_ttft_s[1] > 1.3 * said.rank_ttft_s[0]
    assert said.rank_tpot_s[1] > 1.3 * said.rank_tpot_s[0]


def test_endpoints_of_one_speed_rank_alike() -> None:
    observations = fleet_observations(400, slow=1.0, noise=0.2)

    said = predict_both(learned(observations), observations[-1].features)

    assert said.rank_ttft_s[1] == pytest.approx(said.rank_ttft_s[0], rel=0.05)
    assert said.rank_tpot_s[1] == pytest.approx(said.rank_tpot_s[0], rel=0.05)


def test_error_falls_as_labels_come() -> None:
    predictor = LatencyPredictor()
    errors = []
    for observation in fleet_observations(300):
        with_prediction = served(predictor, observation)
        assert with_prediction.predicted_ttft_s is not None
        assert observation.upstream_ttft_s is not None
        ratio = with_prediction.predicted_ttft_s / observation.upstream_ttft_s
        errors.append(abs(ratio - 1))
        predictor.learn(with_prediction)

    assert np.median(errors[-100:]) < 0.08
    assert np.median(errors[-100:]) < np.median(errors[:10]) / 2


def test_an_endpoint_that_slows_down_is_followed_within_fifty_of_its_labels() -> None:
    predictor = learned(fleet_observations(300))
    slowed = [
        replace(
            row,
            upstream_ttft_s=1.7 * (row.upstream_ttft_s or 0.0),
            tpot_s=1.7 * (row.tpot_s or 0.0),
            observed_s=30 + row.observed_s,
        )
        for row in fleet_observations(120, seed=1)
        if row.endpoint == "slow:1"
    ]

    for row in slowed[:50]:
        predictor.learn(served(predictor, row))
    ratios = []
    for row in slowed[50:]:
        with_prediction = served(predictor, row)
        assert with_prediction.predicted_ttft_s is not None
        assert row.upstream_ttft_s is not None
        ratios.append(with_prediction.predicted_ttft_s / row.upstream_ttft_s)

    assert np.median(np.abs(np.array(ratios) - 1)) < 0.1


def test_layer_rises_with_labels_and_with_a_trained_model() -> None:
    observations = fleet_observations(240)
    predictor = LatencyPredictor()
    layers = [predictor.layer]
    for observation in observations[:20]:
        predictor.learn(observation)
    layers.append(predictor.layer)
    snapshot = train(observations, SMALL).snapshot
    predictor.swap(snapshot)

    said = predict_both(predictor, observations[0].features)

    assert [*layers, said.layer] == ["cold", "prior", "mixture"]
    assert said.version == snapshot.version
    assert np.isfinite(said.experts).all()


def test_an_untrained_expert_is_silent_and_left_out() -> None:
    said = predict_both(LatencyPredictor(), fleet_observations(1)[0].features)

    silent = [name for name, row in zip(EXPERTS, said.experts[0], strict=True) if np.isnan(row[0])]

    assert silent == ["ratio", "direct", "ratio_bias"]
    assert np.isfinite(said.ttft_s).all()


def test_a_snapshot_starts_an_empty_predictor_warm() -> None:
    observations = fleet_observations(400)
    snapshot = train(observations[:300], SMALL).snapshot

    warm = LatencyPredictor(snapshot=snapshot)

    errors = []
    for row in observations[300:]:
        said = served(warm, row).predicted_ttft_s
        assert said is not None
        assert row.upstream_ttft_s is not None
        errors.append(abs(said / row.upstream_ttft_s - 1))
    assert warm.layer == "mixture"
    assert np.median(errors) < 0.1


def test_a_swapped_model_bears_the_name_it_is_given() -> None:
    predictor = LatencyPredictor()

    predictor.swap(train(fleet_observations(150), SMALL).snapshot, "v7")

    assert predictor.report().version == "v7"


def test_stated_p90_covers_nine_in_ten() -> None:
    predictor = LatencyPredictor()
    for observation in fleet_observations(700, noise=0.3):
        predictor.learn(served(predictor, observation))

    coverage = predictor.report().p90_coverage

    assert coverage["ttft"] == pytest.approx(0.9, abs=0.05)
    assert coverage["tpot"] == pytest.approx(0.9, abs=0.05)


def test_probability_follows_the_objective() -> None:
    predictor = learned(fleet_observations(300, noise=0.2))
    said = predict_both(predictor, fleet_observations(1)[0].features)

    def chance(ttft_s: float | None, tpot_s: float | None = None) -> float:
        objective = Objective(ttft_s=ttft_s, tpot_s=tpot_s)
        return float(predictor.probability(said, objective)[0])

    assert chance(None) == 1.0
    assert chance(0.0) == 0.0
    assert chance(float(said.ttft_s[0]) / 5) < 0.1
    assert chance(float(said.ttft_s[0]) * 5) > 0.9
    assert chance(float(said.ttft_p90_s[0])) == pytest.approx(0.9, abs=0.08)
    assert chance(float(said.ttft_s[0]), float(said.tpot_s[0])) < chance(float(said.ttft_s[0]))


def test_an_objective_twice_as_far_is_met_by_the_faster_endpoint_first() -> None:
    predictor = learned(fleet_observations(300))
    said = predict_both(predictor, fleet_observations(1)[0].features)

    met = predictor.probability(said, Objective(ttft_s=float(said.ttft_p90_s[0])))

    assert met[0] > met[1]


def test_targets_may_come_in_two_calls() -> None:
    observation = fleet_observations(1)[0]
    predictor = LatencyPredictor()

    predictor.learn(replace(observation, tpot_s=None))
    predictor.learn(replace(observation, upstream_ttft_s=None))

    assert predictor.report().observations == {"ttft": 1, "tpot": 1}


def test_marginal_costs_are_positive_and_follow_the_endpoint() -> None:
    observations = fleet_observations(200)

    cold = predict_both(LatencyPredictor(), observations[0].features)
    warm = predict_both(learned(observations), observations[0].features)

    assert (cold.prefill_token_s > 0).all()
    assert (cold.decode_step_s > 0).all()
    assert warm.prefill_token_s[0] == pytest.approx(4e-5, rel=0.25)
    assert warm.prefill_token_s[1] == pytest.approx(8e-5, rel=0.25)


def test_weights_go_to_the_expert_that_errs_least() -> None:
    predictor = LatencyPredictor()
    for observation in fleet_observations(200):
        with_prediction = served(predictor, observation)
        assert with_prediction.experts is not None
        assert observation.upstream_ttft_s is not None
        experts = with_prediction.experts.copy()
        experts[:, EXPERTS.index("prior_river")] += 1.0
        predictor.learn(replace(with_prediction, experts=experts))

    weights = predictor.report().weights["ttft"]

    assert weights["prior_river"] < 0.01
    assert sum(weights.values()) == pytest.approx(1.0)
