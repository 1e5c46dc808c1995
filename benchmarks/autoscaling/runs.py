"""One day with one scaler, and what became of its requests and its endpoints.

A module of its own, so that child processes find what they are to play.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.autoscaling.day import Day
from benchmarks.autoscaling.scalers import OnInflight, OnOutlook, OnWaiting, OnWaitingStep
from foretoken.simulation.arms import Arm, Brain, learned
from foretoken.simulation.jobs import Progress
from foretoken.simulation.outcome import Outcome
from foretoken.simulation.run import simulate
from foretoken.simulation.scaling import ScaledSimulation, Scaler, ScalingRules, Spent
from foretoken.simulation.world import World
from scheduler import POLICIES, SchedulerSettings, TierSettings, build_policy
from simulator.fleets import load_fleet
from simulator.workloads import load_workload

HERE: Final = Path(__file__).parent
OBJECTIVE_TTFT_S: Final = 3.0
OBJECTIVE_TPOT_S: Final = 0.08
TIERS: Final = {"standard": TierSettings(ttft_s=OBJECTIVE_TTFT_S, tpot_s=OBJECTIVE_TPOT_S)}
SETTINGS: Final = SchedulerSettings(tiers=TIERS)
RULES: Final = ScalingRules(first=4, least=1, most=12)
TRAIN_EVERY_S: Final = 60.0
"""Of the run: at the live trainer's pace training would be most of what a day costs."""
SPAN_S: Final = 300.0
"""Attainment is looked at by such spans, too: a day's mean hides a bad quarter of an hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """Say what is played.

    Attributes:
        signal: ``fixed``, ``waiting``, ``waiting_step``, ``inflight`` or ``outlook``.
        target: What the signal is held at, or the number of endpoints.
        seed: Of everything.
        rate: Requests a second at the peak.
        lasts_s: How long the day takes.
        least_running: Of ``waiting_step``.
    """

    signal: str
    target: float
    seed: int
    rate: float
    lasts_s: float
    least_running: float = 0.0

    @property
    def name(self) -> str:
        """Name it in tables."""
        if self.signal == "outlook":
            return "outlook"
        if self.signal == "waiting_step":
            return f"waiting, stepped {self.target:g}/{self.least_running:g}"
        return f"{self.signal.replace('_', ' ')} {self.target:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Hold what a day gave and took.

    Attributes:
        requests: That came.
        met_ratio: Share that completed within both objectives.
        worst_ratio: The same of the worst five minutes.
        refused_ratio: Share that was refused.
        ttft_p50_s: Of those served.
        ttft_p95_s: Likewise.
        tpot_p95_s: Likewise.
        endpoint_hours: From being asked for to being gone.
        mean_endpoints: Over the whole run.
        most_endpoints: Asked for at a time.
        starts: Endpoints started.
        turns: How often growing turned into shrinking or the other way.
        refused: Requests by why they were refused.
    """

    requests: int
    met_ratio: float
    worst_ratio: float
    refused_ratio: float
    ttft_p50_s: float
    ttft_p95_s: float
    tpot_p95_s: float
    endpoint_hours: float
    mean_endpoints: float
    most_endpoints: int
    starts: int
    turns: int
    refused: dict[str, int]


def play(job: Try, _progress: Progress) -> Figures:
    """Play one day."""
    workload = load_workload(HERE / "day.toml")
    warmup_s = workload.warmup_s
    spent = Spent()
    fixed = job.signal == "fixed"
    rules = replace(RULES, first=int(job.target)) if fixed else RULES
    run = simulate(
        fleet=load_fleet(HERE / "fleet.toml"),
        workload=Day(workload, begins_s=warmup_s, lasts_s=job.lasts_s),
        rate=job.rate,
        arm=Arm(name="predicted_latency", build=brain),
        seed=job.seed,
        warmup_s=warmup_s,
        measure_s=job.lasts_s,
        settings=SETTINGS,
        simulation=partial(ScaledSimulation, scaler=_scaler(job), rules=rules, spent=spent),
    )
    window = [one for one in run.outcomes if warmup_s <= one.arrived_s < warmup_s + job.lasts_s]
    served = [one for one in window if one.outcome == "completed"]
    refused = Counter(one.reason for one in window if one.outcome == "shed")
    counts = [count for _, count in spent.counts]
    ttft_s = [one.ttft_s for one in served if one.ttft_s is not None]
    return Figures(
        requests=len(window),
        met_ratio=_met(window),
        worst_ratio=_worst(window),
        refused_ratio=refused.total() / len(window),
        ttft_p50_s=float(np.percentile(ttft_s, 50)),
        ttft_p95_s=float(np.percentile(ttft_s, 95)),
        tpot_p95_s=float(np.percentile([one.tpot_s for one in served if one.tpot_s], 95)),
        endpoint_hours=spent.endpoint_s / 3600.0,
        mean_endpoints=spent.endpoint_s / run.ended_s,
        most_endpoints=max(counts),
        starts=spent.starts,
        turns=_turns(counts),
        refused=dict(refused),
    )


def brain(_: World) -> Brain:
    """Let the policy under test decide, trained less often than in service."""
    return replace(
        learned(build_policy(POLICIES["predicted_latency"])), train_every_s=TRAIN_EVERY_S
    )


class _Fixed:
    def wanted(self, _: object) -> None:
        """Leave it as it is."""


def _scaler(job: Try) -> Scaler:
    match job.signal:
        case "waiting":
            return OnWaiting(job.target)
        case "waiting_step":
            return OnWaitingStep(job.target, job.least_running)
        case "inflight":
            return OnInflight(job.target)
        case "outlook":
            return OnOutlook()
        case _:
            return _Fixed()


def _met(window: list[Outcome]) -> float:
    kept = sum(
        one.outcome == "completed"
        and (one.ttft_s or 0.0) <= OBJECTIVE_TTFT_S
        and (one.tpot_s or 0.0) <= OBJECTIVE_TPOT_S
        for one in window
    )
    return kept / len(window)


def _worst(window: list[Outcome]) -> float:
    spans: dict[int, list[Outcome]] = {}
    for one in window:
        spans.setdefault(int(one.arrived_s // SPAN_S), []).append(one)
    return min(_met(one) for one in spans.values())


def _turns(counts: list[int]) -> int:
    """Count changes of direction.

    >>> _turns([4, 5, 6, 4, 3, 5])
    2
    """
    ups = [after > before for before, after in pairwise(counts)]
    return sum(one != other for one, other in pairwise(ups))
