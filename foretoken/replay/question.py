"""What is asked of a recording, and how the answer is found.

Decides the order: read, fit the first part, judge the fit on the rest, and only then play
what is asked for. The part that is fitted also fills caches and teaches the predictor; all
figures are of requests after it. Called by ``foretoken replay`` and its benchmark.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from foretoken.errors import SimulationRefused, TraceNotReplayable
from foretoken.nearest import did_you_mean
from foretoken.replay.changes import ATTAINED, Alternative, alternative, figures_of
from foretoken.replay.demand import Demand, demand_of
from foretoken.replay.fleets import (
    Changes,
    EndpointClass,
    changed_fleet,
    fit_classes,
    recorded_fleet,
)
from foretoken.replay.placement import placed, recorded_outcome, replayed
from foretoken.replay.playing import Play, play
from foretoken.replay.recorded import Recorded, Traffic, Window, read_traffic
from foretoken.replay.trust import Trust, judge
from foretoken.simulation.arms import ARMS
from foretoken.simulation.comparison import refusals
from foretoken.simulation.jobs import play_each
from foretoken.simulation.outcome import Outcome, Run
from predictor.types import NO_OBJECTIVE, Objective
from scheduler import SchedulerSettings
from simulator.fleets import FleetSpec, load_fleet

_TYPICAL: Final = 1000
"""Prompt tokens of the prefill that endpoints' speeds are compared by."""

LONGEST_LEFT_OUT: Final = 0.2
"""Most of the judged part that is left out at its end, where what came after is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Say what is asked.

    Attributes:
        paths: Trace files, or folders of them.
        window: Which part of them.
        policies: Names of arms.
        seeds: How many; they are 1 to this.
        fit_share: Of the time, what is fitted; the rest is judged.
        changes: How the fleet differs.
        fleet: Name or file of a fleet in its place, ``None`` for the recorded one.
        times: As many requests a second as recorded.
        objective: Of requests that have none.
        settings: The scheduler's.
        processes: Most plays at once.
    """

    paths: tuple[Path, ...]
    window: Window = field(default_factory=Window)
    policies: tuple[str, ...] = ()
    seeds: int = 3
    fit_share: float = 0.5
    changes: Changes = field(default_factory=lambda: Changes(counts={}, speeds={}))
    fleet: str | None = None
    times: float = 1.0
    objective: Objective = NO_OBJECTIVE
    settings: SchedulerSettings = field(default_factory=SchedulerSettings)
    processes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Hold what was found.

    Attributes:
        traffic: What was read.
        demand: What was made of it.
        judged_s: From when to when arrivals were judged, seconds of the recording.
        classes: The fitted endpoints.
        policy: That was recorded for most requests, ``None`` where none was.
        policy_share: Of the requests, how many it placed.
        trust: How far to trust the rest.
        baseline: The recorded policy on the recorded fleet, played again.
        alternatives: What was asked for.
        fleet: On which fleet.
        times: At how many times the traffic.
        work: For an endpoint's speed, against the recording; 1 where fleet and traffic are
            the recorded ones, or nothing compares the fleets.
    """

    traffic: Traffic
    demand: Demand
    judged_s: tuple[float, float]
    classes: tuple[EndpointClass, ...]
    policy: str | None
    policy_share: float
    trust: Trust
    baseline: Alternative
    alternatives: tuple[Alternative, ...]
    fleet: FleetSpec
    times: float
    work: float


def ask(question: Question, progress: Callable[[str], None] = lambda _: None) -> Answer:
    """Find the answer.

    Args:
        question: What is asked.
        progress: Told what is being done.

    Raises:
        TraceNotReplayable: The trace cannot be used, or says too little.
        SimulationRefused: A policy, class or fleet does not exist, or holds no such request.
    """
    _check_policies(question.policies)
    other = None
    if question.fleet is not None:
        with refusals():
            other = load_fleet(question.fleet)
    progress("reading traces")
    traffic = read_traffic(question.paths, question.window)
    demand = demand_of(_with_objectives(traffic, question.objective))
    split_s = question.fit_share * traffic.span_s
    judged_s = (split_s, traffic.span_s - _left_out_s(demand, traffic.span_s - split_s))
    _check_parts(demand, judged_s)
    classes = fit_classes(traffic, demand, split_s, processes=question.processes, progress=progress)
    own = recorded_fleet(classes, traffic.model)
    fleet = other or own
    if question.changes:
        fleet = changed_fleet(classes, traffic.model, question.changes)
    policy, share = _recorded_policy(traffic)
    again = () if policy is None else _plays(question, policy, own, demand, judged_s, times=1.0)
    same = fleet is own and question.times == 1.0
    asked = [
        one
        for name in dict.fromkeys(question.policies)
        if not (same and name == policy)
        for one in _plays(question, name, fleet, demand, judged_s, times=question.times)
    ]
    runs = _play_all([*again, *asked], question.processes, progress)
    trust, base = _judge(demand, own, judged_s, runs[: len(again)])
    baseline = alternative(base, base, demand, trust)
    by_policy = [
        runs[at : at + question.seeds] for at in range(len(again), len(runs), question.seeds)
    ]
    return Answer(
        traffic=traffic,
        demand=demand,
        judged_s=judged_s,
        classes=tuple(classes),
        policy=policy,
        policy_share=share,
        trust=trust,
        baseline=baseline,
        alternatives=tuple(alternative(each, base, demand, trust) for each in by_policy),
        fleet=fleet,
        times=question.times,
        work=1.0 if other is not None else _work(own, fleet, question.times),
    )


def _work(own: FleetSpec, fleet: FleetSpec, times: float) -> float:
    """Compare the traffic for an endpoint's speed, all step times of a fleet being fitted."""
    have, had = (
        sum(
            spec.engine.speed / spec.profile.step_s([(_TYPICAL, 0)], 0, 0)
            for spec in each.endpoints
        )
        for each in (fleet, own)
    )
    return times * had / have


def _judge(
    demand: Demand,
    fleet: FleetSpec,
    judged_s: tuple[float, float],
    again: Sequence[Run],
) -> tuple[Trust, Sequence[Run]]:
    """Judge the replay; give with it the plays that others are compared with."""
    names = tuple(spec.name for spec in fleet.endpoints)
    numbers = range(len(demand.requests))
    was = _run("recorded", [recorded_outcome(demand, one) for one in numbers], names, judged_s)
    where = placed(demand, fleet.endpoints[0].engine.block_size)
    there = _run(
        "recorded places", replayed(demand, where, fleet.endpoints, seed=1), names, judged_s
    )
    base = again or [there]
    before = figures_of(was, demand)
    after = [figures_of(run, demand) for run in base]
    shares = {
        name: (before[name], float(np.mean(known)) if known else None)
        for name in ("hit_ratio", "shed_ratio", "error_ratio", ATTAINED)
        if (known := [value for each in after if (value := each[name]) is not None]) is not None
    }
    if all(one.cached_tokens is None for one in demand.requests):
        shares["hit_ratio"] = (None, shares["hit_ratio"][1])
    return judge(was, there, again, shares), base


def _run(
    name: str,
    outcomes: Sequence[Outcome],
    endpoints: tuple[str, ...],
    judged_s: tuple[float, float],
) -> Run:
    """Put outcomes that no simulation gave into the form that figures are made of."""
    return Run(
        policy=name,
        workload="recorded",
        fleet="recorded",
        rate=1.0,
        seed=0,
        warmup_s=judged_s[0],
        measure_s=judged_s[1] - judged_s[0],
        endpoints=endpoints,
        outcomes=tuple(outcomes),
        engine_steps=0,
        objective_ttft_s=None,
        objective_tpot_s=None,
        ended_s=judged_s[1],
        truncated=False,
    )


def _plays(
    question: Question,
    policy: str,
    fleet: FleetSpec,
    demand: Demand,
    judged_s: tuple[float, float],
    *,
    times: float,
) -> list[Play]:
    return [
        Play(
            policy=policy,
            seed=seed,
            fleet=fleet,
            demand=demand,
            times=times,
            judged_s=judged_s,
            settings=question.settings,
        )
        for seed in range(1, question.seeds + 1)
    ]


def _play_all(plays: Sequence[Play], processes: int, progress: Callable[[str], None]) -> list[Run]:
    found: dict[int, Run] = {}
    for index, run in play_each(plays, play, processes=processes):
        found[index] = run
        progress(f"playing, {len(found)} of {len(plays)} runs")
    return [found[index] for index in range(len(plays))]


def _check_policies(names: Sequence[str]) -> None:
    for name in names:
        if name not in ARMS:
            meant = did_you_mean(name, ARMS)
            raise SimulationRefused(
                f"unknown policy {name!r}{meant or ';'} known are: {', '.join(ARMS)}"
            )


def _check_parts(demand: Demand, judged_s: tuple[float, float]) -> None:
    judged = sum(
        one.completed and judged_s[0] <= one.arrived_s < judged_s[1] for one in demand.requests
    )
    if judged < 30:
        raise TraceNotReplayable(
            f"{judged} answered requests are left to judge the replay by, of "
            f"{len(demand.requests)} over {demand.requests[-1].arrived_s:.0f} s; 30 are needed: "
            "take a longer part, or a smaller --fit-share"
        )


def _left_out_s(demand: Demand, judged_s: float) -> float:
    """Give the time at the end in which requests ran beside ones that are not in the trace."""
    e2e_s = [one.e2e_s for one in demand.requests if one.completed and one.e2e_s is not None]
    return min(float(np.percentile(e2e_s, 90)), LONGEST_LEFT_OUT * judged_s)


def _recorded_policy(traffic: Traffic) -> tuple[str | None, float]:
    counts = traffic.policies
    known = [(name, count) for name, count in counts.most_common() if name in ARMS]
    if not known:
        return None, 0.0
    name, count = known[0]
    return name, count / counts.total()


def _with_objectives(traffic: Traffic, objective: Objective) -> list[Recorded]:
    if not objective:
        return traffic.requests
    return [one if one.objective else replace(one, objective=objective) for one in traffic.requests]
