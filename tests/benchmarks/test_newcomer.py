"""The fleet that the benchmark of new endpoints plays, and what a scheduler knows of it."""

import random

from benchmarks.newcomer import COMES_S, KINDS, NEWCOMER, JoinedByUp, Kind, fleet_with
from predictor import OutputLengths
from scheduler import Fleet, SchedulerSettings, policies_of
from simulator.fleets import Crash, SlowDown
from tests.scheduler.known_physics import KnownPhysics, endpoint


def test_the_fourth_endpoint_comes_later_and_may_be_cold() -> None:
    good, cold, slower = map(fleet_with, KINDS)

    for fleet in (good, cold, slower):
        *old, new = fleet.endpoints
        assert new.name == NEWCOMER
        assert not any(one.faults for one in old)
        assert new.faults[0] == Crash(at_s=0.0, back_s=COMES_S)
    assert isinstance(cold.endpoints[-1].faults[-1], SlowDown)
    assert slower.endpoints[-1].profile != slower.endpoints[0].profile
    assert Kind("as good", good.endpoints[0].profile.name, 1.0) == KINDS[0]


def test_an_endpoint_that_is_not_up_is_not_there_yet() -> None:
    scheduler = JoinedByUp(
        settings=SchedulerSettings(), make_fleet=fleet_of_known_physics, rng=random.Random(1)
    )

    scheduler.update([endpoint("a:1"), endpoint("b:1", up=False)])

    assert list(scheduler.states) == ["a:1"]


def fleet_of_known_physics(model: str) -> Fleet:
    policy, fallback = policies_of(SchedulerSettings(), model)
    return Fleet(
        model=model,
        policy=policy,
        fallback=fallback,
        predictor=KnownPhysics(),
        output_lengths=OutputLengths(),
    )
