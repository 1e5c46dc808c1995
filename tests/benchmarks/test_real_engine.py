"""The pure parts of the comparison on real vLLM: what is read, who comes when, what is printed."""

import asyncio
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.real_engine import report, routers
from benchmarks.real_engine.__main__ import parse
from benchmarks.real_engine.client import DATASETS, Measured, Traffic, arguments, read_result
from benchmarks.real_engine.turns import Turn, order, read_counters, shares
from foretoken.errors import DemoFailed

# As vllm bench serve 0.32.0 writes it, shortened to what is read and a little more.
RESULT = {
    "backend": "openai",
    "completed": 3,
    "failed": 1,
    "total_output_tokens": 48,
    "ttfts": [0.085, 0.066, 0.065, 0.0],
    "errors": ["", "", "", "Traceback (most recent call last):\nValueError: Bad Gateway"],
    "mean_ttft_ms": 72.0,
    "p99_ttft_ms": 84.7,
    "mean_e2el_ms": 90.5,
    "p99_e2el_ms": 138.3,
}


def measured(ttft_mean_s: float | None, errors: int = 0) -> Measured:
    return Measured(
        requests=4,
        errors=errors,
        first_error="Bad Gateway" if errors else None,
        output_tokens=64,
        ttft_mean_s=ttft_mean_s,
        ttft_p99_s=0.2,
        e2e_mean_s=0.3,
        e2e_p99_s=0.4,
    )


def turns() -> list[Turn]:
    played = [
        Turn(round=number, place=0, router="foretoken", dataset=dataset, measured=measured(ttft_s))
        for number, ttft_s in enumerate((0.010, 0.030))
        for dataset in DATASETS
    ]
    refused = [
        Turn(round=0, place=1, router="vllm-router", dataset=dataset, reason="not [installed]")
        for dataset in DATASETS
    ]
    return played + refused


def test_a_result_is_read_in_seconds() -> None:
    got = read_result(RESULT)

    assert got.requests == 4
    assert got.errors == 1
    assert got.first_error == "ValueError: Bad Gateway"
    assert got.output_tokens == 48
    assert got.ttft_mean_s == pytest.approx(0.072)
    assert got.ttft_p99_s == pytest.approx(0.0847)
    assert got.e2e_mean_s == pytest.approx(0.0905)
    assert got.e2e_p99_s == pytest.approx(0.1383)


def test_a_run_without_an_answer_has_no_latency_rather_than_zero() -> None:
    nothing = RESULT | {"completed": 0, "failed": 4, "mean_ttft_ms": 0.0, "mean_e2el_ms": 0.0}

    got = read_result(nothing)

    assert got.errors == 4
    assert (got.ttft_mean_s, got.ttft_p99_s, got.e2e_mean_s, got.e2e_p99_s) == (None,) * 4


@pytest.mark.parametrize("broken", [{"completed": None}, {"mean_ttft_ms": "72"}])
def test_a_result_of_another_form_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises(DemoFailed, match="cannot be read"):
        read_result(RESULT | broken)
    with pytest.raises(DemoFailed, match="cannot be read"):
        read_result({})


def test_over_as_many_rounds_as_routers_each_comes_once_at_every_place() -> None:
    names = tuple(routers.ROUTERS)

    rounds = [order(names, number) for number in range(len(names))]

    assert all(sorted(one) == sorted(names) for one in rounds)
    assert all(len({one[place] for one in rounds}) == len(names) for place in range(len(names)))


@pytest.mark.parametrize("name", routers.ROUTERS)
def test_every_router_is_told_both_endpoints_and_its_ports(name: str) -> None:
    router = routers.ROUTERS[name]

    line = routers.command_line(router, ["program"], (8101, 8102), ["http://a", "http://b"])

    assert {"http://a", "http://b", "8101"} < set(line)
    assert not any("{" in part for part in line)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_client_is_told_the_dataset_and_where_its_result_goes(dataset: str) -> None:
    traffic = Traffic(dataset=dataset, requests=8, rate=2.0, seed=7)

    line = arguments("http://127.0.0.1:1", traffic, Path("/results/one.json"))

    assert line[line.index("--dataset-name") + 1] == dataset
    assert line[line.index("--seed") + 1] == "7"
    assert line[line.index("--result-filename") + 1] == "one.json"
    assert all(isinstance(part, str) for part in line)


def test_shares_are_unknown_where_nothing_was_served() -> None:
    none = read_counters("")

    assert shares([none, none], [none, none]) == (None, None)


def test_rows_hold_mean_and_range_over_rounds_and_leave_no_router_out() -> None:
    names = ("foretoken", "vllm-router", "sglang-router")

    rows = report.summarise(turns(), names)

    assert [(row.dataset, row.router) for row in rows] == [
        (dataset, name) for dataset in DATASETS for name in names
    ]
    ours, refused, unplayed = rows[:3]
    assert ours.ttft_mean_s == report.Spread(mean=pytest.approx(0.02), least=0.01, most=0.03)
    assert (ours.rounds, ours.requests, ours.errors) == (2, 8, 0)
    assert (refused.rounds, refused.ttft_mean_s) == (0, None)
    assert refused.problems == ("not [installed]",)
    assert (unplayed.rounds, unplayed.problems) == (0, ())


def test_failed_requests_are_counted_and_quoted() -> None:
    failed = Turn(
        round=0, place=0, router="foretoken", dataset="random", measured=measured(None, errors=4)
    )

    row = report.summarise([failed], ("foretoken",))[0]

    assert (row.errors, row.requests) == (4, 4)
    assert row.ttft_mean_s is None
    assert row.problems == ("Bad Gateway",)


def test_the_table_names_a_router_that_did_not_run_and_the_note_says_why() -> None:
    rows = report.summarise(turns(), ("foretoken", "vllm-router"))
    out = Console(file=io.StringIO(), width=170)

    out.print(report.table(rows))
    for line in report.notes(rows):
        out.print(line)

    assert isinstance(out.file, io.StringIO)
    text = out.file.getvalue()
    assert "20 (10 to 30)" in text
    assert "not run" in text
    assert text.count("vllm-router: not [installed]") == 1


def test_what_decided_is_summed_over_rounds_and_said() -> None:
    played = [
        Turn(
            round=number,
            place=0,
            router="foretoken",
            dataset="random",
            measured=measured(0.1),
            reasons={"cold": 1, "policy": 3},
        )
        for number in range(2)
    ]

    rows = report.summarise(played, ("foretoken",))

    assert rows[0].decided == {"cold": 2, "policy": 6}
    assert report.notes(rows) == ["foretoken, random: decided cold 2, policy 6"]


def test_the_document_is_json_with_every_turn() -> None:
    played = turns()

    kept = report.document(report.summarise(played, ("foretoken",)), played, {"cores": 2})

    read = json.loads(json.dumps(kept))
    assert len(read["turns"]) == len(played)
    assert read["rows"][0]["e2e_p99_s"] == {"mean": 0.4, "least": 0.4, "most": 0.4}


def test_a_program_that_fails_to_install_ends_with_its_last_words() -> None:
    with pytest.raises(DemoFailed, match="no such package"):
        asyncio.run(routers.called("sh", "-c", "echo no such package; exit 3"))


@pytest.mark.parametrize(
    "line",
    [
        "--routers nginx",
        "--rounds 0",
        "--rate 0",
        "--requests 0",
        "--requests 5",
        "--json /nowhere/at/all.json",
    ],
)
def test_bad_arguments_are_refused_before_anything_starts(line: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse(line.split())


def test_quick_plays_less_and_named_values_win() -> None:
    plan, json_path = parse(["--quick", "--requests", "8", "--routers", "vllm-router,foretoken"])

    assert (plan.rounds, plan.requests) == (2, 8)
    assert plan.names == ("vllm-router", "foretoken")
    assert json_path is None
