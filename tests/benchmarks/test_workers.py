"""The comparison of several workers with one: its parts, not its figures."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.workers import delay
from benchmarks.workers.__main__ import lost, main, quality_row
from benchmarks.workers.quality import Cell, _is_quiet, cells, fairness, play
from benchmarks.workers.several import UNDER_WAY_S, Crew, Post
from foretoken.simulation.arms import ARMS
from foretoken.simulation.outcome import Outcome, under_way
from foretoken.simulation.run import simulate
from foretoken.workers.bus import COLLECT_S, LESSONS_S
from predictor.types import RequestFeatures
from scheduler.words import Left, Shown
from simulator.fleets import load_fleet
from simulator.traffic import TrafficRequest
from simulator.workloads import load_workload


@pytest.mark.parametrize("workers", [2, 3])
def test_several_workers_play_the_same_traffic_to_its_end(workers: int) -> None:
    fleet, workload = load_fleet("mixed-8b"), load_workload("tiers-chat", None)
    crew = Crew(workers)
    given = {
        "fleet": fleet,
        "workload": workload,
        "rate": 10.0,
        "seed": 1,
        "warmup_s": 2.0,
        "measure_s": 4.0,
    }

    several = simulate(arm=crew.arm(), scheduler=crew.scheduler, **given)  # type: ignore[arg-type]  # as below
    one = simulate(arm=ARMS["predicted_latency"], **given)  # type: ignore[arg-type]  # a plain dict

    came = [[o for o in run.outcomes if 2.0 <= o.arrived_s < 6.0] for run in (several, one)]
    assert [o.arrived_s for o in came[0]] == [o.arrived_s for o in came[1]]
    assert {o.outcome for o in came[0]} == {"completed"}
    learned = [predictor.report().observations for predictor in crew.predictors]
    assert learned[0]["ttft"] > 0
    assert max(each["ttft"] for each in learned) == pytest.approx(
        min(each["ttft"] for each in learned), rel=0.1
    )


def test_post_comes_in_order_and_when_it_is_due() -> None:
    post, word_s = Post(), COLLECT_S + UNDER_WAY_S
    shown = Shown("m", "a:1", None, None, 10, 3, 4, 0.0, None)
    list(post.due(1.0))
    post.send(0, shown)
    post.send(0, Left("a"))
    post.send(1, Left("b"))

    early, late = list(post.due(1.0 + word_s / 2)), list(post.due(1.0 + word_s))
    last = list(post.due(1.0 + LESSONS_S + UNDER_WAY_S))

    assert early == []
    assert late == [(0, Left("a")), (1, Left("b"))]
    assert last == [(0, shown)]  # what only teaches takes longer


def test_every_pair_is_played_by_one_and_by_several(tmp_path: Path) -> None:
    named = list(cells(data=tmp_path, workers=4, seeds=(1, 2), quick=True))

    assert len(named) == 12
    assert [cell.workers for cell in named] == [1, 4] * 6
    assert sum(cell.tenants for cell in named) == 4


def test_a_quiet_tenant_has_its_share_told(tmp_path: Path) -> None:
    cell = Cell(
        workload="tiers-chat",
        fleet="mixed-8b",
        load=0.1,
        workers=2,
        seed=1,
        data=tmp_path,
        window_s=(1.0, 4.0),
        tenants=True,
    )

    try:
        figures = play(cell)
    except FileNotFoundError:
        pytest.skip("the workload reads recorded lengths that are not here")

    for each in ("quiet_prompt_ratio", "flood_served_ratio"):
        assert figures[each] == pytest.approx(0.5, abs=0.5)


def test_a_tenant_that_is_served_at_the_end_of_its_wait_is_not_served_promptly() -> None:
    def outcome(session: str, ttft_s: float | None) -> Outcome:
        request = TrafficRequest(
            session_id=session,
            segments=(),
            prompt_tokens=1,
            output_tokens=1,
            answer_id=1,
            at_s=0.0,
        )
        features = RequestFeatures(request_id="r", arrived_s=0.0, model="m")
        known = under_way(features, request)
        return replace(known, ttft_s=ttft_s, outcome="shed" if ttft_s is None else "completed")

    quiet = next(str(number) for number in range(9) if _is_quiet(str(number)))
    flood = next(str(number) for number in range(9) if not _is_quiet(str(number)))
    times = [(quiet, 0.1), (quiet, 1.9), (quiet, 9.9), (quiet, None), (flood, 9.9), (flood, None)]

    figures = fairness(outcome(*each) for each in times)

    assert figures == {"quiet_prompt_ratio": 0.5, "flood_served_ratio": 0.5}


def test_losing_is_told_apart_from_gaining() -> None:
    assert lost(0.5, 0.6, "hit_ratio") < 0
    assert lost(0.05, 0.04, "ttft_error_mdape") < 0
    assert lost(0.5, 0.4, "quiet_prompt_ratio") == pytest.approx(0.2)
    assert lost(0.05, 0.069, "ttft_error_mdape") == pytest.approx(0.38)
    assert lost(0.0, 0.1, "tpot_error_mdape") > 1e9


def test_a_figure_that_some_run_lacks_is_told_as_not_judged() -> None:
    assert quality_row("hit_ratio", [0.5], [None]) == (
        "", "", "not judged: unknown in 1 of 2 runs", None,
    )  # fmt: skip
    assert quality_row("e2e_mean_s", [0.5], [None]) is None
    assert quality_row("quiet_prompt_ratio", [None], [None]) is None
    assert quality_row("hit_ratio", [None], [None]) is not None
    assert quality_row("hit_ratio", [0.002], [0.001]) == (
        "0.0020", "0.0010", "not judged: hardly anything is found", None,
    )  # fmt: skip
    assert quality_row("tpot_error_mdape", [0.05], [0.069]) == (
        "0.0500", "0.0690", "loses at most 2%", False,
    )  # fmt: skip


def test_ages_have_quantiles() -> None:
    assert delay.figures([0.002, 0.001, 0.009])["max_s"] == 0.009


def test_one_worker_is_nothing_to_compare_with() -> None:
    with pytest.raises(SystemExit):
        main(["--workers", "1"])
