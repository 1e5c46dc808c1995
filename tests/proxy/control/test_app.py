from typing import Any

import pytest

from proxy.control import ControlSettings
from tests.proxy.control.fakes import (
    MODEL,
    FakePlane,
    call,
    decision,
    error_of,
    record,
    shed_record,
)


def test_endpoints_are_listed_with_state_load_and_error() -> None:
    plane = FakePlane()
    plane.history.add(record(made=decision(ttft_s=(0.1, 0.2)), ttft_s=0.125, tpot_s=0.02))

    first, second = call(plane, "GET", "/endpoints").json()

    assert first == {
        "endpoint": "10.0.0.1:8000",
        "url": "http://10.0.0.1:8000",
        "model": MODEL,
        "hardware": "H100 SXM",
        "priority_class": 0,
        "up": True,
        "draining": False,
        "running_requests": 7.0,
        "waiting_requests": 1.0,
        "kv_cache_usage": 0.42,
        "inflight_requests": 8,
        "queued_requests": 0,
        "queued_prefill_tokens": 0.0,
        "inflight_tokens": 0.0,
        "suspicion": None,
        "scrape_age_s": 0.25,
        "typical_ttft_s": 0.1,
        "typical_ttft_p90_s": pytest.approx(0.15),
        "typical_tpot_s": 0.02,
        "typical_tpot_p90_s": pytest.approx(0.024),
        "ttft_error_ratio": pytest.approx(0.2),
        "tpot_error_ratio": 0.0,
    }
    assert second["ttft_error_ratio"] is None


def test_a_typical_request_is_the_median_of_those_that_completed() -> None:
    plane = FakePlane()
    plane.history.add(record("a"))
    plane.history.add(shed_record())

    call(plane, "GET", "/endpoints")

    assert plane.typical is not None
    assert plane.typical.prompt_tokens == 1020
    assert plane.typical.cached_tokens == 512
    assert plane.typical.output_tokens == 150
    assert plane.typical.requests == 1


def test_an_endpoint_left_alone_says_why() -> None:
    plane = FakePlane()
    plane.suspects["10.0.0.2:8000"] = "failing"

    first, second = call(plane, "GET", "/endpoints").json()

    assert (first["suspicion"], second["suspicion"]) == (None, "failing")


def test_what_was_never_scraped_is_null() -> None:
    plane = FakePlane()
    call(plane, "POST", "/endpoints", json={"url": "http://10.0.0.9:8000"})

    added = call(plane, "GET", "/endpoints").json()[-1]

    assert added["endpoint"] == "10.0.0.9:8000"
    assert added["scrape_age_s"] is None
    assert added["running_requests"] is None


def test_kept_answers_can_be_forgotten() -> None:
    plane = FakePlane()

    cleared = call(plane, "DELETE", "/response-cache")

    assert (cleared.status_code, cleared.json()) == (200, {"answers": 3})
    assert plane.answers == 0


def test_draining_and_undraining_change_the_endpoint() -> None:
    plane = FakePlane()

    drained = call(plane, "POST", "/endpoints/10.0.0.1:8000/drain")
    undrained = call(plane, "POST", "/endpoints/10.0.0.1:8000/undrain")

    assert (drained.status_code, drained.json()["draining"]) == (200, True)
    assert (undrained.status_code, undrained.json()["draining"]) == (200, False)


def test_an_endpoint_is_added_and_removed() -> None:
    plane = FakePlane()

    added = call(plane, "POST", "/endpoints", json={"url": "http://h:1/", "hardware": "L40S"})
    removed = call(plane, "DELETE", "/endpoints/h:1")

    assert (added.status_code, added.json()["url"]) == (201, "http://h:1")
    assert (removed.status_code, removed.content) == (204, b"")
    assert "h:1" not in plane.states


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/endpoints/nope:1/drain"),
        ("POST", "/endpoints/nope:1/undrain"),
        ("DELETE", "/endpoints/nope:1"),
    ],
)
def test_an_unknown_endpoint_is_404(method: str, path: str) -> None:
    answer = call(FakePlane(), method, path)

    assert answer.status_code == 404
    assert error_of(answer)["code"] == "endpoint_not_found"


def test_an_endpoint_known_already_is_409() -> None:
    answer = call(FakePlane(), "POST", "/endpoints", json={"url": "http://10.0.0.1:8000"})

    assert answer.status_code == 409
    assert error_of(answer)["param"] == "url"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "ftp://host:1"},
        {"url": "http://host:1/v1"},
        {"url": "http://user:secret@host:1"},
        {"url": "http://host:1", "colour": "red"},
        {"url": "http://host:99999"},
        [],
    ],
)
def test_a_bad_endpoint_body_is_422_in_the_one_form(body: object) -> None:
    plane = FakePlane()

    answer = call(plane, "POST", "/endpoints", json=body)

    assert answer.status_code == 422
    assert error_of(answer)["type"] == "invalid_request_error"
    assert len(plane.states) == 2


def test_a_body_that_is_not_json_is_422_in_the_one_form() -> None:
    answer = call(FakePlane(), "PUT", "/mode", content=b"{mode")

    assert answer.status_code == 422
    assert error_of(answer)["code"] == "invalid_value"


def test_the_mode_is_read_and_set() -> None:
    plane = FakePlane()

    before = call(plane, "GET", "/mode").json()
    after = call(plane, "PUT", "/mode", json={"mode": "heuristic"}).json()

    assert (before, after) == ({"mode": "predicted"}, {"mode": "heuristic"})
    assert plane.mode == "heuristic"


def test_an_unknown_mode_is_422_and_names_the_field() -> None:
    plane = FakePlane()

    answer = call(plane, "PUT", "/mode", json={"mode": "off"})

    assert answer.status_code == 422
    assert error_of(answer)["param"] == "mode"
    assert plane.mode == "predicted"


def test_trials_are_set_by_name_or_with_settings() -> None:
    plane = FakePlane()
    canary = {"policy": {"kind": "weighted_blend", "kv_weight": 0}, "share": 0.1}

    (before,) = call(plane, "GET", "/deciding").json()
    (after,) = call(plane, "PUT", "/trials", json={"shadow": "random", "canary": canary}).json()

    assert (before["level"], before["reason"]) == ("prior", "predicted")
    assert (before["shadow"], before["canary"], before["canary_share_ratio"]) == (None, None, 0.0)
    assert (after["shadow"], after["canary"]) == ("random", "weighted_blend")
    assert after["canary_share_ratio"] == 0.1


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"shadow": "best"}, "shadow", "there are: bounded_load_hash"),
        ({"canary": {"policy": "random", "share": 2}}, "canary.share", "less than or equal to 1"),
        ({"share": 0.1}, "share", ""),
    ],
)
def test_a_trial_that_cannot_be_is_422_and_says_why(
    body: dict[str, object], param: str, told: str
) -> None:
    plane = FakePlane()

    answer = call(plane, "PUT", "/trials", json=body)

    assert answer.status_code == 422
    assert error_of(answer)["param"].startswith(param)
    assert told in error_of(answer)["message"]
    assert plane.trials.canary is None


def test_models_are_described_per_fleet() -> None:
    (found,) = call(FakePlane(), "GET", "/models").json()

    assert found["model"] == MODEL
    assert found["layer"] == "mixture"
    assert [each["target"] for each in found["targets"]] == ["ttft", "tpot"]
    assert sum(found["targets"][0]["weights"].values()) == pytest.approx(1.0)
    assert found["training"]["last_result"] == "accepted"


def test_other_routers_are_told_of() -> None:
    view = call(FakePlane(), "GET", "/routers").json()

    assert (view["name"], view["connected"], view["problem"]) == ("one", False, "timeout")
    assert [(one["name"], one["training"]) for one in view["others"]] == [("two", True)]


def test_a_hypothetical_request_is_predicted_at_every_endpoint() -> None:
    plane = FakePlane()

    found = call(
        plane, "POST", "/predict", json={"model": MODEL, "prompt_tokens": 900, "max_tokens": 64}
    ).json()

    assert [each["endpoint"] for each in found["candidates"]] == ["10.0.0.1:8000", "10.0.0.2:8000"]
    assert found["candidates"][0]["predicted_ttft_s"] == pytest.approx(0.1)
    (asked,) = plane.asked
    assert (asked.prompt_tokens, asked.max_tokens, asked.arrived_s) == (900, 64, 1000.0)
    assert len(plane.history) == 0


def test_predicting_for_an_unknown_model_is_404() -> None:
    answer = call(FakePlane(), "POST", "/predict", json={"model": "gpt-5", "prompt_tokens": 1})

    assert answer.status_code == 404
    assert error_of(answer)["code"] == "model_not_found"


def test_reload_tells_what_changed() -> None:
    answer = call(FakePlane(), "POST", "/reload")

    assert answer.json() == {"changed": ["scheduler.mode"]}


def test_a_reload_that_is_refused_is_400_and_says_why() -> None:
    plane = FakePlane()
    plane.reload_error = "scheduler.max_attempts: 0 is below 1"

    answer = call(plane, "POST", "/reload")

    assert answer.status_code == 400
    assert "max_attempts" in error_of(answer)["message"]


def test_unknown_paths_and_methods_answer_in_the_one_form() -> None:
    missing = call(FakePlane(), "GET", "/nothing")
    wrong = call(FakePlane(), "DELETE", "/mode")

    assert (missing.status_code, error_of(missing)["code"]) == (404, "not_found")
    assert (wrong.status_code, error_of(wrong)["code"]) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["allow"]


def test_a_failure_of_ours_is_500_in_the_one_form_and_tells_no_inside() -> None:
    class Broken(FakePlane):
        def endpoints(self) -> Any:
            raise RuntimeError("the secret inside")

    answer = call(Broken(), "GET", "/endpoints")

    assert answer.status_code == 500
    assert "secret" not in error_of(answer)["message"]


def test_openapi_describes_every_route_and_its_refusals() -> None:
    paths = call(FakePlane(), "GET", "/openapi.json").json()["paths"]

    assert {
        "/foretoken/endpoints",
        "/foretoken/endpoints/{endpoint}",
        "/foretoken/endpoints/{endpoint}/{action}",
        "/foretoken/decisions",
        "/foretoken/decisions/{request_id}",
        "/foretoken/models",
        "/foretoken/mode",
        "/foretoken/deciding",
        "/foretoken/routers",
        "/foretoken/trials",
        "/foretoken/reload",
        "/foretoken/response-cache",
        "/foretoken/predict",
        "/foretoken/events",
    } == set(paths)
    refusal = paths["/foretoken/mode"]["put"]["responses"]["422"]["content"]["application/json"]
    assert refusal["schema"]["$ref"].endswith("/ErrorBody")


CHANGES = [
    ("POST", "/endpoints", {"url": "http://h:1"}),
    ("DELETE", "/endpoints/10.0.0.1:8000", None),
    ("POST", "/endpoints/10.0.0.1:8000/drain", None),
    ("DELETE", "/response-cache", None),
    ("PUT", "/mode", {"mode": "heuristic"}),
    ("PUT", "/trials", {"shadow": "random"}),
    ("POST", "/reload", None),
]


@pytest.mark.parametrize(("method", "path", "body"), CHANGES)
@pytest.mark.parametrize(
    ("client", "headers"),
    [
        ("10.1.2.3", {}),
        ("127.0.0.1", {"x-forwarded-for": "10.1.2.3"}),
        ("127.0.0.1", {"origin": "https://evil.example"}),
    ],
)
def test_changes_from_elsewhere_or_from_web_pages_are_refused(
    method: str, path: str, body: object, client: str, headers: dict[str, str]
) -> None:
    plane = FakePlane()

    answer = call(plane, method, path, client=client, headers=headers, json=body)

    assert answer.status_code == 403
    assert error_of(answer)["type"] == "permission_error"
    assert (plane.mode, len(plane.states)) == ("predicted", 2)


def test_looking_from_elsewhere_is_allowed() -> None:
    statuses = [
        call(FakePlane(), "GET", path, client="10.1.2.3").status_code
        for path in ("/", "/endpoints", "/decisions", "/models", "/mode", "/deciding")
    ]

    assert statuses == [200] * 6


def test_changes_from_elsewhere_are_taken_where_the_settings_allow() -> None:
    plane = FakePlane()
    settings = ControlSettings(allow_remote_changes=True)

    call(
        plane, "PUT", "/mode", client="10.1.2.3", settings=settings, json={"mode": "shadow"}
    ).raise_for_status()

    assert plane.mode == "shadow"
