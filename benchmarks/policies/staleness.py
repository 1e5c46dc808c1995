"""What a router is told is old: scrapes of 50 ms and of one second on average.

A scrape every tenth of a second is half of that old on average, plus its delay. Heuristics
that read what is scraped are played beside ours, which rests on its own accounting.
"""

from typing import Final

from rich.table import Table

from benchmarks.policies.bench import Bench, Document
from benchmarks.policies.cells import FEW, HELD_OUT, QUICK, Cell
from benchmarks.policies.musts import Verdict, all_pass, must_table, number
from benchmarks.policies.quality import OURS
from benchmarks.policies.ratios import geomean
from benchmarks.policies.scenarios import Scenario

INTERVAL_S: Final = 0.1
FRESH: Final = Scenario(name="scrapes-50ms", scrape_interval_s=INTERVAL_S, scrape_delay_s=0.0)
OLD: Final = Scenario(name="scrapes-1s", scrape_interval_s=INTERVAL_S, scrape_delay_s=0.95)
POLICIES: Final = (OURS, "weighted_blend", "lmetric")
MOST: Final = 1.02
_SHOWN: Final = {"e2e_mean_s": "e2e mean", "ttft_p90_s": "TTFT p90"}

Ratios = dict[str, dict[Cell, dict[str, float]]]
"""Old over fresh by policy, cell and figure: the geometric mean over the seeds."""


def main_part(bench: Bench) -> tuple[Document, bool]:
    """Play what is missing and judge."""
    cells = bench.cells(FEW, QUICK)
    seeds = bench.held_out(HELD_OUT)
    found = aged(bench, cells, seeds)
    verdicts = [judge(found, cells)]
    bench.pages.show(
        bench.console,
        {
            "staleness": staleness_table(found, cells),
            "staleness-musts": must_table("Scrapes one second old, against 50 ms", verdicts),
        },
    )
    document: Document = {
        "seeds": list(seeds),
        "ratios": {
            policy: {cell.name: values for cell, values in by_cell.items()}
            for policy, by_cell in found.items()
        },
        "verdicts": [one.as_json() for one in verdicts],
    }
    return document, all_pass(verdicts)


def aged(bench: Bench, cells: tuple[Cell, ...], seeds: tuple[int, ...]) -> Ratios:
    """Play both ages and compare run by run; cells that lack a seed are left out."""
    plans = [bench.planned(cells, POLICIES, seeds, scenario) for scenario in (FRESH, OLD)]
    bench.play([each for planned in plans for each in planned])
    fresh, old = (bench.results(planned) for planned in plans)
    found: Ratios = {policy: {} for policy in POLICIES}
    for policy in POLICIES:
        for cell in cells:
            pairs = {
                metric: [
                    (old.value(cell, policy, seed, metric), fresh.value(cell, policy, seed, metric))
                    for seed in seeds
                ]
                for metric in _SHOWN
            }
            ratios = {
                metric: [one / other for one, other in each if one and other]
                for metric, each in pairs.items()
            }
            if all(len(each) == len(seeds) for each in ratios.values()):
                found[policy][cell] = {metric: geomean(each) for metric, each in ratios.items()}
    return found


def judge(found: Ratios, cells: tuple[Cell, ...]) -> Verdict:
    """Judge ours: e2e over the cells."""
    ours = {cell.name: values["e2e_mean_s"] for cell, values in found[OURS].items()}
    whole = bool(ours) and len(ours) == len(cells)
    return Verdict(
        what="e2e mean",
        reached=geomean(ours.values()) if whole else None,
        target=MOST,
        most=MOST,
        note=f"worst cell {max(ours.values()):.3f}" if whole else "not all played",
    )


def staleness_table(found: Ratios, cells: tuple[Cell, ...]) -> Table:
    """Lay out what age costs each policy."""
    titles = [f"{policy}: {title}" for policy in POLICIES for title in _SHOWN.values()]
    table = Table("cell", *titles, title="Scrapes one second old: ratio to 50 ms")
    for cell in cells:
        values = [
            found[policy].get(cell, {}).get(metric) for policy in POLICIES for metric in _SHOWN
        ]
        table.add_row(cell.name, *(number(value) for value in values))
    return table
