"""The compiled prediction says what the formulas say, written here with arrays."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predictor import LatencyPredictor, train
from predictor.correction import ResidualRegressor
from predictor.experts import EXPERTS, N_EXPERTS
from predictor.features import COLUMN, N_FEATURES
from predictor.kernels.corrections import REGRESSION_INPUTS
from predictor.kernels.physics import OWN, SMOOTH, UNIT
from predictor.physics import BOUNDS_S
from predictor.terms import PARTS
from predictor.types import LEVELS, FloatArray
from tests.predictor.fleet import ENDPOINTS, HARDWARE, SMALL, fleet_observations, learned


def known(rows: FloatArray, name: str) -> FloatArray:
    column = rows[:, COLUMN[name]]
    return np.where(np.isfinite(column), np.maximum(column, 0.0), 0.0)


def design_of(rows: FloatArray) -> FloatArray:
    one, decoding = np.ones(len(rows)), known(rows, "decoding_requests")
    queued, held = known(rows, "queued_prefill_tokens"), known(rows, "context_ktok")
    rate = known(rows, "prefill_tokens_per_s")
    lasts = 100.0 * np.maximum(known(rows, "expected_output_tokens"), 1.0)
    return np.column_stack([
        one, known(rows, "uncached_tokens"), queued, known(rows, "prefill_context"), decoding,
        held, known(rows, "waiting_requests"), known(rows, "loaded_cpu_tokens"),
        known(rows, "loaded_shared_tokens"),
        one, decoding + 1.0, held + known(rows, "prompt_tokens") / 1e3,
        rate / (1e3 + rate / 40.0), queued / (queued + lasts), known(rows, "queued_requests"),
    ])  # fmt: skip


def regimes_of(rows: FloatArray) -> "np.ndarray[tuple[int], np.dtype[np.intp]]":
    waiting = np.fmax(rows[:, COLUMN["queued_requests"]], rows[:, COLUMN["waiting_requests"]])
    return np.add(waiting > 0.5, waiting > 8.5, dtype=np.intp)


def experts_of(predictor: LatencyPredictor, rows: FloatArray) -> FloatArray:
    """Give ``(2, n_experts, n)``."""
    table, places = predictor._physics.at(ENDPOINTS, HARDWARE)
    here, design = table[places], design_of(rows)
    experts = np.full((2, N_EXPERTS, len(rows)), np.nan)
    if predictor._trained is not None:
        experts[:, 2:4] = predictor._trained.models.predict(rows, ENDPOINTS, HARDWARE)
    biases = predictor._bias.predict(ENDPOINTS, regimes_of(rows))
    river = predictor._river.state
    inputs = np.log1p(np.column_stack([known(rows, name) for name in REGRESSION_INPUTS]))
    for target, part in enumerate(PARTS):
        seconds = (here[:, (OWN, SMOOTH), part] * design[:, None, part]).sum(axis=2)
        own, smooth = np.log(np.clip(seconds, *BOUNDS_S[target])).T
        prior = np.clip(own, smooth - 0.7, smooth + 0.7)
        ratio = experts[target, EXPERTS.index("ratio")]
        slopes = river["slopes"][0, target]
        correction = inputs @ slopes[:-1] + slopes[-1]
        experts[target, 0], experts[target, 1] = smooth, prior
        experts[target, 4:6] = np.stack([prior, ratio]) + biases[target]
        best = np.where(np.isfinite(ratio), ratio, prior)
        experts[target, 6] = best + predictor._fleet_bias.values()[target]
        experts[target, 7] = prior + np.clip(correction, -river["cap_log"], river["cap_log"])
    return experts


def check(predictor: LatencyPredictor, rows: FloatArray) -> None:
    said = predictor.predict(rows, ENDPOINTS, HARDWARE)
    experts, regimes = experts_of(predictor, rows), regimes_of(rows)
    weights = predictor._mixture.state["weights"][0][:, regimes].transpose(0, 2, 1)
    weights = np.where(np.isfinite(experts), weights, 0.0)
    mixed = (weights * np.nan_to_num(experts)).sum(axis=1) / weights.sum(axis=1)
    offsets = np.stack([each.offsets(regimes) for each in predictor._calibration])
    shared = np.array(predictor._shared.values())
    highest = np.log(7200.0)

    close = {"rtol": 1e-11, "atol": 0.0}
    np.testing.assert_allclose(said.experts, experts, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([said.ttft_s, said.tpot_s], np.exp(mixed), **close)
    quantiles = np.exp(np.minimum(mixed[:, None] + offsets, highest))
    np.testing.assert_allclose(said.quantiles_s, quantiles, **close)
    ranked = np.exp(np.minimum(experts[:, 0] + shared[:, None], highest))
    np.testing.assert_allclose([said.rank_ttft_s, said.rank_tpot_s], ranked, **close)
    table, places = predictor._physics.at(ENDPOINTS, HARDWARE)
    marginal = np.maximum(table[places, SMOOTH], 0.05 * table[places, UNIT])
    prefill = marginal[:, 1] * known(rows, "uncached_tokens")
    prefill += marginal[:, 3] * known(rows, "prefill_context")
    tokens = known(rows, "prompt_tokens") + known(rows, "expected_output_tokens") / 2
    np.testing.assert_allclose(said.prefill_s, prefill, **close)
    np.testing.assert_allclose(said.prefill_token_s, marginal[:, 1], **close)
    np.testing.assert_allclose(
        said.decode_step_s, marginal[:, 10] + marginal[:, 11] * tokens / 1e3, **close
    )


@pytest.fixture(scope="module")
def trained() -> LatencyPredictor:
    observations = fleet_observations(300)
    predictor = learned(observations)
    predictor.swap(train(observations, SMALL).snapshot)
    for observation in fleet_observations(40, seed=1):
        predictor.learn(observation)
    return predictor


rows_with_unknowns = st.lists(
    st.lists(
        st.one_of(st.floats(0.0, 1e4), st.sampled_from([np.nan, 0.0, -1.0, 1e8, np.inf])),
        min_size=N_FEATURES, max_size=N_FEATURES,
    ),
    min_size=len(ENDPOINTS), max_size=len(ENDPOINTS),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(rows_with_unknowns)
def test_any_row_is_predicted_by_the_formulas(rows: list[list[float]]) -> None:
    check(LatencyPredictor(), np.array(rows))


@settings(max_examples=60, deadline=None)
@given(rows_with_unknowns)
def test_any_row_is_predicted_so_once_everything_was_learned(
    trained: LatencyPredictor, rows: list[list[float]]
) -> None:
    check(trained, np.array(rows))


def test_no_candidates_are_predicted_too(trained: LatencyPredictor) -> None:
    said = trained.predict(np.empty((0, N_FEATURES)), (), ())

    assert said.ttft_s.shape == (0,)
    assert said.quantiles_s.shape == (2, len(LEVELS), 0)


@pytest.mark.parametrize("shape", [(N_FEATURES,), (2, N_FEATURES - 1), (1, 2, N_FEATURES)])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="feature rows of shape"):
        LatencyPredictor().predict(np.zeros(shape), ENDPOINTS[: shape[0]], HARDWARE[: shape[0]])


def test_rows_may_lie_in_memory_as_they_like(trained: LatencyPredictor) -> None:
    rows = np.random.default_rng(0).uniform(0, 100, (len(ENDPOINTS), N_FEATURES))
    frozen = rows.copy()
    frozen.flags.writeable = False
    plain = trained.predict(rows, ENDPOINTS, HARDWARE)

    for other in (np.asfortranarray(rows), frozen, np.repeat(rows, 2, axis=0)[::2]):
        said = trained.predict(other, ENDPOINTS, HARDWARE)
        np.testing.assert_array_equal(said.ttft_s, plain.ttft_s)


def test_the_regression_learns_what_rivers_does() -> None:
    linear_model = pytest.importorskip("river.linear_model")
    optim, preprocessing = (
        pytest.importorskip("river.optim"),
        pytest.importorskip("river.preprocessing"),
    )
    scaler, rate = preprocessing.StandardScaler(), 0.01
    model = linear_model.LinearRegression(
        optimizer=optim.SGD(rate), loss=optim.losses.Huber(0.3), intercept_lr=rate
    )
    ours, rng = ResidualRegressor(), np.random.default_rng(0)

    for _ in range(300):
        row = np.where(rng.random(N_FEATURES) < 0.1, np.nan, rng.uniform(0, 5000, N_FEATURES))
        residual = float(rng.normal(0.2, 0.5))
        inputs = {name: np.log1p(known(row[None], name)[0]) for name in REGRESSION_INPUTS}
        scaler.learn_one(inputs)
        unit = {name: float(np.clip(v, -4, 4)) for name, v in scaler.transform_one(inputs).items()}
        model.learn_one(unit, float(np.clip(residual, -0.8, 0.8)))
        ours.learn(row, 1, residual)

    units = {
        name: (inputs[name] - scaler.means[name]) / scaler.vars[name] ** 0.5 for name in inputs
    }
    said = float(np.clip(model.predict_one(units), -0.4, 0.4))
    assert ours.predict(row[None])[1, 0] == pytest.approx(said, rel=1e-9)
