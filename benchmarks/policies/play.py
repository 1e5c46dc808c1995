"""One run of a plan, as a child process plays it.

A module of its own: children find functions by their module, and a package's
``__main__`` is none that they can import.
"""

import time
from pathlib import Path

from benchmarks.policies.results import Planned
from benchmarks.policies.windows import makespan_s, windows
from foretoken.errors import SimulationRefused
from foretoken.simulation.comparison import load, play_world
from foretoken.simulation.jobs import Progress
from foretoken.simulation.report import run_json


def play_figures(planned: Planned, progress: Progress) -> dict[str, object] | str:
    """Play one run; give its figures and its cost, or why it cannot be played."""
    began_s = time.perf_counter()
    try:
        found = _play(planned, progress)
    except SimulationRefused as error:
        return str(error)
    return {**found, "wall_s": round(time.perf_counter() - began_s, 1)}


def _play(planned: Planned, progress: Progress) -> dict[str, object]:
    job, scenario = planned.job, planned.scenario
    workload, fleet = load(job.workload, job.fleet, job.data)
    if scenario is None:
        return run_json(play_world(job, workload, fleet, progress))
    sent = scenario.workload(workload, fleet, planned.cell.load, job.data or Path())
    run = play_world(job, sent, scenario.fleet(fleet), progress)
    found = {**run_json(run), "windows": windows(run)}
    if scenario.burst:
        found["makespan_s"] = makespan_s(run)
    return found
