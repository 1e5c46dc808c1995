"""Compare policies over one workload and fleet: what ``foretoken simulate`` does.

Finds out everything that can be wrong with what was asked for before anything is
played, and turns the simulator's errors into one line.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from foretoken.errors import SimulationRefused
from foretoken.nearest import did_you_mean
from foretoken.simulation.arms import ARMS
from foretoken.simulation.jobs import Job, play_each
from foretoken.simulation.jobs import Progress as Tell
from foretoken.simulation.outcome import Run
from foretoken.simulation.run import simulate
from foretoken.simulation.variants import VARIANTS
from simulator.errors import SimulatorError, UnknownName
from simulator.fleets import FleetSpec, fleet_names, load_fleet
from simulator.workloads import Workload, load_workload, workload_names

POLICIES: Final = (
    "round_robin",
    "lmetric",
    "weighted_blend",
    "prefix_affinity",
    "predicted_latency",
)
"""Played unless others are named: the usual, the best heuristics, ours."""

LOAD: Final = 0.7
"""Share of the capacity played unless something else is said: busy, and not yet queueing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Say what to play.

    Attributes:
        workload: Name, or path of a file.
        fleet: Likewise.
        policies: Names of arms.
        rate: Requests a second, or users of a closed loop; ``None`` to go by ``load``.
        load: Share of the fleet's capacity for the workload.
        seeds: How many; they are 1 to this.
        data: Folder that recorded traces are relative to, ``None`` for the workload's own.
        warmup_s: Length of the transient, ``None`` for the workload's own.
        measure_s: Length of the steady state, likewise.
        labels: Whether the predictor is told each endpoint's hardware.
        processes: Most to play at once.
    """

    workload: str
    fleet: str
    policies: tuple[str, ...] = POLICIES
    rate: float | None = None
    load: float = LOAD
    seeds: int = 3
    data: Path | None = None
    warmup_s: float | None = None
    measure_s: float | None = None
    labels: bool = False
    processes: int = 1


def plan(comparison: Comparison) -> list[Job]:
    """Give the runs, by policy and seed.

    Raises:
        SimulationRefused: A name is unknown, a file does not parse, or the capacity is
            not known.
    """
    for name in comparison.policies:
        if name not in ARMS:
            meant = did_you_mean(name, ARMS)
            raise SimulationRefused(
                f"unknown policy {name!r}{meant or ';'} known are: {', '.join(ARMS)}"
            )
    workload, fleet = load(comparison.workload, comparison.fleet, comparison.data)
    rate = comparison.rate
    if rate is None:
        rate = rate_at(comparison.load, workload, fleet)
    warmup_s, measure_s = comparison.warmup_s, comparison.measure_s
    return [
        Job(
            workload=comparison.workload,
            fleet=comparison.fleet,
            policy=policy,
            data=comparison.data,
            rate=rate,
            seed=seed,
            warmup_s=workload.warmup_s if warmup_s is None else warmup_s,
            measure_s=workload.measure_s if measure_s is None else measure_s,
            labels=comparison.labels,
        )
        for policy in dict.fromkeys(comparison.policies)
        for seed in range(1, comparison.seeds + 1)
    ]


def load(workload: str, fleet: str, data: Path | None) -> tuple[Workload, FleetSpec]:
    """Read a workload and a fleet by name or path.

    Raises:
        SimulationRefused: One does not exist or does not parse, or a request of the
            workload is longer than an endpoint of the fleet can hold.
    """
    with refusals():
        found, onto = load_workload(workload, data), load_fleet(fleet)
        found.check_fits(onto.limit_tokens)
    return found, onto


def rate_at(load: float, workload: Workload, fleet: FleetSpec) -> float:
    """Give the rate at a share of the capacity; a closed loop has whole users, at least one.

    Raises:
        SimulationRefused: Nobody has measured the capacity of this fleet for this workload.
    """
    capacity = workload.capacity(fleet.name)
    if capacity is None:
        raise SimulationRefused(
            f"the capacity of {fleet.name} for {workload.name} is not known: say --rate, or "
            f"measure it with python -m benchmarks.capacity {workload.name}:{fleet.name}"
        )
    return max(1.0, round(load * capacity)) if workload.loop == "closed" else load * capacity


def names() -> dict[str, tuple[str, ...]]:
    """Give everything that can be named, by kind."""
    return {"workloads": workload_names(), "fleets": fleet_names(), "policies": tuple(ARMS)}


def compare(
    comparison: Comparison,
    play: Callable[[Job, Tell], Run] | None = None,
    console: Console | None = None,
) -> list[Run]:
    """Play everything, with a bar on ``console`` where that is a terminal.

    Args:
        comparison: What to play.
        play: Plays one run; the simulator unless something else is given.
        console: Where the bar is drawn, standard error unless something else is given.

    Returns:
        The runs by policy, in the order asked for, and seed: whatever order they end in.

    Raises:
        SimulationRefused: As for ``plan``, or a request fits no endpoint.
    """
    jobs = plan(comparison)
    runs: dict[int, Run] = {}
    with _bar(console or Console(stderr=True), len(jobs)) as tell:
        played = play_each(jobs, play or play_job, processes=comparison.processes, progress=tell)
        runs.update(played)
    return [runs[index] for index in range(len(jobs))]


def play_job(job: Job, progress: Tell) -> Run:
    """Play one run in the simulator.

    Raises:
        SimulationRefused: What it names does not exist, or a request fits no endpoint.
    """
    workload, fleet = load(job.workload, job.fleet, job.data)
    return play_world(job, workload, fleet, progress)


def play_world(job: Job, workload: Workload, fleet: FleetSpec, progress: Tell) -> Run:
    """Play one run on a workload and a fleet that need not be those it names.

    Raises:
        SimulationRefused: A request fits no endpoint, or the traffic cannot be written.
    """
    with refusals():
        return simulate(
            fleet=fleet,
            workload=workload,
            rate=job.rate,
            arm=(ARMS | VARIANTS)[job.policy],
            seed=job.seed,
            warmup_s=job.warmup_s,
            measure_s=job.measure_s,
            labels=job.labels,
            progress=progress,
        )


@contextmanager
def refusals() -> Iterator[None]:
    """Make the simulator's errors ours; these survive the way between processes."""
    try:
        yield
    except UnknownName as error:
        raise SimulationRefused(f"{error}{did_you_mean(error.name, error.known)}") from error
    except SimulatorError as error:
        raise SimulationRefused(" ".join(str(error).split())) from error


def cores() -> int:
    """Tell how many runs this machine plays at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _bar(console: Console, jobs: int) -> Iterator[Callable[[int, float], None]]:
    """Show one bar over all runs; nothing at all where nobody watches."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    shares = [0.0] * jobs
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task(f"simulating, {jobs} runs", total=jobs)

        def tell(index: int, share: float) -> None:
            shares[index] = max(shares[index], share)
            progress.update(task, completed=sum(shares))

        yield tell
