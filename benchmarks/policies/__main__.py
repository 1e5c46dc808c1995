"""Policies against each other in virtual time: what the scheduler must show.

    python -m benchmarks.policies [--part PART ...] [--quick] [--json PATH] [--page PATH]
        [--plots DIR] [--data DIR] [--results DIR] [--jobs N] [--table-only]
        [--cells TEXT,TEXT] [--policies NAME,NAME] [--seeds 11,12,13] [--core] [--table PATH]
        [--workload FILE --fleet NAME --rate R[,R]]

Parts: ``quality`` (:mod:`quality <benchmarks.policies.quality>`): against the best baseline
in hindsight and llm-d's policies, on seeds nothing was tuned on. ``ablation``
(:mod:`ablation <benchmarks.policies.ablation>`): what each learned thing and each term
gains. ``changing`` (:mod:`changing <benchmarks.policies.changing>`): the world changes
mid-run. ``robust`` (:mod:`robust <benchmarks.policies.robust>`): predictions are wrong.
``staleness`` (:mod:`staleness <benchmarks.policies.staleness>`): scrapes are old. ``herding``
(:mod:`herding <benchmarks.policies.herding>`): many come at once. ``loads`` (:mod:`loads
<benchmarks.policies.loads>`): latency against load. ``matrix`` (:mod:`matrix
<benchmarks.policies.matrix>`, only where it is named): every policy on every cell, as one
Markdown page (``--core``: the cells that decide).

Each run's figures are kept in a file of their own: stopped and started again, it goes on
where it was. ``--workload`` plays a file or trace of one's own; ``capacity.json`` has to
name the others (``python -m benchmarks.capacity``). Exits with 1 where a must falls short or
a run was refused.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.command import run as run_command
from benchmarks.policies import (
    ablation,
    changing,
    herding,
    loads,
    matrix,
    plots,
    quality,
    robust,
    staleness,
)
from benchmarks.policies.bench import Bench, Document, cells_named
from benchmarks.policies.cells import CORE, Cell
from benchmarks.policies.planning import ROOT
from benchmarks.prediction import DEFAULT_DATA
from benchmarks.prediction.panels import require_matplotlib
from foretoken.output_file import why_not_writable, write_whole
from foretoken.simulation.arms import ARMS
from foretoken.simulation.comparison import cores

RESULTS = ROOT / "benchmarks" / "results"

Part = Callable[[Bench], tuple[Document, bool]]
"""From what was asked for to what goes to JSON, and whether all musts are met."""

PARTS: Mapping[str, Part] = {
    "quality": quality.main_part,
    "ablation": ablation.main_part,
    "changing": changing.main_part,
    "robust": robust.main_part,
    "staleness": staleness.main_part,
    "herding": herding.main_part,
    "loads": loads.main_part,
}
"""Those that are run unless some are named."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; 1 where a must falls short or a run was refused."""
    given = _parse(arguments)
    if given.plots is not None:
        require_matplotlib()
    bench, document, met = _bench(given), Document(), True
    parts = dict(PARTS)
    parts["matrix"] = partial(matrix.main_part, core=given.core, table=given.table)
    for name in given.part or PARTS:
        document[name], well = parts[name](bench)
        met = met and (well or given.quick)
    if given.json is not None:
        write_whole(given.json, (json.dumps(document, indent=2) + "\n").encode())
    if given.page is not None:
        bench.pages.fill(given.page)
    if given.plots is not None:
        plots.draw(document, given.plots)
    for line in bench.refused:
        bench.progress.print(f"refused: {line}", style="red", markup=False, soft_wrap=True)
    return int(bool(bench.refused) or not met)


def _bench(given: argparse.Namespace) -> Bench:
    return Bench(
        data=given.data,
        folder=given.results,
        jobs=given.jobs,
        console=Console(),
        progress=Console(stderr=True),
        asked=_asked(given),
        seeds=given.seeds,
        policies=given.policies,
        quick=given.quick,
        table_only=given.table_only,
    )


def _asked(given: argparse.Namespace) -> tuple[Cell, ...] | None:
    """Give the cells asked for, ``None`` where that is left to the parts."""
    if given.workload is not None:
        return tuple(
            Cell(workload=given.workload, fleet=given.fleet, rate=rate) for rate in given.rate
        )
    if given.cells is not None:
        return cells_named(given.cells)
    return CORE if given.core else None


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.policies",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = (*PARTS, "matrix")
    parser.add_argument("--part", nargs="+", choices=names, metavar="PART", help="run these")
    parser.add_argument("--quick", action="store_true", help="a seed, a cell or two; not judged")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="Markdown whose marked tables to replace")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw PNG files there")
    parser.add_argument("--core", action="store_true", help="only the cells that decide")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--results", type=Path, default=RESULTS / "policies")
    parser.add_argument("--table", type=Path, help="matrix: policies[-core].md in the results")
    parser.add_argument("--cells", type=_texts, help="only cells with one of these in their name")
    parser.add_argument("--policies", type=_names, help="only these, comma-separated")
    parser.add_argument("--seeds", type=_numbers, help="comma-separated")
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--table-only", action="store_true", help="play nothing")
    parser.add_argument("--workload", help="file or trace of one's own, with --fleet and --rate")
    parser.add_argument("--fleet", help="name or file")
    parser.add_argument("--rate", type=_rates, help="requests a second, or users")
    given = parser.parse_args(arguments)
    problem = _problem(given)
    if problem is not None:
        parser.error(problem)
    return given


def _problem(given: argparse.Namespace) -> str | None:
    """Find out before the hours, not after them, what cannot be."""
    if not given.data.is_dir():
        return f"{given.data} is not there; name the data folder with --data"
    if given.table is None:
        given.table = RESULTS / ("policies-core.md" if given.core else "policies.md")
    own = [given.workload, given.fleet, given.rate]
    if any(each is None for each in own) and any(each is not None for each in own):
        return "--workload, --fleet and --rate go together"
    if given.cells is not None and not cells_named(given.cells):
        return f"no cell has {' or '.join(map(repr, given.cells))} in its name"
    if given.page is not None and not given.page.is_file():
        return f"{given.page} is not there; --page names a page with places for tables"
    unwritable = None if given.json is None else why_not_writable(given.json)
    return unwritable or _why_no_results(given.results, given.table)


def _why_no_results(results: Path, table: Path) -> str | None:
    try:
        results.mkdir(parents=True, exist_ok=True)
        table.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return f"{error.filename}: {error.strerror}"
    return why_not_writable(table) or why_not_writable(results / "cell")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in ARMS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {', '.join(ARMS)}")
    return names


def _texts(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _rates(text: str) -> tuple[float, ...]:
    rates = tuple(float(number) for number in text.split(","))
    if not all(0 < rate < 1e6 for rate in rates):
        raise argparse.ArgumentTypeError("a rate is above 0 and below a million")
    return rates


if __name__ == "__main__":
    run_command(main)
