"""The matrix: every policy on every cell as one Markdown page, shown and not judged."""

from pathlib import Path

from benchmarks.policies.bench import REFERENCES, Bench, Document
from benchmarks.policies.cells import CORE, CORE_SEEDS, SEEDS, WHOLE
from benchmarks.policies.planning import ROOT
from benchmarks.policies.ratios import Results
from benchmarks.policies.results import code_version, records
from benchmarks.policies.tables import page
from foretoken.output_file import write_whole
from foretoken.simulation.arms import ARMS


def main_part(bench: Bench, *, core: bool, table: Path) -> tuple[Document, bool]:
    """Play what is missing and write the page.

    Args:
        bench: What was asked for.
        core: Whether only the cells that decide are played.
        table: The page.
    """
    cells = bench.cells(CORE if core else WHOLE, CORE[:1])
    seeds = bench.held_out(CORE_SEEDS if core else SEEDS)
    planned = bench.planned(cells, bench.policies or tuple(ARMS), seeds)
    bench.play(planned)
    found = records(planned, bench.folder)
    if found:
        title = "Policies, the cells that decide" if core else "Policies"
        text = page(Results(found, REFERENCES), title, code_version(ROOT))
        write_whole(table, text.encode())
        bench.progress.print(f"{table}: {len(found)} of {len(planned)} runs")
    return {"runs": len(found), "planned": len(planned)}, True
