"""How promises are counted, and the search for the highest load that keeps them."""

from pathlib import Path

import pytest

from benchmarks.flow_control.goodput import PRECISION, Goodput, gains, highest
from benchmarks.flow_control.runs import OURS, Scene, Surge, figures, kept, play
from foretoken.errors import SimulationRefused
from foretoken.simulation.outcome import Outcome, Run
from simulator.workloads import load_workload
from tests.foretoken.played import answered, played

SCENE = Scene(
    workload="tiers-chat",
    fleet="mixed-8b",
    data=Path(),
    arm="lmetric",
    seed=1,
    warmup_s=1.0,
    measure_s=4.0,
)


def outcome(
    tier: str, *, arrived_s: float = 5.0, ttft_s: float | None = 0.1, **changes: object
) -> Outcome:
    times = {"tpot_s": 0.01, "e2e_s": 0.2}
    return answered(arrived_s, ttft_s=ttft_s, tier=tier, **{**times, **changes})


def run_of(*outcomes: Outcome) -> Run:
    return played(*outcomes, measure_s=10.0, ended_s=10.0)


def test_a_promise_is_kept_by_both_targets_and_broken_by_a_refusal() -> None:
    run = run_of(
        outcome("interactive"),
        outcome("interactive", ttft_s=0.6),
        outcome("interactive", tpot_s=0.06),
        outcome("interactive", outcome="shed", reason="queue_full", ttft_s=None, e2e_s=None),
        outcome("standard", ttft_s=1.9, upstream_ttft_s=0.4, tpot_s=0.09),
        outcome("batch", ttft_s=60.0, upstream_ttft_s=60.0),
    )

    found = figures(run, 0.0, 10.0)

    assert found["interactive"].met_ratio == pytest.approx(0.25)
    assert found["interactive"].refused == {"queue_full": 1}
    assert found["standard"].met_ratio == found["batch"].met_ratio == 1.0
    assert found["standard"].longest_wait_s == pytest.approx(1.5)
    assert kept(found) == pytest.approx(0.25)


def test_only_what_arrived_in_the_window_counts() -> None:
    run = run_of(outcome("standard"), outcome("standard", arrived_s=20.0, ttft_s=9.0))

    found = figures(run, 0.0, 10.0)

    assert (found["standard"].requests, found["standard"].met_ratio) == (1, 1.0)


@pytest.mark.parametrize("guess", [3.0, 20.0, 90.0])
def test_the_highest_load_is_found_from_either_side(guess: float) -> None:
    found = highest(lambda rate: rate < 18.2, guess)

    assert 18.2 / PRECISION <= found < 18.2


def test_a_fleet_that_keeps_nothing_is_told() -> None:
    with pytest.raises(SimulationRefused):
        highest(lambda _: False, 10.0)


def test_gains_are_over_the_best_baseline_of_each_cell() -> None:
    def at(fleet: str, arm: str, rate: float) -> Goodput:
        scene = Scene(workload="w", fleet=fleet, data=Path(), arm=arm, seed=1)
        return Goodput(scene=scene, rate=rate, at_rate={}, tried=())

    found = gains(
        [
            at("mixed-8b", "lmetric", 10.0),
            at("mixed-8b", "queued_tokens", 12.0),
            at("mixed-8b", OURS, 18.0),
            at("eight-8b-h100", "lmetric", 10.0),
            at("eight-8b-h100", OURS, 12.0),
        ]
    )

    assert found["mixed"] == pytest.approx(1.5)
    assert found["homogeneous"] == pytest.approx(1.2)
    assert found["all"] == pytest.approx((1.5 * 1.2) ** 0.5)


def test_a_surge_comes_on_top_for_its_time_only() -> None:
    usual = load_workload("tiers-chat")
    surge = Surge(usual, Path(), 30.0, 20.0, 40.0)

    times = [
        request.at_s or 0.0
        for chain in surge.chains(seed=1, rate=10.0, until_s=60.0)
        for request in chain
    ]

    counts = [sum(start <= at_s < start + 20.0 for at_s in times) for start in (0.0, 20.0, 40.0)]
    assert counts[0] == pytest.approx(200, rel=0.25)
    assert counts[1] == pytest.approx(800, rel=0.15)
    assert counts[2] == pytest.approx(200, rel=0.25)


def test_a_run_has_figures_of_every_tier() -> None:
    run = play(SCENE, 6.0)

    found = figures(run, 0.0, 5.0)

    assert list(found) == ["interactive", "standard", "batch"]
    assert sum(tier.requests for tier in found.values()) == pytest.approx(30, abs=20)
    assert kept(found) == 1.0
