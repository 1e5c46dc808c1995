"""Early labels and misses reach the predictor in virtual time as they do in service."""

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from foretoken.simulation.arms import Arm, Brain
from foretoken.simulation.run import simulate
from predictor.types import Observation
from scheduler import POLICIES, build_policy
from simulator.fleets import Crash, Fault, FleetSpec, load_fleet
from simulator.workloads import load_workload
from tests.scheduler.known_physics import KnownPhysics


@dataclass
class Lessons:
    """Hold what one run has taught."""

    all: list[Observation]
    finished: list[Observation] = field(default_factory=list)

    def early(self) -> list[Observation]:
        return [seen for seen in self.all if seen.use == "teaching"]


def taught(*faults: Fault, rate: float = 4.0, network_delay_s: float = 0.005) -> Lessons:
    """Play half a minute on two endpoints and give what the predictor was taught."""
    fleet: FleetSpec = load_fleet("eight-8b-h100")
    endpoints = (replace(fleet.endpoints[0], faults=faults), fleet.endpoints[1])
    physics, finished = KnownPhysics(), list[Observation]()
    brain = Brain(
        policy=build_policy(POLICIES["predicted_latency"]),
        predictor=physics,
        observe=finished.append,
    )
    simulate(
        fleet=replace(fleet, endpoints=endpoints, network_delay_s=network_delay_s),
        workload=load_workload("post-c"),
        rate=rate,
        arm=Arm(name="known", build=lambda _: brain),
        seed=1,
        warmup_s=5.0,
        measure_s=25.0,
    )
    return Lessons(all=physics.learned, finished=finished)


def test_long_answers_teach_their_tpot_after_three_seconds() -> None:
    lessons = taught()

    whole = {seen.features.tobytes(): seen for seen in lessons.finished}
    pairs = [
        (early.tpot_s, whole[key].tpot_s)
        for early in lessons.early()
        if (key := early.features.tobytes()) in whole
    ]
    assert len(pairs) > 10
    for early_s, whole_s in pairs:
        assert early_s is not None
        assert early_s == pytest.approx(whole_s, rel=0.5)


def test_every_answer_is_scored_once_whatever_it_taught_early() -> None:
    lessons = taught()

    scored = Counter(
        seen.features.tobytes() for seen in lessons.all if seen.tpot_s and seen.use != "teaching"
    )
    assert set(scored.values()) == {1}


def test_a_request_past_its_p90_is_told_in_virtual_time_once() -> None:
    lessons = taught(rate=30.0)

    late = [seen for seen in lessons.all if seen.waited_s and seen.upstream_ttft_s is None]
    assert late
    assert max(Counter(seen.features.tobytes() for seen in late).values()) == 1
    for seen in late:
        assert seen.predicted_ttft_p90_s is not None
        assert seen.waited_s is not None
        assert seen.waited_s >= seen.predicted_ttft_p90_s


def test_what_is_lost_in_a_crash_leaves_no_label_behind() -> None:
    lessons = taught(Crash(at_s=10.0, back_s=20.0))

    assert all(seen.tpot_s is None or seen.tpot_s > 0 for seen in lessons.all)
