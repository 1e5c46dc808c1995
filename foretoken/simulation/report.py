"""Lay runs out for people and for programs: tables, Markdown and one JSON document.

A report holds the runs of several policies over one workload, fleet and rate, each over
several seeds. The document of ``as_json`` (``format`` and ``version`` name it):

- ``workload``, ``fleet``, ``rate`` (requests/s, or users of a closed loop), ``warmup_s``,
  ``measure_s``, ``objective`` (``ttft_s``, ``tpot_s``; ``null`` for none);
- ``policies``, in the order they were asked for: ``policy``, ``steady`` and ``transient``
  (every figure of ``figures.FIGURES`` as ``{mean, low, high}`` over the seeds, or ``null``)
  and ``runs``, by seed: ``seed``, ``steady`` and ``transient`` (one number a figure),
  ``requests_by_endpoint`` (of the steady state), ``engine_steps``, ``ended_s``, ``truncated``.

Keys are sorted and floats have six significant digits: the same runs, the same bytes.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from rich.table import Table

from foretoken.simulation.figures import (
    FIGURES,
    Spread,
    rounded,
    spread,
    steady_figures,
    transient_figures,
)
from foretoken.simulation.outcome import Run

FORMAT: Final = "foretoken-simulation"
VERSION: Final = 1

# What a terminal of 120 columns has room for; the rest is in the wide table and in JSON.
COLUMNS: Final = (
    ("TTFT\nmean s", "ttft_mean_s"),
    ("TTFT\np50 s", "ttft_p50_s"),
    ("TTFT\np90 s", "ttft_p90_s"),
    ("TPOT\np90 ms", "tpot_p90_s"),
    ("e2e\nmean s", "e2e_mean_s"),
    ("e2e\np90 s", "e2e_p90_s"),
    ("good\n%", "goodput_ratio"),
    ("hits\n%", "hit_ratio"),
    ("shed\n%", "shed_ratio"),
    ("busiest\n/ mean", "imbalance_requests"),
    ("TTFT\nerr %", "ttft_error_mdape"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyReport:
    """Hold one policy's runs and their figures over the seeds.

    Attributes:
        policy: Its name.
        runs: By seed.
        steady: Spread of the steady-state figures.
        transient: Spread of those before.
    """

    policy: str
    runs: tuple[Run, ...]
    steady: Mapping[str, Spread | None]
    transient: Mapping[str, Spread | None]


def by_policy(runs: Sequence[Run]) -> tuple[PolicyReport, ...]:
    """Group runs of one workload, fleet and rate by policy, in order of first appearance."""
    names = dict.fromkeys(run.policy for run in runs)
    return tuple(_policy_report([run for run in runs if run.policy == name]) for name in names)


def _policy_report(runs: list[Run]) -> PolicyReport:
    ordered = sorted(runs, key=lambda run: run.seed)
    return PolicyReport(
        policy=runs[0].policy,
        runs=tuple(ordered),
        steady=spread([steady_figures(run) for run in ordered]),
        transient=spread([transient_figures(run) for run in ordered]),
    )


def as_json(policies: Sequence[PolicyReport]) -> dict[str, object]:
    """Give the document the module describes.

    Args:
        policies: At least one, all over the same workload, fleet and rate.
    """
    run = policies[0].runs[0]
    return {
        "format": FORMAT,
        "version": VERSION,
        "workload": run.workload,
        "fleet": run.fleet,
        "rate": rounded(run.rate),
        "warmup_s": run.warmup_s,
        "measure_s": run.measure_s,
        "objective": {"ttft_s": run.objective_ttft_s, "tpot_s": run.objective_tpot_s},
        "policies": [
            {
                "policy": each.policy,
                "steady": _spreads_json(each.steady),
                "transient": _spreads_json(each.transient),
                "runs": [run_json(run) for run in each.runs],
            }
            for each in policies
        ],
    }


def run_json(run: Run) -> dict[str, object]:
    """Give one run's figures as the document holds them."""
    steady = (o for o in run.outcomes if 0 <= o.arrived_s - run.warmup_s < run.measure_s)
    count = Counter(outcome.endpoint for outcome in steady if outcome.endpoint is not None)
    return {
        "seed": run.seed,
        "steady": steady_figures(run),
        "transient": transient_figures(run),
        "requests_by_endpoint": {name: count[name] for name in run.endpoints},
        "engine_steps": run.engine_steps,
        "ended_s": rounded(run.ended_s),
        "truncated": run.truncated,
    }


def json_text(document: object) -> str:
    """Write a document as text: sorted, indented, without NaN, newline at the end."""
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n"


def as_table(policies: Sequence[PolicyReport]) -> Table:
    """Give the table people read: one row a policy, mean over the seeds, its spread below."""
    table = Table(
        title=_title(policies), caption=_caption(policies), box=None, padding=(0, 1, 0, 0)
    )
    table.add_column("policy", no_wrap=True)
    for title, _ in COLUMNS:
        table.add_column(title, justify="right", no_wrap=True)
    for each in policies:
        table.add_row(each.policy, *(number(name, each.steady[name]) for _, name in COLUMNS))
        if len(each.runs) > 1:
            halves = (half_range(name, each.steady[name]) for _, name in COLUMNS)
            table.add_row("", *halves, style="dim")
    return table


def as_wide_tables(policies: Sequence[PolicyReport]) -> tuple[Table, Table]:
    """Give every figure that was measured, one row each: steady state, then transient."""
    return (
        _every_figure("Steady state", {each.policy: each.steady for each in policies}),
        _every_figure("Before it", {each.policy: each.transient for each in policies}),
    )


def as_markdown(policies: Sequence[PolicyReport]) -> str:
    """Give the same table as Markdown, the spread beside the mean."""
    rows = [["policy", *(title.replace("\n", " ") for title, _ in COLUMNS)]]
    for each in policies:
        cells = [with_spread(name, each.steady[name], len(each.runs)) for _, name in COLUMNS]
        rows.append([each.policy, *cells])
    return f"{_title(policies)}\n\n{markdown_table(rows)}\n{_caption(policies)}\n"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Write rows, the first of them the heading, as a Markdown table.

    >>> print(markdown_table([["a", "b"], ["x", "1"]]), end="")
    | a | b |
    |---|--:|
    | x | 1 |
    """
    heading, *body = rows
    marks = ["---", *["--:"] * (len(heading) - 1)]
    lines = [f"| {' | '.join(heading)} |", f"|{'|'.join(marks)}|"]
    lines += [f"| {' | '.join(row)} |" for row in body]
    return "\n".join(lines) + "\n"


def number(name: str, value: Spread | None) -> str:
    """Write a figure's mean, without its unit: TPOT in milliseconds, shares in percent.

    >>> number("tpot_p90_s", Spread(mean=0.025, low=0.02, high=0.03))
    '25'
    """
    return "-" if value is None else _digits(_scaled(name, value.mean), 3)


def half_range(name: str, value: Spread | None) -> str:
    """Write half of a figure's range over the seeds, in the unit of its mean.

    >>> half_range("tpot_p90_s", Spread(mean=0.025, low=0.02, high=0.03))
    '±5'
    """
    return "" if value is None else f"±{_digits(_scaled(name, (value.high - value.low) / 2), 2)}"


def with_spread(name: str, value: Spread | None, seeds: int) -> str:
    """Write mean and spread in one cell; one seed has no spread."""
    mean = number(name, value)
    return mean if value is None or seeds == 1 else f"{mean} {half_range(name, value)}"


def shown(name: str, value: Spread | None) -> str:
    """Write a figure's mean with its unit: ``-`` where nothing was measured.

    >>> shown("ttft_p90_s", Spread(mean=0.25, low=0.25, high=0.25))
    '0.25 s'
    """
    return "-" if value is None else number(name, value) + _unit(name)


def _unit(name: str) -> str:
    if _is_tpot(name):
        return " ms"
    if name.endswith("_per_s"):
        return "/s"
    if _is_share(name):
        return "%"
    return " s" if name.endswith("_s") else ""


def _scaled(name: str, value: float) -> float:
    if _is_tpot(name):
        return value * 1e3
    return value * 100 if _is_share(name) else value


def _is_tpot(name: str) -> bool:
    return name.startswith(("tpot_", "ntpot_")) and name.endswith("_s")


def _is_share(name: str) -> bool:
    return name.endswith("_ratio") or "_error_" in name


def _digits(value: float, digits: int) -> str:
    """Write significant digits without an exponent; below a thousandth it is 0."""
    if abs(value) < 0.001:
        return "0"
    return f"{value:.0f}" if abs(value) >= 10**digits / 10 else f"{value:.{digits}g}"


def _title(policies: Sequence[PolicyReport]) -> str:
    run = policies[0].runs[0]
    return f"{run.workload} on {run.fleet} at {rounded(run.rate):g}, steady state"


def _caption(policies: Sequence[PolicyReport]) -> str:
    run = policies[0].runs[0]
    seeds = len(policies[0].runs)
    targets = [
        f"{stem} {seconds:g} s"
        for stem, seconds in (("TTFT", run.objective_ttft_s), ("TPOT", run.objective_tpot_s))
        if seconds is not None
    ]
    failed = sorted(each.policy for each in policies if _mean(each, "error_ratio") > 0)
    cut = sorted({each.policy for each in policies if any(run.truncated for run in each.runs)})
    parts = [
        f"{seeds} seeds, ± half of their range" if seeds > 1 else "1 seed",
        f"{run.warmup_s:g} s warm-up, {run.measure_s:g} s measured",
        *([f"good: {' and '.join(targets)}"] if targets else []),
        *([f"some requests failed: {', '.join(failed)}"] if failed else []),
        *([f"cut while requests were under way, so lower bounds: {', '.join(cut)}"] if cut else []),
    ]
    return "; ".join(parts)


def _mean(each: PolicyReport, name: str) -> float:
    value = each.steady[name]
    return 0.0 if value is None else value.mean


def _every_figure(title: str, columns: Mapping[str, Mapping[str, Spread | None]]) -> Table:
    table = Table(title=title, box=None, padding=(0, 1))
    table.add_column("")
    for policy in columns:
        table.add_column(policy, justify="right", no_wrap=True)
    for name in FIGURES:
        cells = [shown(name, figures.get(name)) for figures in columns.values()]
        if set(cells) != {"-"}:
            table.add_row(name, *cells)
    return table


def _spreads_json(figures: Mapping[str, Spread | None]) -> dict[str, object]:
    return {name: None if value is None else asdict(value) for name, value in figures.items()}
