"""What the composed predictor refuses: bad labels, bad features, poison, foreign snapshots."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretoken.kind import kind
from predictor import (
    InvalidSnapshot,
    LatencyPredictor,
    ModelSnapshot,
    PredictionFailed,
)
from predictor.coefficients import EndpointFit, TargetFit
from predictor.features import N_FEATURES
from predictor.physics import PhysicsFit
from predictor.types import FloatArray, Predictions
from predictor.values import replace
from tests.predictor.fleet import (
    fleet_observations,
    learned,
    predict_both,
    served,
)

FEATURE = st.floats(-1e9, 1e9) | st.sampled_from([float("nan"), float("inf")])


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


@pytest.mark.skipif(kind() == "compiled", reason="a compiled class takes no subclass")
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
        observation = replace(
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

    predictor.learn(replace(row, upstream_ttft_s=ttft_s, tpot_s=tpot_s))

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

    predictor.learn(replace(fleet_observations(1)[0], features=features))

    report = predictor.report()
    assert report.refused == {"bad_features": 1}
    assert report.observations == {"ttft": 0, "tpot": 0}


def test_ten_thousand_zero_labels_move_nothing() -> None:
    predictor = learned(fleet_observations(100))
    row = fleet_observations(1)[0]
    before = predict_both(predictor, row.features).ttft_s
    poison = replace(row, upstream_ttft_s=0.0, tpot_s=None)

    for _ in range(10_000):
        predictor.learn(poison)

    assert predictor.report().refused == {"ttft_not_positive": 10_000}
    np.testing.assert_array_equal(before, predict_both(predictor, row.features).ttft_s)


def test_plausible_poison_is_bounded_and_recovered_from() -> None:
    predictor = learned(fleet_observations(100))
    poison = [replace(row, upstream_ttft_s=3000.0) for row in fleet_observations(500, seed=2)]
    clean = [
        replace(row, observed_s=600 + row.observed_s) for row in fleet_observations(600, seed=3)
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
