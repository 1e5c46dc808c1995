"""llm-d's sidecar API: its bodies, its bounds, its status codes."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from predictor.features import COLUMN
from proxy.control import PredictorApiSettings
from proxy.control.slices import SLICE_ROWS
from tests.proxy.control.predictor_fakes import FakePredictors, ask

DATA = Path(__file__).parent / "data" / "llmd"
CASES = sorted(path.stem.removesuffix(".request") for path in DATA.glob("*.request.json"))
VOLATILE = {"predicted_at", "processing_time_ms", "flushed_at", "server_time"}

ROW = json.loads((DATA / "strict.request.json").read_text())["body"]["requests"][0]
ENTRY = {**ROW, "actual_ttft_ms": 250, "actual_tpot_ms": 0}


def settled(value: Any) -> Any:
    """Replace what differs from call to call."""
    if isinstance(value, dict):
        return {
            name: f"<{name}>" if name in VOLATILE else settled(each) for name, each in value.items()
        }
    return [settled(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("case", CASES)
def test_answers_are_those_recorded(case: str, request: pytest.FixtureRequest) -> None:
    asked = json.loads((DATA / f"{case}.request.json").read_text())
    golden = DATA / f"{case}.response.json"

    answer = ask(FakePredictors(), asked["method"], asked["path"], json=asked.get("body"))

    seen = {"status": answer.status_code, "body": settled(answer.json())}
    if request.config.getoption("--regenerate"):
        golden.write_text(json.dumps(seen, indent=2) + "\n")
    assert seen == json.loads(golden.read_text())


def test_a_row_maps_onto_the_feature_table() -> None:
    plane = FakePredictors()
    row = {**ROW, "input_token_length": 1000, "prefix_cache_score": 0.75, "num_request_running": 9}
    row |= {"num_request_waiting": 2, "prefill_tokens_in_flight": 500, "kv_cache_percentage": 0.5}

    ask(plane, "POST", "/add_training_data_bulk", json={"entries": [{**ENTRY, **row}]})

    (seen,) = plane.observed
    expected = {
        "prompt_tokens": 1000,
        "cached_tokens": 750,
        "uncached_tokens": 250,
        "waiting_requests": 2,
        "queued_requests": 2,
        "inflight_requests": 9,
        "decoding_requests": 7,
        "running_requests": 7,
        "queued_prefill_tokens": 500,
        "kv_cache_usage": 0.5,
        "context_ktok": 131.072,
    }
    assert {name: float(seen.features[COLUMN[name]]) for name in expected} == expected
    assert (seen.endpoint, seen.upstream_ttft_s, seen.tpot_s) == ("llm-d", 0.25, None)


def test_rows_of_several_requests_in_one_call_keep_their_order() -> None:
    rows = [{**ROW, "input_token_length": tokens} for tokens in (300, 100, 300, 200)]
    bare = {"prefix_cache_score": 0, "prefill_tokens_in_flight": 0}

    answer = ask(
        FakePredictors(),
        "POST",
        "/predict/bulk/strict",
        json={"requests": [{**r, **bare} for r in rows]},
    ).json()

    assert [each["ttft_ms"] for each in answer["predictions"]] == [40.0, 20.0, 40.0, 30.0]


@pytest.mark.parametrize("path", ["/predict/bulk/strict", "/predict/bulk"])
def test_more_than_a_hundred_endpoints_are_predicted(path: str) -> None:
    plane = FakePredictors()
    count = 2 * SLICE_ROWS + 7

    answer = ask(plane, "POST", path, json={"requests": [ROW] * count}).json()

    assert answer["total_requests"] == answer["successful_predictions"] == count
    assert len(answer["predictions"]) == count
    assert plane.known.calls == [SLICE_ROWS, SLICE_ROWS, 7]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/predict/bulk/strict", "requests"),
        ("/predict/bulk", "requests"),
        ("/add_training_data_bulk", "entries"),
    ],
)
def test_of_many_wrong_rows_only_the_first_is_told(path: str, field: str) -> None:
    answer = ask(FakePredictors(), "POST", path, json={field: [{}] * 100})

    assert answer.status_code == 422
    assert {tuple(error["loc"][:3]) for error in answer.json()["detail"]} == {("body", field, 0)}


def test_too_many_rows_are_refused_as_their_schema_would() -> None:
    settings = PredictorApiSettings(max_rows=3)
    plane = FakePredictors()

    asked = ask(
        plane, "POST", "/predict/bulk/strict", json={"requests": [ROW] * 4}, settings=settings
    )
    told = ask(
        plane, "POST", "/add_training_data_bulk", json={"entries": [ENTRY] * 4}, settings=settings
    )

    assert (asked.status_code, told.status_code) == (422, 422)
    assert asked.json()["detail"][0]["loc"] == ["body", "requests"]
    assert told.json()["detail"][0]["loc"] == ["body", "entries"]
    assert plane.observed == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kv_cache_percentage", 1.5),
        ("kv_cache_percentage", -0.1),
        ("kv_cache_percentage", None),
        ("input_token_length", -1),
        ("input_token_length", 1_000_000_000),
        ("input_token_length", "many"),
        ("num_request_waiting", 0.5),
        ("num_request_running", 10_000_000),
        ("prefix_cache_score", 1.01),
        ("prefill_tokens_in_flight", -5),
        ("encoder_input_size", -5),
    ],
)
def test_bad_values_are_422_with_the_fields_path(field: str, value: object) -> None:
    plane = FakePredictors()
    bad = {**ROW, field: value}

    strict = ask(plane, "POST", "/predict/bulk/strict", json={"requests": [ROW, bad]})
    taught = ask(
        plane, "POST", "/add_training_data_bulk", json={"entries": [ENTRY, {**ENTRY, **bad}]}
    )

    assert (strict.status_code, taught.status_code) == (422, 422)
    assert [each["loc"] for each in strict.json()["detail"]] == [["body", "requests", 1, field]]
    assert [each["loc"] for each in taught.json()["detail"]] == [["body", "entries", 1, field]]
    assert plane.observed == []


@pytest.mark.parametrize("text", ['{"actual_ttft_ms": NaN}', '{"actual_ttft_ms": 1e400}'])
def test_numbers_that_are_none_never_come_through(text: str) -> None:
    plane = FakePredictors()
    entry = json.dumps(ENTRY)[:-1] + ", " + text[1:]

    answer = ask(
        plane,
        "POST",
        "/add_training_data_bulk",
        content='{"entries": [' + entry + "]}",
        headers={"content-type": "application/json"},
    )

    assert answer.status_code == 422
    assert plane.observed == []


@pytest.mark.parametrize("body", ["", "{", "[]", '{"requests": 3}', '{"requests": []}'])
def test_what_is_no_batch_is_422(body: str) -> None:
    answer = ask(FakePredictors(), "POST", "/predict/bulk/strict", content=body)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][0] == "body"


def test_a_body_longer_than_allowed_is_413() -> None:
    settings = PredictorApiSettings(max_body_bytes=1024)

    answer = ask(
        FakePredictors(),
        "POST",
        "/predict/bulk/strict",
        json={"requests": [ROW] * 20},
        settings=settings,
    )

    assert answer.status_code == 413


def test_fields_of_other_versions_are_ignored() -> None:
    row = {**ROW, "endpoint_tier": "gold"}

    answer = ask(FakePredictors(), "POST", "/predict/bulk/strict", json={"requests": [row]})

    assert answer.status_code == 200


def test_the_objective_decides_which_number_goes_out() -> None:
    answers = [
        ask(
            FakePredictors(),
            "POST",
            "/predict/bulk/strict",
            json={"requests": [ROW]},
            settings=PredictorApiSettings(objective=objective),
        ).json()["predictions"][0]
        for objective in ("mean", "p90")
    ]

    mean, p90 = answers
    assert (mean["objective_type"], p90["objective_type"]) == ("mean", "quantile")
    assert p90["ttft_ms"] == pytest.approx(1.5 * mean["ttft_ms"])
    assert p90["tpot_ms"] == pytest.approx(1.5 * mean["tpot_ms"])


def test_rows_belong_to_one_endpoint_unless_they_name_theirs() -> None:
    plane = FakePredictors()
    rows = [
        ROW,
        {**ROW, "pod_type": "prefill"},
        {**ROW, "pod_type": None, "endpoint": "10.0.0.1:8"},
    ]
    settings = PredictorApiSettings(llmd_hardware="h100", llmd_model="qwen3")

    ask(plane, "POST", "/predict/bulk/strict", json={"requests": rows}, settings=settings)

    assert plane.known.endpoints == {"llm-d", "llm-d/prefill", "10.0.0.1:8"}
    assert plane.known.hardware == {"h100"}
    assert plane.asked == ["qwen3"]


def test_a_time_of_zero_was_not_measured() -> None:
    plane = FakePredictors()
    entries = [
        {**ENTRY, "actual_ttft_ms": 0, "actual_tpot_ms": 20.5},
        {**ENTRY, "actual_ttft_ms": 0, "actual_tpot_ms": 0},
    ]

    answer = ask(plane, "POST", "/add_training_data_bulk", json={"entries": entries})

    assert answer.status_code == 202
    assert answer.json()["refused"] == {"nothing_measured": 1}
    assert [(o.upstream_ttft_s, o.tpot_s) for o in plane.observed] == [(None, 0.0205)]


def test_a_predictor_that_fails_is_503_or_an_error_per_row() -> None:
    plane = FakePredictors()
    plane.known.failing = True

    strict = ask(plane, "POST", "/predict/bulk/strict", json={"requests": [ROW]})
    bulk = ask(plane, "POST", "/predict/bulk", json={"requests": [ROW, ROW]}).json()

    assert (strict.status_code, strict.json()) == (503, {"detail": "no trees today"})
    assert bulk["predictions"] == [None, None]
    assert (bulk["failed_predictions"], bulk["successful_predictions"]) == (2, 0)
    assert [each["index"] for each in bulk["errors"]] == [0, 1]


def test_times_carry_their_zone_as_the_routers_parser_wants() -> None:
    answer = ask(FakePredictors(), "POST", "/predict", json=ROW).json()

    for name in ("predicted_at", "last_model_load"):
        assert datetime.fromisoformat(answer[name]).tzinfo is not None


@pytest.mark.parametrize("path", ["/add_training_data_bulk", "/flush", "/reload"])
@pytest.mark.parametrize("inside", [True, False])
def test_strangers_may_predict_and_not_teach(path: str, inside: bool) -> None:
    plane = FakePredictors()
    body = {"entries": [ENTRY]} if "data" in path else {}

    refused = ask(plane, "POST", path, json=body, client="10.1.2.3", inside=inside)
    page = ask(plane, "POST", path, json=body, headers={"origin": "http://x"}, inside=inside)
    asked = ask(
        plane,
        "POST",
        "/predict/bulk/strict",
        json={"requests": [ROW]},
        client="10.1.2.3",
        inside=inside,
    )
    allowed = ask(
        plane, "POST", path, json=body, client="10.1.2.3", inside=inside, allow_remote=True
    )

    assert (refused.status_code, page.status_code, asked.status_code) == (403, 403, 200)
    assert allowed.status_code in {200, 202}
    assert len(plane.observed) == (1 if "data" in path else 0)


def test_the_schema_documents_every_route() -> None:
    paths = ask(FakePredictors(), "GET", "/openapi.json").json()["paths"]

    strict = paths["/predict/bulk/strict"]["post"]["requestBody"]["content"]["application/json"]
    assert strict["schema"] == {"$ref": "#/components/schemas/LlmdPredictionBatch"}
    assert {"/v1/predict", "/v1/observe", "/add_training_data_bulk", "/readyz"} <= set(paths)
