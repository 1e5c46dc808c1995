"""``foretoken simulate``: what is asked for, what is refused, what is written."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from foretoken.cli import app
from foretoken.errors import PlotsMissing, SimulationRefused
from foretoken.simulation.comparison import Comparison, compare, names, plan, rate_at
from foretoken.simulation.jobs import Job, Progress
from foretoken.simulation.outcome import Run
from simulator.fleets import load_fleet
from simulator.workloads import load_workload

runner = CliRunner()
CHAT = ("--workload", "sharegpt", "--fleet", "mixed-8b")


def refused(*arguments: str) -> str:
    result = runner.invoke(app, ["simulate", *arguments])
    assert isinstance(result.exception, SimulationRefused | PlotsMissing), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def empty_run(job: Job, progress: Progress) -> Run:
    progress(0.5)
    return Run(
        policy=job.policy,
        workload=job.workload,
        fleet=job.fleet,
        rate=job.rate,
        seed=job.seed,
        warmup_s=job.warmup_s,
        measure_s=job.measure_s,
        endpoints=("a",),
        outcomes=(),
        engine_steps=0,
        objective_ttft_s=None,
        objective_tpot_s=None,
        ended_s=job.measure_s,
        truncated=False,
    )


def test_every_policy_is_played_with_every_seed_in_the_order_asked_for() -> None:
    asked = Comparison(
        workload="sharegpt", fleet="mixed-8b", policies=("random", "lmetric"), rate=2.0, seeds=2
    )

    runs = compare(asked, play=empty_run)

    assert [(run.policy, run.seed) for run in runs] == [
        ("random", 1), ("random", 2), ("lmetric", 1), ("lmetric", 2),
    ]  # fmt: skip


def test_windows_are_the_workloads_own_unless_others_are_given() -> None:
    workload = load_workload("sharegpt")
    asked = Comparison(workload="sharegpt", fleet="mixed-8b", rate=2.0)

    (own, *_) = plan(asked)
    (other, *_) = plan(
        Comparison(workload="sharegpt", fleet="mixed-8b", rate=2.0, warmup_s=0.0, measure_s=5.0)
    )

    assert (own.warmup_s, own.measure_s) == (workload.warmup_s, workload.measure_s)
    assert (other.warmup_s, other.measure_s) == (0.0, 5.0)


def test_a_bar_is_drawn_only_where_there_is_a_terminal() -> None:
    asked = Comparison(workload="sharegpt", fleet="mixed-8b", policies=("random",), rate=2.0)
    file, terminal = io.StringIO(), io.StringIO()

    compare(asked, play=empty_run, console=Console(file=file, force_terminal=False))
    compare(asked, play=empty_run, console=Console(file=terminal, force_terminal=True))

    assert file.getvalue() == ""
    assert "3 runs" in terminal.getvalue()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "--list"),
        (("--workload", "sharegpt"), "--fleet"),
        (("--workload", "nothing", "--fleet", "mixed-8b", "--rate", "1"), "nothing"),
        (("--workload", "sharegpt", "--fleet", "nothing", "--rate", "1"), "nothing"),
        ((*CHAT, "--rate", "1", "--policy", "best"), "round_robin"),
        ((*CHAT, "--rate", "1", "--load", "0.5"), "--load"),
        ((*CHAT, "--rate", "1e9", "--jobs", "1"), "the limit is 2,000,000"),
    ],
)
def test_what_cannot_be_played_is_refused_in_one_line(
    arguments: tuple[str, ...], expected: str
) -> None:
    assert expected in refused(*arguments)


def test_a_load_is_a_share_of_a_capacity_that_has_to_be_known() -> None:
    workload = load_workload("sharegpt")

    with pytest.raises(SimulationRefused, match="--rate"):
        rate_at(0.9, workload, replace(load_fleet("mixed-8b"), name="unheard-of"))


def test_options_out_of_bounds_and_absent_folders_are_refused() -> None:
    for arguments in (
        ["--seeds", "0"],
        ["--measure", "0"],
        ["--warmup", "inf"],
        ["--rate", "nan"],
        ["--json", "/nowhere/at/all.json"],
        ["--plot", "picture.txt"],
    ):
        assert runner.invoke(app, ["simulate", *CHAT, *arguments]).exit_code == 2


def test_names_are_printed_by_kind() -> None:
    lines = runner.invoke(app, ["simulate", "--list"]).output.splitlines()

    assert [line.split(":")[0] for line in lines] == ["workloads", "fleets", "policies"]
    assert "sharegpt" in lines[0]
    assert "mixed-8b" in lines[1]
    assert "predicted_latency" in lines[2]


def test_every_name_that_is_listed_can_be_loaded() -> None:
    known = names()

    assert {load_workload(name).name for name in known["workloads"]} == set(known["workloads"])
    assert {load_fleet(name).name for name in known["fleets"]} == set(known["fleets"])


def test_a_simulation_prints_a_table_and_writes_the_same_bytes_again(tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    asked = ["simulate", *CHAT, "--rate", "4", "--seeds", "2", "--warmup", "2", "--measure", "6",
             "--policy", "lmetric", "--policy", "random"]  # fmt: skip

    result = runner.invoke(app, [*asked, "--jobs", "1", "--json", str(one)])
    runner.invoke(app, [*asked, "--jobs", "2", "--json", str(other)])

    document = json.loads(one.read_text())
    assert "lmetric" in result.output
    assert [each["policy"] for each in document["policies"]] == ["lmetric", "random"]
    assert document["policies"][0]["steady"]["requests"]["mean"] > 10
    assert document["policies"][0]["steady"]["ttft_p90_s"]["mean"] > 0
    assert one.read_bytes() == other.read_bytes()
