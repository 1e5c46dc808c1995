"""Tables, Markdown, JSON and pictures of hand-made runs."""

import io
import json
import random
from dataclasses import replace

import pytest
from rich.console import Console

from foretoken.simulation.figures import Spread
from foretoken.simulation.outcome import Outcome, Run
from foretoken.simulation.plot import draw
from foretoken.simulation.report import (
    as_json,
    as_markdown,
    as_table,
    as_wide_tables,
    by_policy,
    json_text,
    markdown_table,
    shown,
    with_spread,
)

LONG_NAME = "prefix_affinity_requests"


def run(policy: str, seed: int, *, truncated: bool = False, slow: float = 1.0) -> Run:
    rng = random.Random(seed)
    outcomes = [
        Outcome(
            request_id=str(index),
            session_id=str(index % 7),
            arrived_s=index / 4,
            endpoint=f"e{index % 2}",
            outcome="completed",
            reason="policy",
            tier=None,
            prompt_tokens=1000,
            cached_tokens=250,
            output_tokens=101,
            ttft_s=(ttft_s := slow * rng.lognormvariate(-1, 0.8)),
            tpot_s=(tpot_s := slow * rng.uniform(0.02, 0.03)),
            e2e_s=ttft_s + 100 * tpot_s,
            upstream_ttft_s=ttft_s,
            predicted_ttft_s=ttft_s * 1.1,
            predicted_tpot_s=tpot_s,
            preemptions=0,
        )
        for index in range(240)
    ]
    return Run(
        policy=policy,
        workload="sharegpt",
        fleet="mixed-8b",
        rate=4.0,
        seed=seed,
        warmup_s=20.0,
        measure_s=40.0,
        endpoints=("e0", "e1"),
        outcomes=tuple(outcomes),
        engine_steps=1234,
        objective_ttft_s=1.0,
        objective_tpot_s=None,
        ended_s=70.0,
        truncated=truncated,
    )


RUNS = [run(LONG_NAME, 2), run("lmetric", 1, slow=300), run(LONG_NAME, 1)]


def printed(*tables: object, width: int = 120) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(*tables)
    return console.export_text()


def test_policies_keep_the_order_of_first_appearance_and_seeds_are_sorted() -> None:
    policies = by_policy(RUNS)

    assert [each.policy for each in policies] == [LONG_NAME, "lmetric"]
    assert [each.seed for each in policies[0].runs] == [1, 2]


def test_the_table_fits_120_columns_with_long_names_and_large_values() -> None:
    text = printed(as_table(by_policy(RUNS)))

    assert max(map(len, text.splitlines())) <= 120
    assert "…" not in text
    assert LONG_NAME in text
    assert "busiest" in text


def test_a_spread_is_shown_where_there_is_more_than_one_seed() -> None:
    text = printed(as_table(by_policy(RUNS)))

    assert text.count("±") == 11 + 1  # the policy with two seeds has one a column
    assert "±" not in printed(as_table(by_policy(RUNS[1:2])))


def test_a_table_names_policies_whose_requests_failed() -> None:
    failed = replace(RUNS[0].outcomes[100], outcome="cut")

    text = printed(as_table(by_policy([replace(RUNS[0], outcomes=(failed,))])))

    assert f"requests failed: {LONG_NAME}" in " ".join(text.split())


def test_a_table_says_whose_figures_are_lower_bounds() -> None:
    whole = printed(as_table(by_policy([run("lmetric", 1)])))
    cut = printed(as_table(by_policy([run("lmetric", 1, truncated=True)])))

    assert "lower bounds" not in whole
    assert "lower bounds: lmetric" in " ".join(cut.split())


def test_the_wide_tables_show_every_measured_figure_of_both_spans() -> None:
    steady, transient = as_wide_tables(by_policy(RUNS))

    text = printed(steady)

    assert "ttft_p99" in text
    assert "ntpot_p90" in text
    assert "tpot_error_bias" in text
    assert steady.row_count == transient.row_count


def test_markdown_has_a_row_for_each_policy_with_ranges() -> None:
    text = as_markdown(by_policy(RUNS))

    rows = [line for line in text.splitlines() if line.startswith("|")]

    assert len(rows) == 4
    assert len({row.count("|") for row in rows}) == 1
    assert f"| {LONG_NAME} | " in text
    assert "| 25 ±0 |" in text  # hits


def test_the_document_is_the_same_bytes_whatever_order_seeds_end_in() -> None:
    one, other = RUNS, [RUNS[2], RUNS[1], RUNS[0]]

    assert json_text(as_json(by_policy(one))) == json_text(as_json(by_policy(other)))


def test_the_document_holds_runs_spreads_and_the_objective() -> None:
    document = json.loads(json_text(as_json(by_policy(RUNS))))

    first = document["policies"][0]

    assert document["format"] == "foretoken-simulation"
    assert document["objective"] == {"tpot_s": None, "ttft_s": 1.0}
    assert first["runs"][0]["steady"]["hit_ratio"] == 0.25
    assert first["steady"]["hit_ratio"] == {"high": 0.25, "low": 0.25, "mean": 0.25}
    assert first["transient"]["requests"]["mean"] == 80
    assert first["runs"][0]["requests_by_endpoint"] == {"e0": 80, "e1": 80}


def test_a_run_in_which_nothing_ended_still_has_a_table_and_valid_json() -> None:
    policies = by_policy([replace(RUNS[0], outcomes=())])

    text = printed(as_table(policies))

    assert "-" in text
    assert json.loads(json_text(as_json(policies)))["policies"][0]["steady"]["e2e_p90_s"] is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("ttft_p90_s", 41.24, "41.2 s"),
        ("ttft_p90_s", 1234.5, "1234 s"),
        ("tpot_p90_s", 0.0381, "38.1 ms"),
        ("hit_ratio", 0.376, "37.6%"),
        ("ttft_error_bias", -0.05, "-5%"),
        ("goodput_per_s", 17.25, "17.2/s"),
        ("imbalance_requests", 1.5, "1.5"),
        ("requests", 5700, "5700"),
        ("shed_ratio", 0.0, "0%"),
    ],
)
def test_figures_are_shown_with_three_digits_and_their_unit(
    name: str, value: float, expected: str
) -> None:
    assert shown(name, Spread(mean=value, low=value, high=value)) == expected


def test_a_spread_is_half_the_range_in_the_unit_of_its_figure() -> None:
    spread = Spread(mean=0.02, low=0.0121, high=0.03)

    assert with_spread("tpot_p90_s", spread, 2) == "20 ±8.9"
    assert with_spread("tpot_p90_s", spread, 1) == "20"
    assert with_spread("tpot_p90_s", None, 2) == "-"


def test_a_markdown_table_aligns_numbers_right() -> None:
    assert markdown_table([["p", "x"], ["a", "1"]]).splitlines()[1] == "|---|--:|"


def test_a_picture_is_a_png_and_the_same_bytes_for_the_same_runs() -> None:
    pytest.importorskip("matplotlib")
    policies = by_policy([*RUNS, replace(RUNS[0], policy="shed_all", outcomes=())])

    picture, other = draw(policies), draw(policies)

    assert picture.startswith(b"\x89PNG")
    assert picture == other
