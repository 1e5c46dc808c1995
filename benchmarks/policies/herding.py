"""Two hundred requests in one millisecond: how they spread, against the oracle.

A warm fleet gets the workload's next requests all at once, and nothing after them. Judged
is the makespan, from the burst until the last of them has ended, against that of the
oracle which plays everyone's true future forward (``oracle_total``).
"""

from collections.abc import Sequence
from typing import Final

from rich.table import Table

from benchmarks.policies.bench import Bench, Document
from benchmarks.policies.cells import HELD_OUT, MIXED, TEN, Cell
from benchmarks.policies.musts import Verdict, all_pass, must_table, number
from benchmarks.policies.quality import OURS
from benchmarks.policies.ratios import geomean
from benchmarks.policies.scenarios import WITHIN_S, Scenario

CELLS: Final = (
    Cell(workload="post-c", fleet=TEN, load=0.5),
    Cell(workload="sharegpt", fleet=MIXED, load=0.5),
)
BURST: Final = Scenario(name="burst-of-200", at_s=120.0, measure_s=WITHIN_S, burst=200)
ORACLE: Final = "oracle_total"
POLICIES: Final = (OURS, ORACLE, "random", "least_request", "lmetric", "prefix_affinity")
MOST: Final = 1.15

Found = dict[Cell, dict[str, list[dict[str, float | None]]]]
"""By cell and policy, for each seed: ``makespan_s`` and the burst's own figures."""


def main_part(bench: Bench) -> tuple[Document, bool]:
    """Play what is missing and judge."""
    cells = bench.cells(CELLS, CELLS[1:])
    seeds = bench.held_out(HELD_OUT)
    found = bursts(bench, cells, seeds)
    verdicts = [judge(cell, by_policy) for cell, by_policy in found.items()]
    bench.pages.show(
        bench.console,
        {
            "herding": herding_table(found),
            "herding-musts": must_table("Makespan of a burst, against the oracle's", verdicts),
        },
    )
    document: Document = {
        "seeds": list(seeds),
        "bursts": {cell.name: by_policy for cell, by_policy in found.items()},
        "verdicts": [one.as_json() for one in verdicts],
    }
    return document, all_pass(verdicts)


def bursts(bench: Bench, cells: Sequence[Cell], seeds: Sequence[int]) -> Found:
    """Play the burst with every policy, in the order of the seeds."""
    planned = bench.planned(cells, POLICIES, seeds, BURST)
    bench.play(planned)
    found: Found = {cell: {} for cell in cells}
    for each in planned:
        run = bench.read(each)
        if run is not None:
            figures = {"makespan_s": run["makespan_s"], **run["steady"]}
            found[each.cell].setdefault(each.job.policy, []).append(figures)
    return {cell: by_policy for cell, by_policy in found.items() if by_policy}


def judge(cell: Cell, by_policy: dict[str, list[dict[str, float | None]]]) -> Verdict:
    """Judge ours on one cell, seed by seed."""
    found = against_oracle(by_policy, OURS)
    return Verdict(
        what=cell.name,
        reached=None if found is None else geomean(found),
        target=MOST,
        most=MOST,
        note="" if found is None else f"seeds {min(found):.3f} to {max(found):.3f}",
    )


def against_oracle(
    by_policy: dict[str, list[dict[str, float | None]]], policy: str
) -> list[float] | None:
    """Give the ratio of makespans by seed; ``None`` unless both have ended on every seed."""
    own, base = (by_policy.get(name, []) for name in (policy, ORACLE))
    pairs = [
        (one["makespan_s"], other["makespan_s"]) for one, other in zip(own, base, strict=False)
    ]
    known = [one / other for one, other in pairs if one and other]
    return known if known and len(known) == len(own) == len(base) else None


def herding_table(found: Found) -> Table:
    """Lay out the makespan and what the burst's requests felt, means over the seeds."""
    table = Table(
        "cell", "policy", "makespan s", "/ oracle", "e2e mean s", "TTFT p90 s", "busiest / mean",
        title="200 requests in one millisecond",
    )  # fmt: skip
    for cell, by_policy in found.items():
        for policy, runs in by_policy.items():
            ratio = against_oracle(by_policy, policy)
            names = ("makespan_s", "e2e_mean_s", "ttft_p90_s", "imbalance_requests")
            makespan, *others = (_mean([run[name] for run in runs]) for name in names)
            table.add_row(
                cell.name,
                policy,
                number(makespan, 1),
                number(None if ratio is None else geomean(ratio)),
                *(number(value, 2) for value in others),
            )
    return table


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
