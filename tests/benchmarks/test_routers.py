"""Several routers in virtual time: that they share, and what is compared; not the figures."""

from pathlib import Path

import pytest

from benchmarks.routers.__main__ import COUNTS, cells, judged
from benchmarks.routers.several import Routers
from foretoken.simulation.outcome import Run
from foretoken.simulation.run import simulate
from simulator.fleets import load_fleet
from simulator.workloads import load_workload


def played(routers: Routers) -> Run:
    return simulate(
        fleet=load_fleet("mixed-8b"),
        workload=load_workload("tiers-chat", None),
        rate=10.0,
        seed=1,
        warmup_s=2.0,
        measure_s=4.0,
        arm=routers.arm(),
        scheduler=routers.scheduler,
    )


def test_routers_that_share_learn_and_train_alike() -> None:
    routers = Routers(3, sharing=True, dealing="request", seed=1)

    run = played(routers)

    assert {each.outcome for each in run.outcomes if 2.0 <= each.arrived_s < 6.0} == {"completed"}
    learned = [predictor.report().observations["ttft"] for predictor in routers._predictors]
    assert min(learned) > 0.9 * max(learned) > 0.0
    assert routers.wire.traffic.bytes > 0
    counts = [router.exchange.counts for router in routers._routers]
    assert [count.unresolved for count in counts] == [0, 0, 0]
    assert [sum(count.ignored.values()) for count in counts] == [0, 0, 0]


def test_routers_alone_learn_a_share_each() -> None:
    routers = Routers(3, sharing=False, dealing="request", seed=1)

    run = played(routers)

    completed = sum(each.outcome == "completed" for each in run.outcomes)
    learned = [predictor.report().observations["ttft"] for predictor in routers._predictors]
    assert 0 < max(learned) < completed * 0.6
    assert routers.wire.traffic.frames == 0


def test_the_same_seed_plays_the_same_run() -> None:
    one, two = (
        played(Routers(2, sharing=True, dealing="request", seed=1)).outcomes for _ in range(2)
    )

    assert one == two


def test_every_count_is_played_with_and_without(tmp_path: Path) -> None:
    named = list(cells(tmp_path, (1,), None, quick=False))

    arms = [cell.arm for cell in named if cell.workload == "sharegpt-chat"]
    assert len(arms) == len(set(arms)) == 1 + 3 * (len(COUNTS) - 1)
    assert arms[-1] == "8, alone, conversations kept"


@pytest.mark.parametrize(("hits", "ttft_s", "good"), [(0.59, 0.05, True), (0.6, 0.06, False)])
def test_eight_are_held_to_one(hits: float, ttft_s: float, good: bool) -> None:
    one = {"hit_ratio": 0.6, "ttft_mean_s": 0.05}

    assert judged({"1": one, "8, sharing": {"hit_ratio": hits, "ttft_mean_s": ttft_s}}) is good
