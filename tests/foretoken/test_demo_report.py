"""The demo's figures: what the table and the JSON document say of given answers."""

import json

from rich.console import Console

from foretoken.demo_client import Answer
from foretoken.demo_report import Round, as_json, as_table, errors_over_time
from foretoken.demo_traffic import Played


def answer(at_s: float, ttft_s: float, *, predicted: float | None = None) -> Answer:
    return Answer(
        at_s=at_s,
        ttft_s=ttft_s,
        e2e_s=ttft_s * 10,
        tpot_s=0.01,
        endpoint="a:1",
        predicted_ttft_s=predicted,
        predicted_tpot_s=0.01,
        prompt_tokens=100,
        cached_tokens=25,
    )


def played(*answers: Answer) -> Round:
    return Round(
        policy="predicted_latency",
        played=Played(answers=list(answers), loop_lag_s=[0.001, 0.002]),
        busy_ratio=0.5,
    )


def test_figures_count_errors_apart_and_leave_them_out_of_latencies() -> None:
    given = played(answer(0, 0.1), answer(1, 0.3), Answer(at_s=2.0, error="HTTP 503"))

    (figures,) = json.loads(json.dumps(as_json([given], 3.0)))["rounds"]

    assert (figures["requests"], figures["errors"]) == (3, 1)
    assert figures["error_texts"] == ["HTTP 503"]
    assert figures["ttft_s"]["mean"] == 0.2
    assert figures["hit_ratio"] == 0.25
    assert figures["requests_by_endpoint"] == {"a:1": 2}


def test_the_error_of_the_last_third_is_by_time_of_sending() -> None:
    early = [answer(at, 1.0, predicted=3.0) for at in (0, 1, 2, 3)]
    late = [answer(at, 1.0, predicted=1.1) for at in (4, 5)]

    (figures,) = as_json([played(*late, *early)], 6.0)["rounds"]  # type: ignore[misc]  # a list

    assert round(figures["ttft_mdape"], 6) == 0.1
    assert figures["ttft_mdape_over_time"][0] == 2.0


def test_a_round_without_any_answer_is_valid_json_and_has_a_table() -> None:
    document = as_json([played(Answer(at_s=0.0, error="HTTP 500"))], 1.0)
    console = Console(width=100, record=True, quiet=True)

    console.print(as_table(document))

    json.dumps(document, allow_nan=False)
    assert errors_over_time(document) == {"predicted_latency": ""}
