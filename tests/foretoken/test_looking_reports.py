"""What ``status``, ``endpoints`` and ``explain`` print, of answers old, new and hostile."""

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from foretoken.decision_report import account, decisions_table
from foretoken.fleet_report import endpoints_table, standing, state_of, troubles
from foretoken.terminal import console_for_tables

ENDPOINT: dict[str, Any] = {
    "endpoint": "10.0.0.1:8000",
    "model": "m",
    "up": True,
    "draining": False,
    "running_requests": 7,
    "waiting_requests": None,
    "kv_cache_usage": 0.42,
    "inflight_requests": 3,
    "scrape_age_s": 0.1,
    "ttft_error_ratio": 0.1,
    "tpot_error_ratio": None,
}
CANDIDATE: dict[str, Any] = {
    "endpoint": "10.0.0.1:8000",
    "chosen": True,
    "predicted_ttft_s": 0.2,
    "predicted_ttft_p90_s": 0.4,
    "predicted_tpot_s": 0.02,
    "predicted_tpot_p90_s": 0.03,
    "matched_tokens": 64,
    "cost": 1.5,
    "terms": {"ttft": 0.5, "decode": 1.0},
}
OLD: dict[str, Any] = {
    "request_id": "r-1",
    "received_at_s": 1_790_000_000.0,
    "model": "m",
    "endpoint": "10.0.0.1:8000",
    "reason": "predicted",
    "policy": "predicted_latency",
    "layer": "mixture",
    "attempts": 1,
    "predicted_ttft_s": 0.2,
    "prompt_tokens": 1234,
    "result": {"outcome": "completed", "status": 200, "upstream_ttft_s": 0.25, "ttft_s": 0.26},
    "candidates": [CANDIDATE],
}
NEW: dict[str, Any] = {
    **OLD,
    "attempts": 2,
    "why": "the policy predicted_latency decided",
    "request": {"streamed": True, "max_tokens": 50, "tier": "gold", "objective_ttft_s": 0.5},
    "likely_ratio": 0.93,
    "queue": {"queued_s": 0.12, "waited_for": "room", "refused": None},
    "dispatches": [
        {"attempt": 1, "endpoint": "10.0.0.2:8000", "seconds": 0.1, "failed": "unreachable"},
        {"attempt": 2, "endpoint": "10.0.0.1:8000", "seconds": 2.0, "failed": None},
    ],
    "errors": {
        "ttft": {"predicted_s": 0.2, "p90_s": 0.4, "actual_s": 0.25, "error_ratio": -0.2,
                 "within_p90": True},
        "tpot": None,
    },
    "left_out": [{"endpoint": "10.0.0.3:8000", "now": "down"}],
    "features": [{"name": "prompt_tokens", "unit": "tokens"}],
    "candidates": [
        {
            **CANDIDATE,
            "features": {"prompt_tokens": 1234.0},
            "prediction": {"ttft": {"experts": [
                {"expert": "prior", "layer": "physics", "seconds": 0.19, "weight_ratio": 0.7},
            ]}},
        }
    ],
}  # fmt: skip


def shown(what: RenderableType, columns: int = 80) -> str:
    text = io.StringIO()
    Console(file=text, width=columns, highlight=False).print(what)
    return text.getvalue()


def test_an_account_of_an_older_server_leaves_out_what_it_lacks() -> None:
    text = shown(account(OLD, whole=True))

    assert "r-1, 2026-09-21" in text
    assert "1,234 prompt tokens" in text
    assert "resting" not in text
    assert "mixture of experts" in text
    assert "Score in seconds" in text
    assert "waited" not in text


def test_an_account_says_what_was_asked_why_it_went_there_and_what_came_of_it() -> None:
    text = " ".join(shown(account(NEW, whole=False), 200).split())

    assert "at most 50 output tokens, streamed, tier gold" in text
    assert "TTFT 500 ms; met with probability 0.93" in text
    assert "attempt 2" in text
    assert "120 ms in the queue for room" in text
    assert "10.0.0.2:8000 for 100 ms, unreachable; 10.0.0.1:8000 for 2 s" in text
    assert "250 ms from its endpoint, 200 ms predicted (-20%)" in text
    assert "held" in text
    assert "10.0.0.3:8000 (down now)" in text
    assert "Experts" not in text


def test_the_whole_account_has_experts_and_features() -> None:
    text = " ".join(shown(account(NEW, whole=True)).split())

    assert "prior 190 ms 70%" in text
    assert "prompt_tokens tokens 1,234" in text


def test_a_request_that_was_refused_has_an_account() -> None:
    text = shown(account({"request_id": "r", "result": {"outcome": "shed"}}, whole=True))

    assert "no endpoint" in text
    assert "shed" in text


@pytest.mark.parametrize("columns", [80, 120])
def test_nothing_that_others_chose_reaches_the_terminal_as_control(columns: int) -> None:
    hostile = "\x1b[2J[red]\x07"
    view = {**NEW, "request_id": hostile, "model": hostile, "why": hostile}
    fleet = [{**ENDPOINT, "endpoint": hostile, "model": hostile}]

    text = shown(account(view, whole=True), columns)
    text += shown(endpoints_table(fleet, {}), columns) + shown(decisions_table([view]), columns)
    text += "".join(
        troubles(fleet, [{"model": hostile, "level": "heuristic"}], [], [], "predicted")
    )

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]" in text


def test_unknown_is_a_dash_in_the_fleet() -> None:
    text = shown(endpoints_table([ENDPOINT], {"10.0.0.1:8000": CANDIDATE}))

    assert text.splitlines()[1].split() == [
        "10.0.0.1:8000", "up", "7", "-", "3", "42%", "200", "ms", "20.0", "ms", "10%/-",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "up"),
        ({"up": False, "draining": True}, "down"),
        ({"draining": True}, "draining"),
        ({"suspicion": "silent"}, "avoided: silent"),
        ({"scrape_age_s": 60}, "stale"),
    ],
)
def test_a_state_is_one_word(changed: dict[str, object], word: str) -> None:
    assert state_of({**ENDPOINT, **changed})[0] == word


def test_trouble_is_what_somebody_should_get_up_for() -> None:
    shed = {"request_id": "r", "result": {"outcome": "shed"}}
    done = {"request_id": "s", "result": {"outcome": "completed"}}
    cold = {"model": "m", "level": "heuristic", "reason": "cold"}
    broken = {"model": "m", "level": "heuristic", "reason": "prediction_failed"}
    dead = {"model": "m", "training": {"enabled": True, "alive": False}}

    assert troubles([ENDPOINT], [cold], [], [shed, *[done] * 99], "predicted") == []
    assert troubles([], [], [], [], "predicted") == ["there is no endpoint"]
    found = troubles([{**ENDPOINT, "up": False}], [broken], [dead], [shed, done], "shadow")

    assert any("no endpoint is up" in one for one in found)
    assert any("1 of the last 2 requests failed; to see why: foretoken explain r" in one
               for one in found)  # fmt: skip
    assert any("the mode is shadow" in one for one in found)
    assert any("trainer of m is not running" in one for one in found)


ROUTERS: dict[str, Any] = {
    "configured": True,
    "name": "one",
    "connected": True,
    "problem": None,
    "training": False,
    "others": [{"name": "two", "same_store": True}],
}


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"configured": False, "connected": False}, []),
        ({"connected": False, "others": []}, ["not connected with other routers: not yet"]),
        (
            {"connected": False, "problem": "timeout"},
            ["not connected with other routers: the server at routers.url does not answer in time"],
        ),
        ({"others": [{"name": "two", "same_store": False}]}, []),
    ],
)
def test_routers_that_are_apart_are_trouble(changed: dict[str, Any], found: list[str]) -> None:
    routers = {**ROUTERS, **changed}

    assert troubles([ENDPOINT], [], [], [], "predicted", routers=routers) == found


def test_who_has_a_models_store_of_its_own_is_told() -> None:
    others = [{"name": "two", "same_store": False, "training": True}, {"name": "three"}]

    told = standing({**ROUTERS, "others": others})

    assert told == "router one, with two, three; two trains; with a models store of their own: two"


@pytest.mark.parametrize("reason", ["predicted", "objective_met"])
def test_a_line_of_the_list_fits_80_characters_and_keeps_its_names_whole(reason: str) -> None:
    finished = OLD | {
        "request_id": "00546ab66a25-9c",
        "endpoint": "127.0.0.1:8951",
        "reason": reason,
        "predicted_tpot_s": 0.0064,
        "result": OLD["result"] | {"upstream_ttft_s": 0.0287, "tpot_s": 0.0064},
    }

    heading, *lines = shown(decisions_table([finished])).splitlines()

    assert heading.split()[:3] == ["request", "endpoint", "why"]
    assert len(lines) == 1
    assert lines[0].split()[:3] == ["00546ab66a25-9c", "127.0.0.1:8951", reason]


def test_a_narrow_line_folds_the_words_and_not_the_names() -> None:
    finished = OLD | {"request_id": "00546ab66a25-9c", "endpoint": "127.0.0.1:8951"}

    told = shown(decisions_table([finished | {"reason": "prediction_inaccurate"}]), 70)

    assert "00546ab66a25-9c 127.0.0.1:8951 " in told


def test_a_table_in_a_pipe_has_lines_that_grep_can_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    long = "chatcmpl-" + "0123456789abcdef" * 4

    console_for_tables().print(decisions_table([OLD | {"request_id": long}]))

    assert long in capsys.readouterr().out
