"""Which runs there are to play, and playing those whose result is missing."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.policies.cells import Cell
from benchmarks.policies.play import play_figures
from benchmarks.policies.results import Planned, code_version, digest, is_done, write
from benchmarks.policies.scenarios import Scenario
from foretoken.errors import SimulationRefused
from foretoken.simulation.comparison import load, rate_at
from foretoken.simulation.jobs import Job, play_each
from simulator.fleets import FleetSpec
from simulator.workloads import Workload
from simulator.workloads.replay import ReplaySpec

ROOT: Final = Path(__file__).parents[2]


def plan(
    cells: Sequence[Cell],
    policies: Sequence[str],
    seeds: Sequence[int],
    data: Path,
    scenario: Scenario | None = None,
) -> tuple[list[Planned], list[str]]:
    """Give the runs, by cell, seed and policy, and one line for each cell that cannot be."""
    planned, refused = [], []
    for cell in cells:
        try:
            workload, fleet = load(cell.workload, cell.fleet, data)
            rate = _rate(cell, workload, fleet)
        except SimulationRefused as error:
            refused.append(f"{cell.name}: {error}")
            continue
        warmup_s, measure_s = _windows_s(workload, scenario)
        planned += [
            Planned(
                cell=cell,
                definitions=_definitions(cell, workload, fleet, data),
                scenario=scenario,
                job=Job(
                    workload=cell.workload,
                    fleet=cell.fleet,
                    policy=policy,
                    data=data,
                    rate=rate,
                    seed=seed,
                    warmup_s=warmup_s,
                    measure_s=measure_s,
                ),
            )
            for seed in seeds
            for policy in policies
        ]
    return planned, refused


def play_missing(
    planned: Sequence[Planned], folder: Path, jobs: int, console: Console
) -> list[str]:
    """Play the runs without a result, keep each as it ends; give a line for each refusal."""
    missing = [each for each in planned if not is_done(each, folder)]
    console.print(f"{len(planned) - len(missing)} runs are there, {len(missing)} to play")
    code, began_s, refused = code_version(ROOT), time.monotonic(), []
    played = play_each(missing, play_figures, processes=jobs)
    for count, (index, run) in enumerate(played, start=1):
        each = missing[index]
        name = f"{each.cell.name} {each.job.policy} seed {each.job.seed}"
        if isinstance(run, str):
            refused.append(f"{name}: {run}")
            continue
        write(each, folder, run, code)
        passed_s = time.monotonic() - began_s
        left_s = passed_s / count * (len(missing) - count)
        console.print(
            f"{count}/{len(missing)} {name}: {run['wall_s']:.0f} s; "
            f"{passed_s / 60:.0f} min passed, about {left_s / 60:.0f} left",
            highlight=False,
            soft_wrap=True,
        )
    return refused


def _rate(cell: Cell, workload: Workload, fleet: FleetSpec) -> float:
    if cell.rate is None:
        return rate_at(cell.load, workload, fleet)
    return max(1.0, round(cell.rate)) if workload.loop == "closed" else cell.rate


def _windows_s(workload: Workload, scenario: Scenario | None) -> tuple[float, float]:
    if scenario is None:
        return workload.warmup_s, workload.measure_s
    return (
        workload.warmup_s if scenario.at_s is None else scenario.at_s,
        workload.measure_s if scenario.measure_s is None else scenario.measure_s,
    )


def _definitions(cell: Cell, workload: Workload, fleet: FleetSpec, data: Path) -> str:
    """Digest what is defined; what the user's own file replays too, as its name says little."""
    traffic, file = workload.spec.traffic, Path(cell.workload)
    if not isinstance(traffic, ReplaySpec) or not file.is_file():
        return digest(workload.spec, fleet)
    folder = data if file.suffix == ".toml" else file.parent
    return digest(workload.spec, fleet, (folder / traffic.trace).read_bytes())
