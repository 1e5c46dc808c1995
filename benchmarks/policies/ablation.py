"""What the default pick gains from each thing that was learned, and from each term.

Variants of the default policy on few cells that differ, each against the default on the
same seeds. The default may use the learned model as far as this shows gain: a ranking
that is better by more than the slack is one it should have taken.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from rich.table import Table

from benchmarks.policies.bench import Bench, Document
from benchmarks.policies.cells import FEW, HELD_OUT, QUICK, Cell
from benchmarks.policies.musts import Verdict, all_pass, must_table, within_slack
from benchmarks.policies.quality import GROUPS, JUDGED, OURS
from benchmarks.policies.ratios import Overall, Results, overall, ratios
from foretoken.simulation.variants import OBJECTIVES, RANKINGS

FIXED: Final = "lmetric"
"""Shown beside the variants: the best plain heuristic."""


def main_part(bench: Bench) -> tuple[Document, bool]:
    """Play what is missing and lay it out."""
    cells = bench.cells(FEW, QUICK)
    seeds = bench.held_out(HELD_OUT)
    planned = bench.planned(cells, (OURS, *RANKINGS, *OBJECTIVES, FIXED), seeds)
    bench.play(planned)
    results = bench.results(planned)
    verdicts = judge(results)
    bench.pages.show(
        bench.console,
        {
            "ablation-rankings": variant_table(results, RANKINGS, "What ranking rests on"),
            "ablation-objectives": variant_table(results, OBJECTIVES, "What is minimised"),
            "ablation-cells": cell_table(results),
            "ablation-musts": must_table("No ranking beats the default's", verdicts),
        },
    )
    document: Document = {
        "seeds": list(seeds),
        "cells": [cell.name for cell in cells],
        "ratios": {
            name: {metric: _by_cell(results, name, metric) for metric in JUDGED}
            for name in results.policies
        },
        "verdicts": [one.as_json() for one in verdicts],
    }
    return document, all_pass(verdicts)


def judge(results: Results) -> list[Verdict]:
    """Compare the default with the ranking that came out best, by group."""
    found = []
    for group in GROUPS:
        cells = [cell for cell in results.cells if cell.group == group]
        known = {name: against_default(results, name, "e2e_mean_s", cells) for name in RANKINGS}
        means = {name: one.geomean.mean for name, one in known.items() if one is not None}
        if not cells:
            continue
        best = min(means, key=means.__getitem__, default=None)
        reached = None if best is None else 1.0 / means[best]
        what = f"e2e mean, the default against the best ranking, {group}"
        found.append(within_slack(what, reached, 1.0, best or ""))
    return found


def against_default(
    results: Results, name: str, metric: str, cells: Sequence[Cell]
) -> Overall | None:
    """Compare a variant with the default over cells; ``None`` unless all were played."""
    found = overall(ratios(results, name, metric, dict.fromkeys(cells, OURS)))
    return None if found is None or found.cells < len(cells) else found


def variant_table(results: Results, names: Mapping[str, str], title: str) -> Table:
    """Lay variants out: geometric mean and worst cell of each ratio to the default."""
    titles = [f"{metric}, {group}" for group in GROUPS for metric in JUDGED.values()]
    table = Table("variant", *titles, title=f"{title}: ratio to the default, worst cell")
    for name, words in {**names, FIXED: FIXED}.items():
        row = []
        for group in GROUPS:
            cells = [cell for cell in results.cells if cell.group == group]
            found = (against_default(results, name, metric, cells) for metric in JUDGED)
            row += ["-" if one is None else _text(one) for one in found]
        table.add_row(words, *row)
    return table


def cell_table(results: Results) -> Table:
    """Lay the cells out: e2e and TTFT p90 of every variant to the default's."""
    cells = results.cells
    table = Table("variant", *(cell.name for cell in cells), title="e2e mean / TTFT p90 by cell")
    for name in results.policies:
        row = []
        for cell in cells:
            pair = [against_default(results, name, m, [cell]) for m in ("e2e_mean_s", "ttft_p90_s")]
            row.append(" / ".join("-" if one is None else f"{one.worst:.2f}" for one in pair))
        table.add_row(name, *row)
    return table


def _text(found: Overall) -> str:
    return f"{found.geomean.mean:.3f}, {found.worst:.2f}"


def _by_cell(results: Results, name: str, metric: str) -> dict[str, float]:
    found = ratios(results, name, metric, dict.fromkeys(results.cells, OURS))
    each = {cell.name: overall({cell: values}) for cell, values in found.items()}
    return {cell: one.worst for cell, one in each.items() if one is not None}
