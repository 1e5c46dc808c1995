"""Finished requests are listed and explained over HTTP."""

import pytest

from tests.proxy.control.fakes import (
    EPOCH_S,
    FakePlane,
    call,
    decision,
    error_of,
    record,
    shed_record,
)


def test_a_decision_is_explained_with_candidates_and_what_happened() -> None:
    plane = FakePlane()
    plane.history.add(record("r/1", made=decision(ttft_s=(0.1, 0.2), shadow=1)))

    found = call(plane, "GET", "/decisions/r/1").json()

    assert found["endpoint"] == "10.0.0.1:8000"
    assert found["shadow_endpoint"] == "10.0.0.2:8000"
    assert found["received_at_s"] == EPOCH_S + 900.0
    assert (found["policy"], found["reason"]) == ("predicted_latency", "predicted")
    assert found["result"]["outcome"] == "completed"
    assert found["result"]["upstream_ttft_s"] == 0.125
    chosen, other = found["candidates"]
    assert (chosen["chosen"], other["chosen"]) == (True, False)
    assert chosen["predicted_ttft_s"] == pytest.approx(0.1)
    assert chosen["terms"] == {"own": pytest.approx(2.1), "others": 0.0}
    assert chosen["matched_tokens"] == 512.0


def test_a_cost_that_is_not_finite_is_null() -> None:
    plane = FakePlane()
    plane.history.add(record("r", made=decision(ttft_s=(0.1, 1e7))))

    found = call(plane, "GET", "/decisions/r").json()

    assert found["candidates"][1]["cost"] is None


def test_a_refused_request_is_explained_without_candidates() -> None:
    plane = FakePlane()
    plane.history.add(shed_record("r"))

    found = call(plane, "GET", "/decisions/r").json()

    assert (found["endpoint"], found["reason"], found["candidates"]) == (None, None, [])
    assert found["result"]["outcome"] == "shed"


def test_decisions_come_last_finished_first_up_to_the_limit() -> None:
    plane = FakePlane()
    for request_id in "abc":
        plane.history.add(record(request_id))

    found = call(plane, "GET", "/decisions?limit=2").json()

    assert [each["request_id"] for each in found] == ["c", "b"]


@pytest.mark.parametrize("limit", ["0", "201", "many"])
def test_a_limit_out_of_bounds_is_422(limit: str) -> None:
    answer = call(FakePlane(), "GET", f"/decisions?limit={limit}")

    assert answer.status_code == 422
    assert error_of(answer)["param"] == "limit"


def test_an_unknown_request_id_is_404() -> None:
    answer = call(FakePlane(), "GET", "/decisions/none")

    assert answer.status_code == 404
    assert error_of(answer)["code"] == "decision_not_found"
