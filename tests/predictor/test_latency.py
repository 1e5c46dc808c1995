"""The composed predictor: what it learns, refuses, reports and promises."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictor import (
    EXPERTS,
    InvalidSnapshot,
    LatencyPredictor,
    ModelSnapshot,
    PredictionFailed,
    train,
)
from predictor.coefficients import EndpointFit, TargetFit
from predictor.features import COLUMN, N_FEATURES
from predictor.physics import PhysicsFit
from predictor.types import FloatArray, Objective, Observation, Predictions
from tests.predictor.fleet import SMALL, fleet_observations

BOTH = ("fast:1", "slow:1")
FEATURE = st.floats(-1e9, 1e9) | st.sampled_from([float("nan"), float("inf")])


def predict_both(predictor: LatencyPredictor, row: FloatArray) -> Predictions:
    return predictor.predict(np.stack([row, row]), BOTH, (None, None))


def learned(observations: list[Observation]) -> LatencyPredictor:
    predictor = LatencyPredictor()
    for observation in observations:
        predictor.learn(observation)
    return predictor


def served(predictor: LatencyPredictor, observation: Observation) -> Observation:
    """Attach what is predicted now, as the scheduler does at dispatch."""
    said = predictor.predict(
        observation.features[None], [observation.endpoint], [observation.hardware]
    )
    return dataclasses.replace(
        observation,
        predicted_ttft_s=float(said.ttft_s[0]),
        predicted_ttft_p90_s=float(said.ttft_p90_s[0]),
        predicted_tpot_s=float(said.tpot_s[0]),
        predicted_tpot_p90_s=float(said.tpot_p90_s[0]),
        experts=said.experts[:, :, 0],
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
        dataclasses.replace(
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

    assert silent == ["ratio", "direct", "ratio_bias", "direct_bias"]
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


def test_a_refused_snapshot_changes_nothing() -> None:
    predictor = learned(fleet_observations(40))
    row = fleet_observations(1)[0].features
    before = predict_both(predictor, row).ttft_s
    broken = ModelSnapshot(physics=PhysicsFit(), trees={"ttft_ratio": "tree\nversion=v4\n"})

    with pytest.raises(InvalidSnapshot, match="ttft_ratio"):
        predictor.swap(broken)

    assert predictor.report().version is None
    np.testing.assert_array_equal(before, predict_both(predictor, row).ttft_s)


@pytest.mark.parametrize(
    "fit",
    [
        TargetFit(factor=(1.0, 2.0)),
        TargetFit(endpoints={"a:1": EndpointFit(hardware=None, log_scale=0.0, own=(1.0,))}),
    ],
)
def test_a_snapshot_of_other_physics_terms_is_refused(fit: TargetFit) -> None:
    predictor = LatencyPredictor()

    with pytest.raises(InvalidSnapshot, match="terms"):
        predictor.swap(ModelSnapshot(physics=PhysicsFit(ttft=fit), trees={}))

    assert predictor.report().version is None


def test_a_label_that_no_prediction_can_be_made_for_is_counted_and_not_raised() -> None:
    class Speechless(LatencyPredictor):
        def predict(self, *_: object) -> Predictions:
            raise PredictionFailed("on purpose")

    predictor = Speechless()

    predictor.learn(fleet_observations(1)[0])

    assert predictor.report().refused == {"prediction_failed": 1}
    assert predictor.report().observations == {"ttft": 0, "tpot": 0}


@given(
    st.lists(
        st.tuples(
            st.lists(FEATURE, min_size=N_FEATURES, max_size=N_FEATURES),
            st.none() | st.floats(1e-5, 1e4),
            st.none() | st.floats(1e-6, 100),
            st.none() | st.integers(0, 1 << 53),
        ),
        max_size=20,
    )
)
@settings(max_examples=30)
def test_whatever_is_measured_learning_never_raises_and_predictions_stay_finite(
    rows: list[tuple[list[float], float | None, float | None, int | None]],
) -> None:
    predictor = LatencyPredictor()

    for features, ttft_s, tpot_s, tokens in rows:
        observation = dataclasses.replace(
            fleet_observations(1)[0],
            features=np.array(features),
            upstream_ttft_s=ttft_s,
            tpot_s=tpot_s,
            output_tokens=tokens,
        )
        predictor.learn(served(predictor, observation))

        said = predict_both(predictor, observation.features)
        for seconds in (said.ttft_s, said.ttft_p90_s, said.tpot_s, said.tpot_p90_s):
            assert np.isfinite(seconds).all()


@pytest.mark.parametrize(
    ("ttft_s", "tpot_s", "reasons"),
    [
        (float("nan"), None, {"ttft_not_finite"}),
        (0.0, -1.0, {"ttft_not_positive", "tpot_not_positive"}),
        (3601.0, 61.0, {"ttft_absurd", "tpot_absurd"}),
        (float("inf"), float("nan"), {"ttft_not_finite", "tpot_not_finite"}),
    ],
)
def test_a_bad_label_is_counted_and_teaches_nothing(
    ttft_s: float, tpot_s: float | None, reasons: set[str]
) -> None:
    predictor = learned(fleet_observations(40))
    row = fleet_observations(1)[0]
    before = predict_both(predictor, row.features).ttft_s

    predictor.learn(dataclasses.replace(row, upstream_ttft_s=ttft_s, tpot_s=tpot_s))

    assert set(predictor.report().refused) == reasons
    np.testing.assert_array_equal(before, predict_both(predictor, row.features).ttft_s)


@pytest.mark.parametrize(
    "features",
    [
        np.zeros(3),
        np.full(N_FEATURES, np.nan),
        np.full(N_FEATURES, 1e9),
        np.full(N_FEATURES, np.inf),
    ],
)
def test_bad_features_are_counted_and_teach_nothing(features: FloatArray) -> None:
    predictor = LatencyPredictor()

    predictor.learn(dataclasses.replace(fleet_observations(1)[0], features=features))

    report = predictor.report()
    assert report.refused == {"bad_features": 1}
    assert report.observations == {"ttft": 0, "tpot": 0}


def test_ten_thousand_zero_labels_move_nothing() -> None:
    predictor = learned(fleet_observations(100))
    row = fleet_observations(1)[0]
    before = predict_both(predictor, row.features).ttft_s
    poison = dataclasses.replace(row, upstream_ttft_s=0.0, tpot_s=None)

    for _ in range(10_000):
        predictor.learn(poison)

    assert predictor.report().refused == {"ttft_not_positive": 10_000}
    np.testing.assert_array_equal(before, predict_both(predictor, row.features).ttft_s)


def test_plausible_poison_is_bounded_and_recovered_from() -> None:
    predictor = learned(fleet_observations(100))
    poison = [
        dataclasses.replace(row, upstream_ttft_s=3000.0) for row in fleet_observations(500, seed=2)
    ]
    clean = [
        dataclasses.replace(row, observed_s=600 + row.observed_s)
        for row in fleet_observations(600, seed=3)
    ]

    for row in poison:
        predictor.learn(row)
    during = predict_both(predictor, clean[0].features)
    for row in clean:
        predictor.learn(row)
    after = predict_both(predictor, clean[0].features)

    assert (during.ttft_p90_s <= 7200.001).all()
    assert clean[0].upstream_ttft_s is not None
    assert after.ttft_s[0] == pytest.approx(clean[0].upstream_ttft_s, rel=0.4)


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

    predictor.learn(dataclasses.replace(observation, tpot_s=None))
    predictor.learn(dataclasses.replace(observation, upstream_ttft_s=None))

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
        predictor.learn(dataclasses.replace(with_prediction, experts=experts))

    weights = predictor.report().weights["ttft"]

    assert weights["prior_river"] < 0.01
    assert sum(weights.values()) == pytest.approx(1.0)
