"""The parts of the policy benchmark: what is compared with what, and what falls short."""

import pytest

from benchmarks.policies import ablation, changing, herding, quality, robust, staleness
from benchmarks.policies.cells import MIXED
from benchmarks.policies.musts import all_pass, within_slack
from benchmarks.policies.ratios import Results
from benchmarks.policies.windows import (
    back_to_own_s,
    back_to_usual_s,
    makespan_s,
    steady_e2e,
    windows,
)
from foretoken.simulation.comparison import load
from foretoken.simulation.outcome import UNFINISHED, Outcome, Run
from tests.benchmarks.recorded import CHAT, LONG, MIX, every_seed, results
from tests.foretoken.played import answered, played

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
    return played(*outcomes, warmup_s=10.0, measure_s=20.0, ended_s=ended_s)


def outcome(arrived_s: float, e2e_s: float | None, ended: str = "completed") -> Outcome:
    return answered(arrived_s, ttft_s=None, tpot_s=None, e2e_s=e2e_s, outcome=ended)


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
