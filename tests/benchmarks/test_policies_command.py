"""What the command plays, keeps and refuses."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.policies import changing, herding, plots, quality
from benchmarks.policies.__main__ import PARTS, main
from benchmarks.policies.cells import CORE, FEW, MIXED, TEN, WHOLE, Cell, matching
from benchmarks.policies.planning import plan
from benchmarks.policies.results import Planned, is_done, read, write
from benchmarks.policies.scenarios import Scenario
from foretoken.simulation.arms import ARMS
from foretoken.simulation.jobs import Job
from foretoken.simulation.variants import VARIANTS
from simulator.fleets import Flush, SlowDown
from tests.benchmarks.recorded import CHAT, MIX, bench, every_seed, results

# Plans and results


def job(**changes: object) -> Job:
    known = Job(
        workload="post-c",
        fleet=TEN,
        policy="lmetric",
        data=None,
        rate=6.0,
        seed=1,
        warmup_s=10.0,
        measure_s=20.0,
    )
    return replace(known, **changes)  # type: ignore[arg-type]  # whatever a test sets


def test_a_run_without_a_scenario_is_kept_as_ever() -> None:
    plain = Planned(cell=CHAT, job=job(), definitions="abc")

    assert plain.path(Path("kept")) == Path(
        "kept/post-c@ten-qwen3-32b-h100@0.95/lmetric-seed1.json"
    )
    assert set(plain.settings()) == {
        "layout", "load", "defined", "workload", "fleet", "policy", "rate", "seed",
        "warmup_s", "measure_s", "labels",
    }  # fmt: skip


def test_a_scenario_has_results_of_its_own(tmp_path: Path) -> None:
    run = {"steady": {}, "transient": {}, "truncated": False}
    plain = Planned(cell=CHAT, job=job(), definitions="abc")
    slow = Scenario(name="slow", endpoint="h100-0", fault=SlowDown(at_s=5, factor=2))
    worse = replace(slow, fault=SlowDown(at_s=5, factor=3))

    write(replace(plain, scenario=slow), tmp_path, run, "v1")

    assert read(replace(plain, scenario=slow), tmp_path) == run
    assert not is_done(plain, tmp_path)
    assert not is_done(replace(plain, scenario=worse), tmp_path)


def test_a_file_of_ones_own_is_played_at_its_rate_and_again_when_it_changes(tmp_path: Path) -> None:
    rows = [
        f'{{"at_s": {second}, "prompt_tokens": 100, "output_tokens": 5}}' for second in range(9)
    ]
    (tmp_path / "t.jsonl").write_text("\n".join(rows) + "\n")
    (tmp_path / "mine.toml").write_text(
        'description = "d"\nsource = "s"\nwarmup_s = 0\nmeasure_s = 10\n'
        'traffic = { kind = "replay", trace = "t.jsonl", format = "jsonl" }\n'
    )
    cell = Cell(workload=str(tmp_path / "mine.toml"), fleet=MIXED, rate=2.5)

    (first,), refused = plan([cell], ["lmetric"], [11], tmp_path)
    (tmp_path / "t.jsonl").write_text("\n".join(rows[:5]) + "\n")
    (again,), _ = plan([cell], ["lmetric"], [11], tmp_path)

    assert refused == []
    assert first.job.rate == 2.5
    assert first.cell.name == "mine@mixed-8b@2.5-per-s"
    assert first.settings() != again.settings()


def test_a_cell_of_unknown_capacity_is_refused_in_one_line(tmp_path: Path) -> None:
    planned, refused = plan(
        [Cell(workload="post-a", fleet=MIXED, load=0.7)], ["lmetric"], [1], tmp_path
    )

    assert planned == []
    assert len(refused) == 1
    assert "capacity" in refused[0]


def test_a_burst_is_played_to_its_end_and_kept(tmp_path: Path) -> None:
    cell = Cell(workload="sharegpt", fleet=MIXED, rate=2.0)
    scenario = replace(herding.BURST, at_s=5.0, burst=20)
    asked = bench(tmp_path)
    planned = asked.planned([cell], ["least_request"], [1], scenario)

    asked.play(planned)
    run = asked.read(planned[0])

    assert asked.refused == []
    assert run is not None
    assert run["steady"]["requests"] == 20
    assert run["makespan_s"] > run["steady"]["e2e_p90_s"]


def test_a_variant_is_played_by_its_name(tmp_path: Path) -> None:
    cell = Cell(workload="sharegpt", fleet=MIXED, rate=2.0)
    scenario = Scenario(
        name="short", at_s=3.0, measure_s=10.0, endpoint="h100-0", fault=Flush(at_s=4)
    )
    asked = bench(tmp_path)
    planned = asked.planned(
        [cell], ["rank_prior", "without_slower_steps", "bias_30"], [1], scenario
    )

    asked.play(planned)

    assert asked.refused == []
    assert all(asked.read(each) is not None for each in planned)
    assert sum(asked.read(planned[0])["windows"]["requests"]) > 0  # type: ignore[index]  # see above


def test_cells_are_found_by_any_of_several_texts() -> None:
    found = matching(WHOLE, ["reasoning", "azure@mixed-8b@0.95"])

    assert {cell.workload for cell in found} == {"reasoning", "azure"}
    assert set(FEW) <= set(CORE)


def test_variants_and_arms_share_no_name() -> None:
    assert not set(VARIANTS) & set(ARMS)


# Plots


def test_plots_are_drawn_from_the_documents_alone(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    arms = ("predicted_latency", "lmetric", "prefix_affinity", "oracle_total")
    found = results(
        *(every_seed(cell, arm, 3.0 + len(arm)) for cell in (CHAT, MIX) for arm in arms)
    )
    calm = {"requests": [9.0] * 36, "e2e_s": [20.0] * 36, "lost": [0.0] * 36}
    one = changing.recovery("predicted_latency", (calm,), (calm,))
    figures = {"lmetric": {"e2e_mean_s": 3.0, "ttft_p90_s": 0.2, "tpot_p90_s": 0.02}}
    document = {
        "quality": {"cells": [quality._cell_json(found, cell) for cell in found.cells]},
        "changing": {"cases": {"an endpoint slows": [changing._json(one)]}},
        "loads": {"post-c@ten@0.5": figures, "post-c@ten@0.7": figures},
    }

    drawn = plots.draw(json.loads(json.dumps(document)), tmp_path)

    assert [path.name for path in drawn] == [
        "workloads.png",
        "oracle.png",
        "load.png",
        "changing.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


# The command


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--part", "nothing"], "invalid choice"),
        (["--workload", "mine.jsonl"], "go together"),
        (["--cells", "nowhere"], "no cell has 'nowhere'"),
        (["--policies", "best"], "unknown: best"),
        (["--rate", "0"], "above 0"),
        (["--page", "nowhere.md"], "is not there"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_played(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path), "--results", str(tmp_path / "kept"), *arguments])

    assert problem in capsys.readouterr().err


def test_a_part_without_results_falls_short(tmp_path: Path) -> None:
    given = ["--data", str(tmp_path), "--results", str(tmp_path / "kept"), "--table-only"]
    document = tmp_path / "found.json"

    status = main([*given, "--part", "quality", "herding", "--json", str(document)])

    found = json.loads(document.read_text())
    assert status == 1
    assert set(found) == {"quality", "herding"}
    assert set(found) <= set(PARTS)


def test_every_table_has_its_place_on_the_page_and_nothing_played_meets_no_must(
    tmp_path: Path,
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "scheduling.md").read_text()
    asked = bench(tmp_path, table_only=True, quick=True)

    met = {name: part(asked)[1] for name, part in PARTS.items()}

    assert set(asked.pages.names) == set(re.findall(r"<!-- ([\w-]+) -->", page))
    assert [name for name, well in met.items() if well] == ["loads"]  # which judges nothing


def test_cells_of_unknown_capacity_are_left_out_of_the_judgement(tmp_path: Path) -> None:
    nowhere = Cell(workload="post-a", fleet=MIXED, load=0.7)

    assert quality._unknown([MIX, nowhere], bench(tmp_path)) == [nowhere]


def test_a_trace_that_is_missing_is_no_reason_to_judge_without_it(tmp_path: Path) -> None:
    asked = bench(tmp_path, table_only=True)

    document, met = quality.main_part(asked)

    left_out = document["left_out"]
    assert isinstance(left_out, list)
    assert "mooncake@ten-qwen3-32b-h100@0.7" not in left_out
    assert any("mooncake@ten-qwen3-32b-h100@0.7" in line for line in asked.refused)
    assert not met
