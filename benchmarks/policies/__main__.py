"""Every policy on every workload and fleet, in virtual time: the matrix.

    python -m benchmarks.policies [--core] [--data DIR] [--results DIR] [--table PATH]
        [--cells TEXT] [--policies NAME,NAME] [--seeds 1,2] [--jobs N] [--table-only]

Plays each cell (``cells.py``) with each arm and seed, on the cores there are, and writes
one Markdown page. Each run's figures are kept in a file of their own: stopped and started
again, it goes on where it was. Shown, not judged; ``capacity.json`` has to be there
(``python -m benchmarks.capacity``).
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.command import run as run_command
from benchmarks.policies.cells import CORE, CORE_SEEDS, SEEDS, WHOLE, Cell
from benchmarks.policies.play import play_figures
from benchmarks.policies.ratios import Results
from benchmarks.policies.results import (
    Planned,
    code_version,
    digest,
    is_done,
    records,
    write,
)
from benchmarks.policies.tables import page
from benchmarks.prediction import DEFAULT_DATA
from foretoken.errors import SimulationRefused
from foretoken.output_file import why_not_writable, write_whole
from foretoken.simulation.arms import ARMS
from foretoken.simulation.comparison import cores, load, rate_at
from foretoken.simulation.jobs import Job, play_each

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what is missing and write the page; 1 where a run was refused."""
    given = _parse(arguments)
    console = Console(stderr=True)
    cells = [cell for cell in (CORE if given.core else WHOLE) if given.cells in cell.name]
    seeds = given.seeds or (CORE_SEEDS if given.core else SEEDS)
    policies = given.policies or list(ARMS)
    planned, refused = plan(cells, policies, seeds, given.data)
    if not given.table_only:
        refused += play_missing(planned, given.results, given.jobs, console)
    found = records(planned, given.results)
    if found:
        references = [name for name, arm in ARMS.items() if arm.is_reference]
        title = "Policies, the cells that decide" if given.core else "Policies"
        text = page(Results(found, references), title, code_version(ROOT))
        write_whole(given.table, text.encode())
        console.print(f"{given.table}: {len(found)} of {len(planned)} runs")
    for line in refused:
        console.print(f"refused: {line}", style="red", markup=False, soft_wrap=True)
    return 1 if refused else 0


def plan(
    cells: Sequence[Cell], policies: Sequence[str], seeds: Sequence[int], data: Path
) -> tuple[list[Planned], list[str]]:
    """Give the runs, by cell, seed and policy, and one line for each cell that cannot be."""
    planned, refused = [], []
    for cell in cells:
        try:
            workload, fleet = load(cell.workload, cell.fleet, data)
            rate = rate_at(cell.load, workload, fleet)
        except SimulationRefused as error:
            refused.append(f"{cell.name}: {error}")
            continue
        defined = digest(workload.spec, fleet)
        planned += [
            Planned(
                cell=cell,
                definitions=defined,
                job=Job(
                    workload=cell.workload,
                    fleet=cell.fleet,
                    policy=policy,
                    data=data,
                    rate=rate,
                    seed=seed,
                    warmup_s=workload.warmup_s,
                    measure_s=workload.measure_s,
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
    played = play_each([each.job for each in missing], play_figures, processes=jobs)
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


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.policies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--core", action="store_true", help="only the cells that decide, 2 seeds")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--results", type=Path, default=RESULTS / "policies")
    parser.add_argument("--table", type=Path, help="default: policies[-core].md in the results")
    parser.add_argument("--cells", default="", help="only cells with this in their name")
    parser.add_argument("--policies", type=_names, help="only these, comma-separated")
    parser.add_argument("--seeds", type=_numbers, help="comma-separated")
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--table-only", action="store_true", help="play nothing")
    given = parser.parse_args(arguments)
    if not given.data.is_dir():
        parser.error(f"{given.data} is not there; name the data folder with --data")
    if given.table is None:
        given.table = RESULTS / ("policies-core.md" if given.core else "policies.md")
    if not any(given.cells in cell.name for cell in (CORE if given.core else WHOLE)):
        parser.error(f"no cell has {given.cells!r} in its name")
    problem = _why_no_results(given.results, given.table)
    if problem is not None:
        parser.error(problem)
    return given


def _why_no_results(results: Path, table: Path) -> str | None:
    """Find out before the hours, not after them, that nothing could be kept."""
    try:
        results.mkdir(parents=True, exist_ok=True)
        table.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return why_not_writable(table) or why_not_writable(results / "cell")


def _names(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in ARMS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(ARMS)}")
    return names


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    run_command(main)
