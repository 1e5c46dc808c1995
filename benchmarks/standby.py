"""What standby endpoints are worth: promises kept in rushes, and how much they are used.

    python -m benchmarks.standby [--quick] [--json PATH] [--seeds 1,2] [--jobs N]

Four endpoints of one model that suffice as a rule, and two that stand by; every five
minutes comes a rush of two minutes that is too much for the four. Played without the two,
with them in the first class, with them standing by, and standing by without hysteresis
(``return_ratio`` 1, ``dwell_s`` 0). Kept is the share within the objective (3 s to the first
token, 80 ms a token); flaps are openings of the standby class: one a rush is right.

Musts: standing by keeps at least half of what the two missing endpoints lose, sends less
than half of what one class of six sends there, and opens at most twice a rush. Exits 1 where
one falls short.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Final

from rich.console import Console

from benchmarks.autoscaling.day import Day
from benchmarks.autoscaling.runs import HERE, OBJECTIVE_TPOT_S, OBJECTIVE_TTFT_S, TIERS, brain
from benchmarks.command import run as run_command
from foretoken.simulation.arms import Arm
from foretoken.simulation.comparison import cores
from foretoken.simulation.jobs import Progress, play_each
from foretoken.simulation.report import markdown_table
from foretoken.simulation.run import simulate
from scheduler import Scheduler, SchedulerSettings, StandbySettings
from simulator.fleets import load_fleet
from simulator.workloads import load_workload

FIRST: Final = 4
STANDING_BY: Final = 2
RATE: Final = 7.0
"""Requests a second in a rush: four endpoints take about five within the objective."""

MINUTES: Final = (0.5, 0.5, 0.5, 1.0, 1.0)
WARMUP_S: Final = 300.0
RUSHES: Final = 6
ARMS: Final = ("without", "one class", "standby", "no hysteresis")


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """Say what is played: which arm, with which seed, how many rushes."""

    arm: str
    seed: int
    rushes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Hold what a run gave.

    Attributes:
        requests: In the window.
        kept_ratio: Share within both objectives.
        refused_ratio: Share refused.
        standby_ratio: Share that ran on the two endpoints beside the four.
        openings: Of the standby class.
        ttft_p95_s: Of those served.
        tpot_p95_s: Likewise.
        reasons: Requests that went to standby, by why.
    """

    requests: int
    kept_ratio: float
    refused_ratio: float
    standby_ratio: float
    openings: int
    ttft_p95_s: float
    tpot_p95_s: float
    reasons: dict[str, int]


class _Kept:
    """Make a scheduler and keep hold of it."""

    def __init__(self) -> None:
        self.scheduler: Scheduler | None = None

    # Any: what a scheduler is made of is the driver's matter.
    def __call__(self, *, rng: Random, **rest: Any) -> Scheduler:  # noqa: ANN401
        self.scheduler = Scheduler(rng=rng, **rest)
        return self.scheduler


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print and judge."""
    given = _parse(arguments)
    console = Console()
    jobs = [
        Try(arm=arm, seed=seed, rushes=2 if given.quick else RUSHES)
        for arm in ARMS
        for seed in (given.seeds[:1] if given.quick else given.seeds)
    ]
    found: dict[int, Figures] = {}
    for index, figures in play_each(jobs, play, processes=given.jobs):
        found[index] = figures
        console.print(f"{jobs[index].arm}, seed {jobs[index].seed}: {figures.kept_ratio:.2%} kept")
    played = [(jobs[index], found[index]) for index in range(len(jobs))]
    print(_table(played))
    if given.json is not None:
        kept = [{**asdict(job), **asdict(figures)} for job, figures in played]
        given.json.write_text(json.dumps(kept, indent=2) + "\n")
    return 0 if _judge(played, console) else 1


def play(job: Try, _progress: Progress) -> Figures:
    """Play one arm."""
    fleet, base = load_fleet(HERE / "fleet.toml"), load_workload(HERE / "day.toml")
    count = FIRST if job.arm == "without" else FIRST + STANDING_BY
    by_class = job.arm in {"standby", "no hysteresis"}
    endpoints = tuple(
        replace(one, priority_class=int(by_class and number >= FIRST))
        for number, one in enumerate(fleet.endpoints[:count])
    )
    standby = StandbySettings()
    if job.arm == "no hysteresis":
        standby = StandbySettings(return_ratio=standby.spill_ratio, dwell_s=0.0)
    lasts_s, kept = 60.0 * len(MINUTES) * job.rushes, _Kept()
    run = simulate(
        fleet=replace(fleet, endpoints=endpoints),
        workload=Day(base, begins_s=WARMUP_S, lasts_s=lasts_s, hours=MINUTES * job.rushes),
        rate=RATE,
        arm=Arm(name="predicted_latency", build=brain),
        seed=job.seed,
        warmup_s=WARMUP_S,
        measure_s=lasts_s,
        settings=SchedulerSettings(tiers=TIERS, standby=standby),
        scheduler=kept,
    )
    window = [one for one in run.outcomes if WARMUP_S <= one.arrived_s < WARMUP_S + lasts_s]
    served = [one for one in window if one.outcome == "completed"]
    beside = {one.name for one in endpoints[FIRST:]}
    fleets = {} if kept.scheduler is None else kept.scheduler.fleets
    counts = [one.standby for one in fleets.values()]
    return Figures(
        requests=len(window),
        kept_ratio=sum(
            (one.ttft_s or 0.0) <= OBJECTIVE_TTFT_S and (one.tpot_s or 0.0) <= OBJECTIVE_TPOT_S
            for one in served
        )
        / len(window),
        refused_ratio=sum(one.outcome == "shed" for one in window) / len(window),
        standby_ratio=sum(one.endpoint in beside for one in window) / len(window),
        openings=sum(one.openings_total.total() for one in counts),
        ttft_p95_s=_p95([one.ttft_s for one in served]),
        tpot_p95_s=_p95([one.tpot_s for one in served]),
        reasons={
            reason: count for one in counts for (_, reason), count in one.requests_total.items()
        },
    )


def _p95(values: Sequence[float | None]) -> float:
    known = sorted(value for value in values if value is not None)
    return known[int(0.95 * (len(known) - 1))]


def _table(played: Sequence[tuple[Try, Figures]]) -> str:
    rows = [
        ["arm", "seed", "kept", "refused", "on the two", "openings", "TTFT p95 s", "TPOT p95 ms"]
    ]
    for job, one in played:
        rows.append(
            [
                job.arm,
                str(job.seed),
                f"{one.kept_ratio:.2%}",
                f"{one.refused_ratio:.2%}",
                f"{one.standby_ratio:.1%}",
                str(one.openings),
                f"{one.ttft_p95_s:.2f}",
                f"{one.tpot_p95_s * 1e3:.0f}",
            ]
        )
    return markdown_table(rows)


def _judge(played: Sequence[tuple[Try, Figures]], console: Console) -> bool:
    passed = True
    for seed in dict.fromkeys(job.seed for job, _ in played):
        of = {job.arm: figures for job, figures in played if job.seed == seed}
        rushes = next(job.rushes for job, _ in played)
        without, six, standby = of["without"], of["one class"], of["standby"]
        lost = six.kept_ratio - without.kept_ratio
        musts = {
            "keeps half of the loss": standby.kept_ratio - without.kept_ratio >= lost / 2,
            "uses the two half as much": standby.standby_ratio < six.standby_ratio / 2,
            "opens at most twice a rush": standby.openings <= 2 * rushes + 1,
        }
        for must, met in musts.items():
            console.print(f"seed {seed}: {must}: {'met' if met else 'FALLS SHORT'}")
            passed &= met
    return passed


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.standby",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--seeds", type=_numbers, default=[1, 2])
    parser.add_argument("--jobs", type=int, default=cores())
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    run_command(main)
