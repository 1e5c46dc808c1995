"""Latency against load: ours, the best heuristics and the oracle as the fleet fills up.

Shown, not judged; what the plots against load are drawn from.
"""

from typing import Final

from rich.table import Table

from benchmarks.policies.bench import Bench, Document
from benchmarks.policies.cells import HELD_OUT, MIXED, TEN, Cell
from benchmarks.policies.musts import number
from benchmarks.policies.quality import OURS
from benchmarks.policies.ratios import Results

LOADS: Final = (0.4, 0.55, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05)
PAIRS: Final = (("post-c", TEN), ("sharegpt", MIXED))
POLICIES: Final = (OURS, "lmetric", "prefix_affinity", "weighted_blend", "queued_tokens_speed")
SHOWN: Final = {"e2e_mean_s": "e2e mean", "ttft_p90_s": "TTFT p90", "tpot_p90_s": "TPOT p90"}


def main_part(bench: Bench) -> tuple[Document, bool]:
    """Play what is missing and lay it out."""
    results = load_results(bench)
    bench.pages.show(bench.console, {"loads": load_table(results)})
    document: Document = {
        cell.name: {
            policy: {metric: results.mean(cell, policy, metric) for metric in SHOWN}
            for policy in results.policies
        }
        for cell in results.cells
    }
    return document, True


def load_results(bench: Bench) -> Results:
    """Play what is missing; one seed unless more are asked for."""
    usual = [Cell(workload=w, fleet=f, load=load) for w, f in PAIRS for load in LOADS]
    quick = [cell for cell in usual if cell.fleet == MIXED][:3]
    cells = bench.cells(usual, quick)
    planned = bench.planned(cells, bench.policies or POLICIES, bench.seeds or HELD_OUT[:1])
    bench.play(planned)
    return bench.results(planned)


def load_table(results: Results) -> Table:
    """Lay out one figure of every policy below each other, by load."""
    table = Table("cell", "", *results.policies, title="Against load, seconds")
    for cell in results.cells:
        for metric, title in SHOWN.items():
            values = (results.mean(cell, policy, metric) for policy in results.policies)
            table.add_row(cell.name, title, *(number(value) for value in values))
    return table
