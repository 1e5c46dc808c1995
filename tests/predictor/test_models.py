"""The conformance battery: what every model of the predictor must do."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from predictor import LatencyPredictor, ModelSnapshot, OutputLengths, TrainedModel, train
from predictor.boosted import BoostedModels
from predictor.calibration import Calibration
from predictor.correction import Bias, ResidualRegressor, SharedBias
from predictor.drift import DriftCount
from predictor.features import COLUMN
from predictor.mixture import Mixture
from predictor.physics import PhysicsPrior
from predictor.terms import regimes
from predictor.types import P90, FloatArray, Observation
from tests.predictor.fleet import ENDPOINTS, HARDWARE, SMALL, fleet_observations, random_row

Predict = Callable[[FloatArray], FloatArray]
Build = Callable[[Sequence[Observation]], Predict]
"""Build a model, let it learn, and give what it says as an array of any shape."""


def _physics(observations: Sequence[Observation]) -> Predict:
    model = PhysicsPrior()
    for row in observations:
        labels = {0: row.upstream_ttft_s, 1: row.tpot_s}
        model.learn(
            row.features,
            row.endpoint,
            row.hardware,
            observed_s=row.observed_s,
            targets_s={k: v for k, v in labels.items() if v is not None},
        )

    def predict(rows: FloatArray) -> FloatArray:
        said = model.predict(rows, ENDPOINTS[: len(rows)], HARDWARE[: len(rows)])
        marginal = np.stack([said.prefill_s, said.prefill_token_s, said.decode_step_s])
        return np.concatenate([np.exp(said.log_prior), np.exp(said.log_smooth), marginal])

    return predict


def _bias(observations: Sequence[Observation]) -> Predict:
    model = Bias(n_experts=1)
    for row in observations:
        assert row.tpot_s is not None
        regime = int(regimes(row.features[None])[0])
        model.learn(row.endpoint, regime, 1, np.array([np.log(row.tpot_s / 0.01)]))
    return lambda rows: np.exp(model.predict(ENDPOINTS[: len(rows)], regimes(rows)))


def _shared(observations: Sequence[Observation]) -> Predict:
    model = SharedBias()
    for row in observations:
        assert row.tpot_s is not None
        model.learn(1, float(np.log(row.tpot_s / 0.01)))
    return lambda rows: np.exp(np.array(model.values()))[:, None] * np.ones(len(rows))


def _river(observations: Sequence[Observation]) -> Predict:
    model = ResidualRegressor()
    for row in observations:
        assert row.tpot_s is not None
        model.learn(row.features, 1, float(np.log(row.tpot_s / 0.01)))
    return lambda rows: np.exp(model.predict(rows))


def _mixture(observations: Sequence[Observation]) -> Predict:
    model = Mixture(["low", "high"])
    for row in observations:
        assert row.tpot_s is not None
        model.learn(1, 0, np.abs(np.log(row.tpot_s / np.array([0.01, 0.02]))))
    experts = np.log(np.array([0.01, 0.02]))[None, :, None]
    return lambda rows: np.exp(model.predict(experts * np.ones((2, 1, len(rows))), regimes(rows)))


def _boosted(observations: Sequence[Observation]) -> Predict:
    snapshot = train(observations, SMALL).snapshot
    model = BoostedModels(snapshot.physics, snapshot.trees)
    return lambda rows: np.exp(model.predict(rows, ENDPOINTS[: len(rows)], HARDWARE[: len(rows)]))


def _calibration(observations: Sequence[Observation]) -> Predict:
    model = Calibration()
    for row in observations:
        assert row.tpot_s is not None
        model.learn(int(regimes(row.features[None])[0]), float(np.log(row.tpot_s / 0.01)))

    def predict(rows: FloatArray) -> FloatArray:
        quantiles = model.offsets(regimes(rows))
        chances = model.probability(np.linspace(-5.0, 5.0, len(rows)), quantiles[P90])
        assert (chances <= 1).all()
        return np.concatenate([np.exp(quantiles), chances[None]])

    return predict


def _drift(observations: Sequence[Observation]) -> Predict:
    model = DriftCount()
    for row in observations:
        assert row.tpot_s is not None
        model.learn(abs(float(np.log(row.tpot_s / 0.01))))
    return lambda rows: np.full(len(rows), float(model.alarms))


def _output_lengths(observations: Sequence[Observation]) -> Predict:
    model = OutputLengths()
    for row in observations:
        assert row.output_tokens is not None
        model.learn("acme", row.output_tokens, session=row.endpoint)

    def predict(rows: FloatArray) -> FloatArray:
        bounds = np.nan_to_num(rows[:, COLUMN["prompt_tokens"]], nan=1e6).astype(int).tolist()
        return np.array(
            [
                [model.expected("acme", bound, session=name), model.expected(None, None)]
                for bound, name in zip(bounds, ENDPOINTS, strict=False)
            ]
        )

    return predict


def _latency(observations: Sequence[Observation]) -> Predict:
    model = LatencyPredictor()
    for row in observations:
        model.learn(row)
    model.swap(train(observations, SMALL).snapshot)
    for row in observations[-20:]:
        model.learn(row)

    def predict(rows: FloatArray) -> FloatArray:
        said = model.predict(rows, ENDPOINTS[: len(rows)], HARDWARE[: len(rows)])
        return np.stack(
            [
                said.ttft_s,
                said.ttft_p90_s,
                said.tpot_s,
                said.tpot_p90_s,
                said.rank_ttft_s,
                said.rank_tpot_s,
                said.prefill_s,
                said.decode_step_s,
                said.prefill_token_s,
            ]
        )

    return predict


MODELS: dict[str, Build] = {
    "physics": _physics,
    "bias": _bias,
    "shared_bias": _shared,
    "river": _river,
    "mixture": _mixture,
    "boosted": _boosted,
    "calibration": _calibration,
    "drift": _drift,
    "output_lengths": _output_lengths,
    "latency": _latency,
}
every_model = pytest.mark.parametrize("build", MODELS.values(), ids=MODELS.keys())


@pytest.fixture(scope="module")
def observations() -> list[Observation]:
    return fleet_observations(240)


@pytest.fixture(scope="module")
def trained(observations: list[Observation]) -> TrainedModel:
    return train(observations, SMALL)


@pytest.fixture
def rows() -> FloatArray:
    rng = np.random.default_rng(7)
    return np.array([random_row(rng) for _ in ENDPOINTS])


@every_model
def test_predictions_are_finite_and_non_negative(
    build: Build, observations: list[Observation], rows: FloatArray
) -> None:
    predict = build(observations)

    for case in (rows, np.zeros_like(rows), np.full_like(rows, np.nan), rows * 1e3):
        said = predict(case)
        assert np.isfinite(said).all()
        assert (said >= 0).all()


@every_model
def test_input_is_never_changed(
    build: Build, observations: list[Observation], rows: FloatArray
) -> None:
    before, learned = rows.copy(), observations[0].features.copy()

    build(observations)(rows)

    np.testing.assert_array_equal(rows, before)
    np.testing.assert_array_equal(observations[0].features, learned)


@every_model
def test_same_labels_give_the_same_numbers(
    build: Build, observations: list[Observation], rows: FloatArray
) -> None:
    first, second = build(observations)(rows), build(observations)(rows)

    np.testing.assert_array_equal(first, second)


@every_model
def test_prediction_does_not_teach(
    build: Build, observations: list[Observation], rows: FloatArray
) -> None:
    predict = build(observations)

    first = predict(rows)
    for _ in range(5):
        predict(rows[::-1].copy())

    np.testing.assert_array_equal(first, predict(rows))


def test_a_loaded_snapshot_predicts_the_same(trained: TrainedModel, rows: FloatArray) -> None:
    snapshot = trained.snapshot

    loaded = ModelSnapshot.load(snapshot.dump())

    assert loaded == snapshot
    assert loaded.version == snapshot.version
    np.testing.assert_array_equal(
        BoostedModels(loaded.physics, loaded.trees).predict(rows, ENDPOINTS, HARDWARE),
        BoostedModels(snapshot.physics, snapshot.trees).predict(rows, ENDPOINTS, HARDWARE),
    )


def test_a_loaded_prior_predicts_the_same(
    observations: list[Observation], rows: FloatArray
) -> None:
    prior = PhysicsPrior()
    for row in observations:
        prior.learn(row.features, row.endpoint, None, observed_s=0.0, targets_s={0: 0.3, 1: 0.02})

    loaded = PhysicsPrior(fit=prior.fit())

    for field in dataclasses.fields(prior.predict(rows, ENDPOINTS, HARDWARE)):
        np.testing.assert_allclose(
            getattr(loaded.predict(rows, ENDPOINTS, HARDWARE), field.name),
            getattr(prior.predict(rows, ENDPOINTS, HARDWARE), field.name),
            rtol=1e-12,
        )
