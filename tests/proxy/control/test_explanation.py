"""What is told of one finished request: everything that was known, and what then happened."""

import math
from typing import get_args

import numpy as np
import pytest

from predictor.experts import EXPERTS, LAYERS
from predictor.features import COLUMN, N_FEATURES, NAMES
from predictor.types import EndpointState, FailedDispatch, SpillReason
from predictor.values import replace
from proxy.control.explanation import SPILLED, WHY
from scheduler import Reason
from tests.proxy.control.fakes import (
    EPOCH_S,
    MODEL,
    FakePlane,
    call,
    decision,
    record,
    shed_record,
)
from tests.proxy.control.fakes import (
    NAMES as ENDPOINTS,
)


def reasons(kind: object) -> set[str]:
    """Give the words of a union of literals."""
    found = set()
    for part in get_args(kind):
        found |= {part} if isinstance(part, str) else reasons(part)
    return found


def test_every_reason_is_put_into_words() -> None:
    assert reasons(Reason) == WHY.keys()
    assert LAYERS.keys() == set(EXPERTS)


def test_a_finished_request_is_told_with_everything_that_was_known() -> None:
    plane = FakePlane()
    features = np.zeros((2, N_FEATURES))
    features[:, COLUMN["prompt_tokens"]] = 1024
    features[:, COLUMN["max_tokens"]] = math.nan
    made = replace(decision(shadow=1), features=features, likely=0.75)
    plane.history.add(record("r-1", made=made))

    told = call(plane, "GET", "/decisions/r-1").json()

    assert told["why"] == "predicted_latency: the lowest predicted cost in seconds decided"
    assert told["shadow_endpoint"] == ENDPOINTS[1]
    assert told["likely_ratio"] == 0.75
    assert [each["name"] for each in told["features"]] == list(NAMES)
    best, other = told["candidates"]
    assert (best["endpoint"], best["chosen"], other["chosen"]) == (ENDPOINTS[0], True, False)
    assert best["features"]["prompt_tokens"] == 1024
    assert best["features"]["max_tokens"] is None
    assert best["terms"] == {"own": pytest.approx(2.1), "others": 0.0}
    ttft = best["prediction"]["ttft"]
    assert [ttft[name] for name in ("expected_s", "p50_s", "p90_s", "p99_s")] == pytest.approx(
        [0.1, 0.1, 0.15, 0.2]
    )
    assert [each["expert"] for each in ttft["experts"]] == list(EXPERTS)
    assert sum(each["weight_ratio"] for each in ttft["experts"]) == pytest.approx(1.0)
    assert told["errors"]["ttft"] == {
        "predicted_s": 0.1,
        "p50_s": 0.1,
        "p90_s": pytest.approx(0.15),
        "p99_s": 0.2,
        "actual_s": 0.125,
        "error_ratio": pytest.approx(-0.2),
        "within_p90": True,
    }
    assert told["dispatches"] == [
        {
            "attempt": 1,
            "endpoint": ENDPOINTS[0],
            "at_s": EPOCH_S + 900.0,
            "seconds": 5.0,
            "failed": None,
        }
    ]
    assert told["serving"] == {
        "version": "20261121T104500-9c1d",
        "layer": "mixture",
        "same_version": False,
    }


def test_experts_that_said_nothing_have_no_weight() -> None:
    plane = FakePlane()
    made = decision()
    assert made.predictions is not None
    experts = made.predictions.experts.copy()
    experts[:, EXPERTS.index("prior")] = np.nan
    made = replace(made, predictions=replace(made.predictions, experts=experts))
    plane.history.add(record("r-1", made=made))

    (candidate, *_) = call(plane, "GET", "/decisions/r-1").json()["candidates"]

    told = {each["expert"]: each for each in candidate["prediction"]["ttft"]["experts"]}
    silent = told.pop("prior")
    assert silent == {"expert": "prior", "layer": "physics", "seconds": None, "weight_ratio": None}
    shares = [each["weight_ratio"] for each in told.values()]
    assert shares == pytest.approx([1 / len(shares)] * len(shares))


def test_failed_dispatches_waits_and_the_trace_are_told() -> None:
    plane = FakePlane()
    failure = FailedDispatch(
        endpoint=ENDPOINTS[1], dispatched_s=900.0, failed_s=900.5, cause="unreachable"
    )
    told_by = record("r-1", finished_s=906.0)
    plane.history.add(
        replace(
            told_by,
            request=replace(told_by.request, trace_id="ab" * 16),
            attempts=2,
            failures=(failure,),
            dispatched_s=901.0,
            queued_s=0.25,
            waited_for="endpoints_full",
        )
    )

    told = call(plane, "GET", "/decisions/r-1").json()

    assert [(each["endpoint"], each["seconds"], each["failed"]) for each in told["dispatches"]] == [
        (ENDPOINTS[1], 0.5, "unreachable"),
        (ENDPOINTS[0], 5.0, None),
    ]
    assert told["queue"] == {"queued_s": 0.25, "waited_for": "endpoints_full", "refused": None}
    assert told["trace_id"] == "ab" * 16
    assert f"{ENDPOINTS[1]} unreachable" in told["why"]
    assert "waited 0.25 s for its turn: endpoints_full" in told["why"]


def test_a_refused_request_says_why_and_what_speaks_against_each_endpoint() -> None:
    plane = FakePlane()
    first, second = ENDPOINTS
    plane.states[second] = replace_state(plane.states[second], up=False)
    plane.states["10.0.0.9:1"] = EndpointState(endpoint="10.0.0.9:1", url="http://10.0.0.9:1")
    plane.suspects[first] = "failing"
    plane.history.add(replace(shed_record("r-2"), refused="no_endpoint"))

    told = call(plane, "GET", "/decisions/r-2").json()

    assert told["why"] == "refused: no_endpoint; it was never sent anywhere"
    assert (told["candidates"], told["dispatches"]) == ([], [])
    assert told["errors"] == {"ttft": None, "tpot": None}
    assert told["left_out"] == [
        {"endpoint": first, "now": "failing"},
        {"endpoint": second, "now": "down"},
        {"endpoint": "10.0.0.9:1", "now": "down"},
    ]


def replace_state(state: EndpointState, *, up: bool) -> EndpointState:
    return EndpointState(
        endpoint=state.endpoint, url=state.url, model=MODEL, up=up, scraped_s=state.scraped_s
    )


def test_numbers_that_are_none_are_null() -> None:
    plane = FakePlane()
    plane.history.add(record("r-1", made=decision(ttft_s=(0.1, math.inf))))

    told = call(plane, "GET", "/decisions/r-1").json()

    assert told["candidates"][1]["prediction"]["ttft"]["expected_s"] is None


def test_an_unknown_request_is_404_in_the_one_form() -> None:
    answer = call(FakePlane(), "GET", "/decisions/no/such request")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "decision_not_found"
    assert answer.json()["error"]["param"] == "request_id"


def test_the_schema_says_what_an_explanation_is() -> None:
    schemas = call(FakePlane(), "GET", "/openapi.json").json()["components"]["schemas"]

    assert {"candidates", "dispatches", "errors", "why"} <= set(
        schemas["ExplanationView"]["properties"]
    )


def test_a_request_on_standby_says_why_and_who_was_of_another_class() -> None:
    plane = FakePlane()
    made = replace(decision(), priority_class=1, spilled="objective")
    plane.history.add(record("r-1", made=made))
    plane.states["other:1"] = EndpointState(
        endpoint="other:1", url="http://other:1", model=MODEL, up=True
    )

    told = call(plane, "GET", "/decisions/r-1").json()

    assert (told["priority_class"], told["spilled"]) == (1, "objective")
    assert told["why"].endswith(
        "went to standby class 1: no endpoint of the class below was likely to meet its objective"
    )
    assert told["left_out"] == [{"endpoint": "other:1", "now": "of priority class 0"}]


def test_every_reason_to_go_to_standby_is_put_into_words() -> None:
    assert reasons(SpillReason) == SPILLED.keys()
