"""One run of the matrix, as a child process plays it.

A module of its own: children find functions by their module, and a package's
``__main__`` is none that they can import.
"""

import time

from foretoken.errors import SimulationRefused
from foretoken.simulation.comparison import play_job
from foretoken.simulation.jobs import Job, Progress
from foretoken.simulation.report import run_json


def play_figures(job: Job, progress: Progress) -> dict[str, object] | str:
    """Play one run; give its figures and its cost, or why it cannot be played."""
    began_s = time.perf_counter()
    try:
        run = play_job(job, progress)
    except SimulationRefused as error:
        return str(error)
    return {**run_json(run), "wall_s": round(time.perf_counter() - began_s, 1)}
