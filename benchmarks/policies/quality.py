"""Ours against the best baseline in hindsight, llm-d's default, and llm-d's predictor.

H is, for each cell and metric, the baseline that turned out best there; L is llm-d's
default everywhere. Judged on geometric means over the cells and on the worst cell, on
seeds nothing was tuned on. Steady state; what came before, on cold caches and with an
untrained predictor, is a table of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from rich.table import Table

from benchmarks.policies.bench import REFERENCES, Bench, Document
from benchmarks.policies.cells import HELD_OUT, QUALITY, QUICK, Cell, Group
from benchmarks.policies.musts import Verdict, all_pass, must_table, number, within_slack
from benchmarks.policies.ratios import Overall, Results, overall, ratios
from benchmarks.policies.results import Planned, records
from foretoken.simulation.arms import ARMS
from simulator.workloads import load_workload

OURS: Final = "predicted_latency"
LLMD_DEFAULT: Final = "prefix_affinity"
LLMD_PREDICTOR: Final = "llmd_predictor"
GROUPS: Final[tuple[Group, ...]] = ("homogeneous", "mixed")
JUDGED: Final = {"e2e_mean_s": "e2e mean", "ttft_p90_s": "TTFT p90", "tpot_p90_s": "TPOT p90"}
LEAST_WINDOWS: Final = 3.0
"""A window shorter than so many mean e2e is no steady state."""
PLAYED: Final = tuple(name for name in ARMS if name not in REFERENCES)

Against = dict[Cell, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Name one row of what is to be reached.

    Attributes:
        metric: Of which figure.
        against: Compared with: ``H``, or the name of an arm.
        group: Of which cells, ``None`` for all.
        target: Ratio to reach.
        worst: Whether it is the worst cell's, and not the geometric mean's.
    """

    metric: str
    against: str
    group: Group | None
    target: float
    worst: bool = False


TARGETS: Final = (
    Target(metric="e2e_mean_s", against="H", group="homogeneous", target=0.98),
    Target(metric="e2e_mean_s", against="H", group="mixed", target=0.80),
    Target(metric="e2e_mean_s", against="H", group=None, target=1.05, worst=True),
    Target(metric="ttft_p90_s", against="H", group="homogeneous", target=1.03),
    Target(metric="ttft_p90_s", against="H", group="mixed", target=1.05),
    Target(metric="ttft_p90_s", against="H", group=None, target=1.5, worst=True),
    Target(metric="tpot_p90_s", against="H", group="homogeneous", target=1.02),
    Target(metric="tpot_p90_s", against="H", group="mixed", target=0.75),
    Target(metric="e2e_mean_s", against=LLMD_DEFAULT, group="homogeneous", target=0.82),
    Target(metric="ttft_p90_s", against=LLMD_DEFAULT, group="homogeneous", target=0.48),
    Target(metric="e2e_mean_s", against=LLMD_DEFAULT, group="mixed", target=0.63),
    Target(metric="ttft_p90_s", against=LLMD_DEFAULT, group="mixed", target=0.75),
    Target(metric="e2e_mean_s", against=LLMD_PREDICTOR, group=None, target=0.80),
)
"""What the task asks for, learned predictor, seeds not used in tuning."""


def main_part(bench: Bench) -> tuple[Document, bool]:
    """Play what is missing, compare and judge."""
    left_out = _unknown(QUALITY, bench) if bench.asked is None and not bench.quick else []
    cells = bench.cells([cell for cell in QUALITY if cell not in left_out], QUICK)
    seeds = bench.held_out(HELD_OUT)
    planned = bench.planned(cells, bench.policies or PLAYED, seeds)
    bench.play(planned)
    # References are shown where someone has played them.
    results = bench.results([*planned, *bench.planned(cells, REFERENCES, seeds)])
    verdicts = judge(results)
    bench.pages.show(
        bench.console,
        {
            "quality-musts": must_table(f"Quality, seeds {_listed(seeds)}", verdicts),
            "quality-cells": cell_table(results),
            "quality-policies": policy_table(results),
            "quality-cold": cold_table(_cold(planned, bench)),
        },
    )
    document: Document = {
        "seeds": list(seeds),
        "verdicts": [one.as_json() for one in verdicts],
        "cells": [_cell_json(results, cell) for cell in results.cells],
        "left_out": [cell.name for cell in left_out],
    }
    return document, all_pass(verdicts)


def judge(results: Results) -> list[Verdict]:
    """Judge every target whose group has cells."""
    found = []
    for target in TARGETS:
        cells = [cell for cell in results.cells if target.group in {None, cell.group}]
        if cells:
            found.append(_verdict(results, target, cells))
    return found


def compared(
    results: Results, metric: str, against: str, cells: Sequence[Cell], policy: str = OURS
) -> Overall | None:
    """Compare a policy with ``H`` or an arm over cells; ``None`` unless all were played."""
    found = overall(ratios(results, policy, metric, rivals(results, metric, against, cells)))
    return None if found is None or found.cells < len(cells) else found


def rivals(results: Results, metric: str, against: str, cells: Sequence[Cell]) -> Against:
    """Give whom each cell is compared with."""
    if against != "H":
        return dict.fromkeys(cells, against)
    return {cell: results.best_heuristic(cell, metric) for cell in cells}


def cell_table(results: Results) -> Table:
    """Lay the cells out: whom ours met there, and how it came out."""
    table = Table(
        "cell", "window / e2e", "baselines", "best on e2e", *JUDGED.values(), "e2e / L",
        "TTFT p90 / L", "e2e / llm-d's predictor", "e2e / oracle",
        title="Ours against the best baseline of each cell and metric",
    )  # fmt: skip
    for cell in results.cells:
        share = windows_a_request(results, cell)
        flag = "" if share is None or share >= LEAST_WINDOWS else " short"
        table.add_row(
            cell.name,
            number(share, 1) + flag,
            str(_baselines(results, cell)),
            results.best_heuristic(cell, "e2e_mean_s") or "-",
            *(_one(results, cell, metric, "H") for metric in JUDGED),
            _one(results, cell, "e2e_mean_s", LLMD_DEFAULT),
            _one(results, cell, "ttft_p90_s", LLMD_DEFAULT),
            _one(results, cell, "e2e_mean_s", LLMD_PREDICTOR),
            _one(results, cell, "e2e_mean_s", "oracle_total"),
        )
    return table


def policy_table(results: Results) -> Table:
    """Lay every policy out against the best in hindsight: nobody else is good everywhere."""
    titles = [f"{title}, {group}" for group in GROUPS for title in JUDGED.values()]
    table = Table("policy", *titles, title="Against H: geometric mean, worst cell")
    for policy in results.policies:
        row = []
        for group in GROUPS:
            cells = [cell for cell in results.cells if cell.group == group]
            found = (compared(results, metric, "H", cells, policy) for metric in JUDGED)
            row += [_spread(each) for each in found]
        table.add_row(policy + ("†" if policy in results.references else ""), *row)
    return table


def cold_table(cold: Results) -> Table:
    """Lay out what arrived before the measured window: empty caches, nothing learned yet."""
    table = Table(
        "cell", "best on e2e", "ours s", "e2e mean", "TTFT p90",
        title="The cold transient: ours against the best baseline there",
    )  # fmt: skip
    for cell in cold.cells:
        table.add_row(
            cell.name,
            cold.best_heuristic(cell, "e2e_mean_s") or "-",
            number(cold.mean(cell, OURS, "e2e_mean_s"), 2),
            _one(cold, cell, "e2e_mean_s", "H"),
            _one(cold, cell, "ttft_p90_s", "H"),
        )
    return table


def windows_a_request(results: Results, cell: Cell) -> float | None:
    """Give the measured window over ours' mean e2e: how steady the state can be."""
    e2e_s = results.mean(cell, OURS, "e2e_mean_s")
    found = results.of(cell, OURS)
    return found[0].windows_s[1] / e2e_s if found and e2e_s else None


def _unknown(cells: Sequence[Cell], bench: Bench) -> list[Cell]:
    """Find the cells that cannot be played, as nobody has measured their capacity; say so."""
    found = [cell for cell in cells if load_workload(cell.workload).capacity(cell.fleet) is None]
    if found:
        names = ", ".join(cell.name for cell in found)
        bench.progress.print(f"left out, no capacity is known: {names}", soft_wrap=True)
    return found


def _verdict(results: Results, target: Target, cells: Sequence[Cell]) -> Verdict:
    found = compared(results, target.metric, target.against, cells)
    group = "all" if target.group is None else target.group
    what = f"{JUDGED[target.metric]} against {target.against}, {group}"
    if target.worst:
        reached, note = None, ""
        if found is not None:
            by_cell = _by_cell(results, target.metric, target.against, cells)
            note = max(by_cell, key=lambda name: by_cell[name])
            reached = found.worst
        return within_slack(f"{what}, worst cell", reached, target.target, note)
    if found is None:
        return within_slack(what, None, target.target, "not all played")
    notes = [f"seeds {found.geomean.low:.3f} to {found.geomean.high:.3f}", f"{len(cells)} cells"]
    if target.against == "H":
        notes.append(f"best of {min(_baselines(results, cell) for cell in cells)}")
    return within_slack(what, found.geomean.mean, target.target, "; ".join(notes))


def _by_cell(
    results: Results, metric: str, against: str, cells: Sequence[Cell]
) -> dict[str, float]:
    found = ratios(results, OURS, metric, rivals(results, metric, against, cells))
    each = {cell.name: overall({cell: values}) for cell, values in found.items()}
    return {name: one.worst for name, one in each.items() if one is not None}


def _one(results: Results, cell: Cell, metric: str, against: str) -> str:
    found = compared(results, metric, against, [cell])
    return "-" if found is None else f"{found.worst:.2f}"


def _spread(found: Overall | None) -> str:
    return "-" if found is None else f"{found.geomean.mean:.3f}, {found.worst:.2f}"


def _baselines(results: Results, cell: Cell) -> int:
    """Count the baselines that H is the best of."""
    means = (results.mean(cell, name, "e2e_mean_s") for name in results.heuristics)
    return sum(mean is not None for mean in means)


def _cold(planned: Sequence[Planned], bench: Bench) -> Results:
    """Read the same runs, by what came before the measured window."""
    found = records(planned, bench.folder)
    seeds = {each.job.seed for each in planned}
    return Results([replace(one, steady=one.transient) for one in found], REFERENCES, seeds)


def _cell_json(results: Results, cell: Cell) -> Document:
    return {
        "cell": cell.name,
        "group": cell.group,
        "window_per_e2e": windows_a_request(results, cell),
        "baselines": _baselines(results, cell),
        "figures": {
            policy: {metric: results.mean(cell, policy, metric) for metric in JUDGED}
            for policy in results.policies
        },
        "against_best": {
            metric: {
                "best": results.best_heuristic(cell, metric),
                "ratio": _by_cell(results, metric, "H", [cell]).get(cell.name),
            }
            for metric in JUDGED
        },
    }


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))
