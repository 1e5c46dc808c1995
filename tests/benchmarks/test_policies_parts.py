"""The parts of the policy benchmark: what is compared with what, and what falls short."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.policies import ablation, changing, herding, plots, quality, robust, staleness
from benchmarks.policies.__main__ import PARTS, main
from benchmarks.policies.bench import Bench
from benchmarks.policies.cells import CORE, FEW, MIXED, TEN, WHOLE, Cell, matching
from benchmarks.policies.musts import all_pass, within_slack
from benchmarks.policies.planning import plan
from benchmarks.policies.ratios import Results
from benchmarks.policies.results import Planned, Record, is_done, read, write
from benchmarks.policies.scenarios import Scenario
from benchmarks.policies.windows import (
    back_to_own_s,
    back_to_usual_s,
    makespan_s,
    steady_e2e,
    windows,
)
from foretoken.simulation.arms import ARMS
from foretoken.simulation.comparison import load
from foretoken.simulation.figures import FIGURES
from foretoken.simulation.jobs import Job
from foretoken.simulation.outcome import UNFINISHED, Outcome, Run
from foretoken.simulation.variants import VARIANTS
from simulator.fleets import Flush, SlowDown

CHAT = Cell(workload="post-c", fleet=TEN, load=0.95)
LONG = Cell(workload="mooncake", fleet=TEN, load=0.7)
MIX = Cell(workload="sharegpt", fleet=MIXED, load=0.7)
SEEDS = (11, 12, 13)


def record(cell: Cell, policy: str, seed: int, value: float, **figures: float) -> Record:
    known: dict[str, float | None] = {**dict.fromkeys(FIGURES, value), **figures}
    return Record(
        cell=cell,
        policy=policy,
        seed=seed,
        rate=6.0,
        windows_s=(60.0, 240.0),
        steady=known,
        transient=known,
        truncated=False,
    )


def every_seed(cell: Cell, policy: str, value: float, **figures: float) -> list[Record]:
    return [record(cell, policy, seed, value, **figures) for seed in SEEDS]


def results(*records: Sequence[Record]) -> Results:
    return Results([one for each in records for one in each], ("oracle_total",))


def bench(tmp_path: Path, **changes: object) -> Bench:
    quiet = Console(quiet=True)
    found = Bench(data=tmp_path, folder=tmp_path, jobs=1, console=quiet, progress=quiet)
    return replace(found, **changes)  # type: ignore[arg-type]  # whatever a test sets


# Quality


def verdict(found: Results, what: str) -> tuple[float | None, str]:
    (one,) = (each for each in quality.judge(found) if each.what == what)
    return one.reached, one.word


def test_ours_is_compared_with_the_best_baseline_of_each_cell() -> None:
    found = results(
        every_seed(CHAT, "predicted_latency", 9.0),
        every_seed(CHAT, "lmetric", 10.0),
        every_seed(CHAT, "random", 20.0),
        every_seed(LONG, "predicted_latency", 10.0),
        every_seed(LONG, "lmetric", 20.0),
        every_seed(LONG, "random", 10.0),
    )

    reached, word = verdict(found, "e2e mean against H, homogeneous")
    worst, _ = verdict(found, "e2e mean against H, all, worst cell")

    assert reached == pytest.approx((0.9 * 1.0) ** 0.5)
    assert word == "goal"
    assert worst == pytest.approx(1.0)


def test_a_target_may_be_missed_by_two_per_cent_and_no_more() -> None:
    words = [within_slack("e2e", value, 1.0).word for value in (0.99, 1.019, 1.021)]

    assert words == ["goal", "must", "FAIL"]
    assert not within_slack("e2e", None, 1.0).passes
    assert not all_pass([])


def test_a_group_without_cells_is_not_judged_and_a_missing_rival_falls_short() -> None:
    found = results(every_seed(MIX, "predicted_latency", 1.0), every_seed(MIX, "lmetric", 2.0))

    judged = {one.what: one for one in quality.judge(found)}

    assert not any("homogeneous" in what for what in judged)
    assert judged["e2e mean against H, mixed"].passes
    assert judged["e2e mean against llmd_predictor, all"].reached is None
    assert not judged["e2e mean against prefix_affinity, mixed"].passes


def test_a_window_of_few_mean_e2e_is_flagged() -> None:
    found = results(
        every_seed(CHAT, "predicted_latency", 100.0), every_seed(MIX, "predicted_latency", 10.0)
    )

    shares = [quality.windows_a_request(found, cell) for cell in (CHAT, MIX)]
    flagged = list(quality.cell_table(found).columns[1].cells)

    assert shares == [pytest.approx(2.4), pytest.approx(24.0)]
    assert flagged == ["2.4 short", "24.0"]


# Ablation


def test_a_ranking_that_beats_the_default_is_told() -> None:
    found = results(
        every_seed(MIX, "predicted_latency", 10.0),
        every_seed(MIX, "rank_prior", 12.0),
        every_seed(MIX, "rank_boosted", 8.0),
    )

    (judged,) = ablation.judge(found)

    assert judged.reached == pytest.approx(1.25)
    assert not judged.passes
    assert judged.note == "rank_boosted"


# Changing worlds


def run_with(*outcomes: Outcome, ended_s: float = 100.0) -> Run:
    return Run(
        policy="lmetric",
        workload="w",
        fleet="f",
        rate=1.0,
        seed=1,
        warmup_s=10.0,
        measure_s=20.0,
        endpoints=("a",),
        outcomes=outcomes,
        engine_steps=1,
        objective_ttft_s=None,
        objective_tpot_s=None,
        ended_s=ended_s,
        truncated=False,
    )


def outcome(arrived_s: float, e2e_s: float | None, ended: str = "completed") -> Outcome:
    return Outcome(
        request_id=str(arrived_s),
        session_id="s",
        arrived_s=arrived_s,
        endpoint="a",
        outcome=ended,
        reason="",
        tier=None,
        prompt_tokens=1,
        cached_tokens=0,
        output_tokens=1,
        ttft_s=None,
        tpot_s=None,
        e2e_s=e2e_s,
        upstream_ttft_s=None,
        predicted_ttft_s=None,
        predicted_tpot_s=None,
        preemptions=0,
    )


def test_windows_count_by_arrival_and_keep_what_was_lost_apart() -> None:
    run = run_with(
        outcome(1.0, 30.0),
        outcome(12.0, 2.0),
        outcome(13.0, None, "cut"),
        outcome(29.0, None, UNFINISHED),
        outcome(31.0, 5.0),
        ended_s=40.0,
    )

    assert windows(run) == {
        "requests": [1.0, 1.0, 1.0],
        "e2e_s": [30.0, 2.0, 11.0],
        "lost": [0.0, 1.0, 0.0],
    }


def test_a_makespan_is_that_of_the_window_alone_and_of_all_of_it() -> None:
    late = outcome(31.0, 50.0)

    assert makespan_s(run_with(outcome(11.0, 4.0), outcome(12.0, 1.0), late)) == 5.0
    assert makespan_s(run_with(outcome(11.0, 4.0), outcome(12.0, None, "cut"))) is None


def test_back_is_after_the_last_window_above_the_steady_state_of_all_seeds() -> None:
    slow = {"requests": [10.0] * 11, "e2e_s": [10, 10, 50, 30, 20, 22, 20, 22.5, 20, 20, 20.0]}
    noisy = {"requests": [10.0] * 11, "e2e_s": [10, 10, 50, 30, 20, 18, 20, 20, 20, 20, 20.0]}

    assert steady_e2e([slow, noisy], 20.0) == pytest.approx(2.0)
    assert back_to_own_s([slow], 20.0, within=0.1) == 60.0
    assert back_to_own_s([slow, noisy], 20.0, within=0.1) == 20.0


def test_a_policy_that_stays_bad_is_never_back_to_what_it_could_be() -> None:
    usual = {"requests": [10.0] * 11, "e2e_s": [10.0] * 11}
    worse = {"requests": [10.0] * 11, "e2e_s": [10.0] * 2 + [20.0] * 9}

    assert back_to_own_s([worse], 20.0, within=0.1) == 0.0
    assert back_to_usual_s([worse], [usual], 20.0, within=0.1) == 90.0
    assert back_to_usual_s([usual], [usual], 20.0, within=0.1) == 0.0


def test_a_change_is_judged_on_ours_and_names_the_best_heuristic() -> None:
    calm = {"requests": [10.0] * 36, "e2e_s": [20.0] * 36, "lost": [0.0] * 36}
    upset = {**calm, "e2e_s": [20.0] * 12 + [40.0] * 8 + [20.0] * 16}

    found = [
        changing.recovery("predicted_latency", (upset,), (calm,)),
        changing.recovery("lmetric", (calm,), (calm,)),
    ]
    judged = changing.judge(changing.CASES[0], found)

    assert judged.reached == 80.0
    assert not judged.passes
    assert judged.note == "lmetric: 0 s"


def test_every_change_happens_to_an_endpoint_there_is_and_leaves_the_cell_as_it_was() -> None:
    for case in changing.CASES:
        _, fleet = load(case.cell.workload, case.cell.fleet, None)
        names = {spec.name for spec in fleet.endpoints}
        faulty = [spec.name for spec in case.scenario.fleet(fleet).endpoints if spec.faults]

        assert case.scenario.endpoint in {None, *names}
        assert faulty == ([] if case.scenario.fault is None else [case.scenario.endpoint])
        assert not any(spec.faults for spec in fleet.endpoints)


# Error and age


def test_error_is_judged_against_the_same_policy_without_it() -> None:
    found = results(
        *(every_seed(cell, "predicted_latency", 10.0) for cell in (CHAT, MIX)),
        *(every_seed(cell, "naive", 20.0) for cell in (CHAT, MIX)),
        every_seed(CHAT, "noise_10", 10.2),
        every_seed(MIX, "noise_10", 10.2, ttft_p90_s=25.0),
    )

    e2e, ttft, *bias = robust.judge(found, [CHAT, MIX])

    assert e2e.reached == pytest.approx(1.02)
    assert e2e.passes
    assert ttft.reached == pytest.approx(2.5)
    assert not ttft.passes
    assert not any(one.passes for one in bias)


def test_age_is_judged_over_all_cells_or_falls_short() -> None:
    ours = {"e2e_mean_s": 1.01, "ttft_p90_s": 1.5}

    whole = staleness.judge({"predicted_latency": {CHAT: ours, MIX: ours}}, (CHAT, MIX))
    part = staleness.judge({"predicted_latency": {CHAT: ours}}, (CHAT, MIX))

    assert whole.reached == pytest.approx(1.01)
    assert whole.passes
    assert part.reached is None
    assert not part.passes


def test_scrapes_are_as_old_as_they_are_said_to_be() -> None:
    _, fleet = load("sharegpt", MIXED, None)

    for scenario, age_s in ((staleness.FRESH, 0.05), (staleness.OLD, 1.0)):
        told = scenario.fleet(fleet)
        assert told.scrape_delay_s + told.scrape_interval_s / 2 == pytest.approx(age_s)


# Herding


def test_a_burst_is_judged_against_the_oracle_seed_by_seed() -> None:
    def by_seed(*seconds: float | None) -> list[dict[str, float | None]]:
        return [{"makespan_s": each} for each in seconds]

    oracle = by_seed(10.0, 20.0)

    judged = herding.judge(MIX, {"predicted_latency": by_seed(11.0, 22.0), "oracle_total": oracle})
    unended = herding.judge(MIX, {"predicted_latency": by_seed(11.0, None), "oracle_total": oracle})

    assert judged.reached == pytest.approx(1.1)
    assert judged.passes
    assert unended.reached is None


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
