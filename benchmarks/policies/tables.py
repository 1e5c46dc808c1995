"""The matrix as one Markdown page."""

from collections.abc import Sequence
from typing import Final

from benchmarks.policies.cells import Cell, Group
from benchmarks.policies.ratios import METRICS, Overall, Results, overall, ratios
from foretoken.simulation.figures import spread
from foretoken.simulation.report import markdown_table, with_spread

FIXED: Final = "lmetric"
"""The policy every other is compared with: the best single heuristic known without tuning."""

COLUMNS: Final = (
    ("e2e mean s", "e2e_mean_s"),
    ("TTFT p90 s", "ttft_p90_s"),
    ("TPOT p90 ms", "tpot_p90_s"),
    ("good %", "goodput_ratio"),
    ("shed %", "shed_ratio"),
    ("hits %", "hit_ratio"),
    ("busiest / mean", "imbalance_requests"),
    ("TTFT err %", "ttft_error_mdape"),
    ("TPOT err %", "tpot_error_mdape"),
)
TRANSIENT: Final = (("cold: e2e mean s", "e2e_mean_s"), ("cold: TTFT p90 s", "ttft_p90_s"))
GROUPS: Final[tuple[Group, ...]] = ("homogeneous", "mixed")
REFERENCE: Final = "†"
CUT: Final = "*"

LEGEND: Final = f"""\
{REFERENCE} knows what no router can know (true output lengths, true state, true step times); the
oracles are greedy, so references and not bounds. `_speed` arms are told each endpoint's true speed
of prefill, which one could measure. {CUT} was cut while measured requests were under way:
overloaded, its latencies are lower bounds. ± is half of the range over the seeds; `cold` is
what arrived before the measured window, on empty caches. Goodput counts shed and failed requests
as missed; latencies are those of the requests that were served. A ratio compares the same seeds;
below 1 is better. "Best in hindsight" is, for each cell and metric, the heuristic that turned out
best there: no single policy attains it, and it is low by selection."""

_METRIC_TITLES: Final = {
    "e2e_mean_s": "e2e mean",
    "ttft_mean_s": "TTFT mean",
    "ttft_p90_s": "TTFT p90",
    "tpot_p90_s": "TPOT p90",
}


def page(results: Results, title: str, code: str) -> str:
    """Write the whole page.

    Args:
        results: At least one.
        title: Its heading.
        code: Version of the code that is running.
    """
    hindsight = {
        metric: {cell: results.best_heuristic(cell, metric) for cell in results.cells}
        for metric in METRICS
    }
    fixed: dict[Cell, str | None] = dict.fromkeys(results.cells, FIXED)
    parts = [
        f"# {title}\n",
        f"Seeds {', '.join(map(str, results.seeds))}; code {code}.\n",
        f"{LEGEND}\n",
        f"## Against {FIXED}\n",
        *_overall_tables(results, dict.fromkeys(METRICS, fixed)),
        "## Against the best heuristic in hindsight\n",
        *_overall_tables(results, hindsight),
        *(_hindsight_table(results, metric, hindsight[metric]) for metric in METRICS),
        "## Cells\n",
        *(_cell_table(results, cell) for cell in results.cells),
    ]
    return "\n".join(parts)


def _overall_tables(results: Results, against: dict[str, dict[Cell, str | None]]) -> list[str]:
    """Lay out geometric mean and worst cell of every policy: a table for each group."""
    return [
        f"### {group.capitalize()} fleets\n\n{_overall_table(results, against, cells)}"
        for group in GROUPS
        if (cells := [cell for cell in results.cells if cell.group == group])
    ]


def _overall_table(
    results: Results, against: dict[str, dict[Cell, str | None]], cells: Sequence[Cell]
) -> str:
    rows = [["policy", *(_METRIC_TITLES[metric] for metric in METRICS)]]
    for policy in _ordered(results):
        row = [_name(results, policy)]
        for metric in METRICS:
            compared = {cell: against[metric][cell] for cell in cells}
            found = overall(ratios(results, policy, metric, compared))
            row.append(_overall_cell(found, len(cells)))
        rows.append(row)
    return markdown_table(rows)


def _overall_cell(found: Overall | None, cells: int) -> str:
    if found is None:
        return "-"
    half = (found.geomean.high - found.geomean.low) / 2
    text = f"{found.geomean.mean:.3f} ±{half:.3f}, worst {found.worst:.2f}"
    return text if found.cells == cells else f"{text} ({found.cells} of {cells} cells)"


def _hindsight_table(results: Results, metric: str, best: dict[Cell, str | None]) -> str:
    """Lay one metric out: a row a cell, its best heuristic, and every policy's ratio to it."""
    policies = _ordered(results)
    rows = [["cell", "best", *(_name(results, policy) for policy in policies)]]
    found = {policy: ratios(results, policy, metric, best) for policy in policies}
    for cell in results.cells:
        row = [cell.name, best[cell] or "-"]
        for policy in policies:
            whole = overall({cell: found[policy][cell]}) if cell in found[policy] else None
            row.append("-" if whole is None else f"{whole.worst:.2f}")
        rows.append(row)
    return f"### {_METRIC_TITLES[metric]}, ratio to the best heuristic\n\n{markdown_table(rows)}"


def _cell_table(results: Results, cell: Cell) -> str:
    rows = [["policy", *(title for title, _ in (*COLUMNS, *TRANSIENT))]]
    record = None
    for policy in _ordered(results):
        found = results.of(cell, policy)
        if not found:
            continue
        record = found[0]
        steady = spread([each.steady for each in found])
        transient = spread([each.transient for each in found])
        cut = CUT if any(each.truncated for each in found) else ""
        rows.append(
            [
                _name(results, policy) + cut,
                *(with_spread(name, steady[name], len(found)) for _, name in COLUMNS),
                *(with_spread(name, transient[name], len(found)) for _, name in TRANSIENT),
            ]
        )
    if record is None:
        return ""
    warmup_s, measure_s = record.windows_s
    said = f"{record.rate:.4g} (requests/s, or users); {warmup_s:g} s warm-up, {measure_s:g} s"
    return f"### {cell.name}\n\n{said} measured\n\n{markdown_table(rows)}"


def _ordered(results: Results) -> Sequence[str]:
    """Give the policies with the references last."""
    return sorted(results.policies, key=lambda name: name in results.references)


def _name(results: Results, policy: str) -> str:
    return policy + REFERENCE if policy in results.references else policy
