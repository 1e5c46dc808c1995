"""Our own predictor API: predictions per endpoint, observations one by one."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from predictor.feature_rows import feature_matrix
from predictor.features import COLUMN, FEATURES, NAMES
from predictor.types import EndpointLoad, EndpointState
from proxy.control import PredictorApiSettings
from proxy.control.predictor_schemas import STATE_NAMES, ObserveBody, PredictBody
from proxy.control.slices import SLICE_ROWS
from tests.proxy.control.fakes import EPOCH_S
from tests.proxy.control.predictor_fakes import FakePredictors, ask

PREDICT: dict[str, Any] = {
    "model": "llama",
    "request": {"prompt_tokens": 1000, "max_tokens": 512, "expected_output_tokens": 100},
    "endpoints": [
        {
            "endpoint": "a:1",
            "hardware": "h100",
            "cached_tokens": 600,
            "state": {"waiting_requests": 2, "kv_cache_usage": 0.5, "scrape_age_s": 0.25},
            "load": {"decoding_requests": 5, "queued_prefill_tokens": 100, "recent_ttft_s": None},
        },
        {"endpoint": "b:1"},
    ],
}
SEEN: dict[str, Any] = {
    "endpoint": "a:1",
    "features": {"prompt_tokens": 1000, "uncached_tokens": 1000},
    "upstream_ttft_s": 0.2,
    "tpot_s": 0.02,
    "output_tokens": 80,
}


def test_an_endpoints_state_is_told_by_these_numbers() -> None:
    assert set(STATE_NAMES) == {
        *("running_requests", "waiting_requests", "kv_cache_usage", "kv_capacity_tokens"),
        *("block_size", "max_batched_tokens", "max_seqs", "cpu_kv_tokens", "shared_kv_tokens"),
        *("preemptions_total", "prefix_hits_total", "prefix_queries_total"),
        *("preemptions_per_s", "prefix_hit_ratio", "scrape_age_s"),
    }


def error_of(answer: Any) -> dict[str, Any]:
    """Check the control plane's error form and give what is in it."""
    found: dict[str, Any] = answer.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


def observe(plane: FakePredictors, *seen: dict[str, Any], **options: Any) -> Any:
    body = {"model": "llama", "observations": list(seen)}
    return ask(plane, "POST", "/v1/observe", json=body, **options)


def test_every_endpoint_gets_expectation_quantiles_and_cost() -> None:
    plane = FakePredictors()

    answer = ask(plane, "POST", "/v1/predict", json=PREDICT).json()

    assert (answer["model"], answer["layer"], answer["version"]) == ("llama", "mixture", "v1")
    first, second = answer["endpoints"]
    assert first["endpoint"] == "a:1"
    assert first["ttft"] == {
        "expected_s": pytest.approx(0.06),
        "p50_s": pytest.approx(0.06),
        "p90_s": pytest.approx(0.09),
        "p99_s": pytest.approx(0.12),
    }
    assert first["tpot"]["expected_s"] == pytest.approx(0.01)
    assert first["prefill_s"] == pytest.approx(0.04)
    assert (first["meets_objective"], first["features"]) == (None, None)
    assert second["ttft"]["expected_s"] == pytest.approx(0.11)
    assert plane.known.hardware == {"h100", None}


def test_a_described_endpoint_has_the_row_that_serving_would_see() -> None:
    body = {**PREDICT, "include_features": True}

    answer = ask(FakePredictors(), "POST", "/v1/predict", json=body).json()

    row = feature_matrix(
        prompt_tokens=1000,
        cached_tokens=np.array([600.0]),
        max_tokens=512,
        expected_output_tokens=100,
        streamed=True,
        states=[
            EndpointState(
                endpoint="a:1",
                url="",
                waiting_requests=2,
                kv_cache_usage=0.5,
                scraped_s=EPOCH_S - 0.25,
            )
        ],
        loads=[EndpointLoad(decoding_requests=5, queued_prefill_tokens=100)],
        now=EPOCH_S,
    )[0]
    given = answer["endpoints"][0]["features"]
    assert list(given) == list(NAMES)
    assert given == {
        name: None if np.isnan(value) else value
        for name, value in zip(NAMES, row.tolist(), strict=True)
    }


def test_a_raw_row_is_taken_as_it_is_and_the_rest_is_unknown() -> None:
    features = {"prompt_tokens": 1000, "uncached_tokens": 500, "recent_ttft_s": None}
    body = {
        "model": "llama",
        "include_features": True,
        "endpoints": [{"endpoint": "a:1", "features": features}],
    }

    answer = ask(FakePredictors(), "POST", "/v1/predict", json=body).json()

    known = {n: v for n, v in answer["endpoints"][0]["features"].items() if v is not None}
    assert known == {"prompt_tokens": 1000, "uncached_tokens": 500}
    assert answer["endpoints"][0]["ttft"]["expected_s"] == pytest.approx(0.06)


def test_an_objective_gets_its_probability() -> None:
    body = {**PREDICT, "objective": {"ttft_s": 0.1}}

    answer = ask(FakePredictors(), "POST", "/v1/predict", json=body).json()

    assert [each["meets_objective"] for each in answer["endpoints"]] == [1.0, 0.0]


def test_hundreds_of_endpoints_keep_their_order() -> None:
    count = SLICE_ROWS + 44
    endpoints = [{"endpoint": f"e{n}:1", "cached_tokens": n} for n in range(count)]

    answer = ask(
        FakePredictors(), "POST", "/v1/predict", json={**PREDICT, "endpoints": endpoints}
    ).json()["endpoints"]

    assert [each["endpoint"] for each in answer] == [f"e{n}:1" for n in range(count)]
    ttft = [each["ttft"]["expected_s"] for each in answer]
    assert ttft == sorted(ttft, reverse=True)


def test_more_endpoints_than_allowed_are_413() -> None:
    answer = ask(
        FakePredictors(),
        "POST",
        "/v1/predict",
        json={**PREDICT, "endpoints": [{"endpoint": "a:1"}] * 4},
        settings=PredictorApiSettings(max_rows=3),
    )

    assert answer.status_code == 413
    assert error_of(answer)["code"] == "too_many_rows"


def test_too_many_rows_are_counted_before_any_is_looked_at() -> None:
    settings = PredictorApiSettings(max_rows=3)
    bodies = (("/v1/predict", "endpoints"), ("/v1/observe", "observations"))

    answers = [
        ask(FakePredictors(), "POST", path, json={field: [{}] * 4}, settings=settings)
        for path, field in bodies
    ]

    assert [answer.status_code for answer in answers] == [413, 413]


def test_of_many_wrong_rows_only_the_first_is_told() -> None:
    with pytest.raises(ValidationError) as asked:
        PredictBody.model_validate({**PREDICT, "endpoints": [{}] * 100})
    with pytest.raises(ValidationError) as told:
        ObserveBody.model_validate({"model": "llama", "observations": [{}] * 100})

    assert {error["loc"][1] for error in asked.value.errors()} == {0}
    assert {error["loc"][1] for error in told.value.errors()} == {0}


@pytest.mark.parametrize(
    ("endpoint", "param", "word"),
    [
        ({"state": {"colour": 1}}, "endpoints.0.state", "'colour'"),
        ({"load": {"running_requests": 1}}, "endpoints.0.load", "'running_requests'"),
        ({"features": {"prompt": 1}}, "endpoints.0.features", "prompt_tokens"),
        ({"features": {"prompt_tokens": -1}}, "endpoints.0.features", "prompt_tokens = -1"),
        ({"state": {"kv_cache_usage": 50}}, "endpoints.0.state", "between 0 and 1"),
        ({"load": {"queued_prefill_tokens": 1e9}}, "endpoints.0.load", "1e+08"),
        ({"features": {}, "cached_tokens": 5}, "endpoints.0", "either"),
        ({"cached_tokens": -1}, "endpoints.0.cached_tokens", "greater"),
        ({"url": "x"}, "endpoints.0.url", "permitted"),
    ],
)
def test_what_is_not_in_the_vocabulary_is_422(
    endpoint: dict[str, Any], param: str, word: str
) -> None:
    body = {**PREDICT, "endpoints": [{"endpoint": "a:1", **endpoint}]}

    answer = ask(FakePredictors(), "POST", "/v1/predict", json=body)

    assert answer.status_code == 422
    assert error_of(answer)["param"] == param
    assert word in error_of(answer)["message"]


@pytest.mark.parametrize(
    "change",
    [
        {"endpoints": []},
        {"request": None},
        {"request": {"prompt_tokens": -1}},
        {"request": {"prompt_tokens": 1_000_000_000}},
        {"objective": {"ttft_s": 0}},
        {"model": ""},
    ],
)
def test_a_bad_request_is_422(change: dict[str, Any]) -> None:
    answer = ask(FakePredictors(), "POST", "/v1/predict", json={**PREDICT, **change})

    assert answer.status_code == 422
    assert error_of(answer)["code"] == "invalid_value"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"model": ', "body: it is not JSON, from byte 10 on"),
        ("", "body: Field required"),
        ("[]", "body: Input should be a valid dictionary or object to extract fields from"),
    ],
)
def test_what_is_no_body_is_said_to_be_none(content: str, message: str) -> None:
    answer = ask(
        FakePredictors(),
        "POST",
        "/v1/predict",
        content=content,
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 422
    assert error_of(answer)["message"] == message
    assert error_of(answer)["param"] is None


def test_observations_carry_what_was_seen_and_measured() -> None:
    plane = FakePredictors()
    described = {
        **PREDICT["endpoints"][0],
        "request": PREDICT["request"],
        "upstream_ttft_s": 0.1,
        "observed_at_s": EPOCH_S - 5,
    }

    answer = observe(plane, SEEN, described)

    raw, built = plane.observed
    assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "refused": {}})
    assert (raw.model, raw.endpoint, raw.observed_s) == ("llama", "a:1", EPOCH_S)
    assert (raw.upstream_ttft_s, raw.tpot_s, raw.output_tokens) == (0.2, 0.02, 80)
    assert np.isnan(raw.features[COLUMN["waiting_requests"]])
    assert (built.hardware, built.observed_s) == ("h100", EPOCH_S - 5)
    assert built.features[COLUMN["uncached_tokens"]] == 400


def test_observations_say_what_their_labels_are_for_and_how_long_was_waited() -> None:
    plane = FakePredictors()
    early = {**SEEN, "upstream_ttft_s": None, "use": "teaching"}
    late = {**SEEN, "upstream_ttft_s": None, "tpot_s": None, "waited_s": 1.5}

    observe(plane, early, late)

    assert [each.use for each in plane.observed] == ["teaching", "fully"]
    assert [each.waited_s for each in plane.observed] == [None, 1.5]


def test_observations_out_of_their_time_are_refused_and_the_others_count() -> None:
    plane = FakePredictors()
    times = [EPOCH_S + 3600, EPOCH_S - 86_400, EPOCH_S + 5, EPOCH_S - 5]

    answer = observe(plane, *({**SEEN, "observed_at_s": each} for each in times))

    assert answer.json() == {
        "accepted": 2,
        "refused": {"observed_in_the_future": 1, "observed_too_long_ago": 1},
    }
    assert [each.observed_s for each in plane.observed] == [EPOCH_S, EPOCH_S - 5]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"features": None}, "observations.0"),
        ({"features": {"colour": 1}}, "observations.0.features"),
        ({"outcome": "fine"}, "observations.0.outcome"),
        ({"output_tokens": -1}, "observations.0.output_tokens"),
        ({"use": "sometimes"}, "observations.0.use"),
    ],
)
def test_a_wrong_observation_body_is_422_and_teaches_nothing(
    change: dict[str, Any], param: str
) -> None:
    plane = FakePredictors()

    answer = observe(plane, {**SEEN, **change}, SEEN)

    assert answer.status_code == 422
    assert error_of(answer)["param"] == param
    assert plane.observed == []


@pytest.mark.parametrize("inside", [True, False])
def test_strangers_may_not_teach(inside: bool) -> None:
    plane = FakePredictors()

    stranger = observe(plane, SEEN, client="10.1.2.3", inside=inside)
    page = observe(plane, SEEN, headers={"origin": "http://evil"}, inside=inside)
    forwarded = observe(plane, SEEN, headers={"x-forwarded-for": "10.9.9.9"}, inside=inside)
    refused = len(plane.observed)
    allowed = observe(plane, SEEN, client="10.1.2.3", inside=inside, allow_remote=True)

    assert [each.status_code for each in (stranger, page, forwarded)] == [403] * 3
    assert error_of(stranger)["code"] == "change_forbidden"
    assert (refused, allowed.status_code) == (0, 202)


def test_a_predictor_that_fails_is_503() -> None:
    plane = FakePredictors()
    plane.known.failing = True

    answer = ask(plane, "POST", "/v1/predict", json=PREDICT)

    assert answer.status_code == 503
    assert error_of(answer)["code"] == "prediction_failed"


def test_the_feature_table_can_be_read() -> None:
    table = ask(FakePredictors(), "GET", "/v1/features").json()

    assert [each["name"] for each in table] == list(NAMES)
    assert table[0]["unit"] == FEATURES[0].unit


def test_the_models_are_described() -> None:
    (model,) = ask(FakePredictors(), "GET", "/v1/models").json()

    assert (model["model"], model["layer"], model["labels"]) == (
        "llm-d", "mixture", {"ttft": 3, "tpot": 2},
    )  # fmt: skip


def test_inside_a_control_plane_its_own_routes_stay() -> None:
    plane = FakePredictors()

    own = ask(plane, "POST", "/v1/predict", json=PREDICT, inside=True)
    ready = ask(plane, "GET", "/readyz", inside=True).json()
    control = ask(plane, "GET", "/../endpoints", inside=True)

    assert own.status_code == 200
    assert (ready["status"], ready["layer"]) == ("ready", "mixture")
    assert control.status_code == 200
