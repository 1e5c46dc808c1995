"""The tables of the recorded rows: errors, quantiles, experts, musts."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from benchmarks.prediction.musts import Key, Verdict
from benchmarks.prediction.scores import REGIMES, Figures

Contenders = Mapping[str, Mapping[Key, Figures]]
"""Figures by contender."""


def error_table(contenders: Contenders) -> Table:
    """Lay errors over spans of rows out: mean and median of each."""
    table = Table(
        "set", "", "labels", "all", "first 100", "first 500", "after 500",
        title="Absolute percentage error, prequential: mean / median",
    )  # fmt: skip
    for key, who, found in _rows(contenders):
        spans = ("", "_first_100", "_first_500", "_after_500")
        cells = [_pair(found, span) for span in spans]
        table.add_row(_name(key), who, f"{found['labels']:.0f}", *cells)
    return table


def regime_table(contenders: Contenders) -> Table:
    """Lay errors by what waits at dispatch and the stated p90 out."""
    table = Table(
        "set", "", "none waits", "some wait", "many wait", "p90 covers", "pinball", "p90 above p50",
        title="Error by regime (mean / median), and the stated p90 after 500 labels",
    )  # fmt: skip
    for key, who, found in _rows(contenders):
        cells = [_pair(found, f"_{regime}") for regime in REGIMES]
        cells += [percent(found["p90_coverage"]), percent(found["p90_pinball"], 2)]
        table.add_row(_name(key), who, *cells, percent(found["p90_width"], 0))
    return table


def expert_table(experts: Mapping[Key, Figures]) -> Table:
    """Lay every expert's median error out."""
    names = list(next(iter(experts.values()), {}))
    table = Table("set", *names, title="Median error of each expert after 500 labels")
    for key, found in experts.items():
        table.add_row(_name(key), *(percent(error) for error in found.values()))
    return table


def must_table(verdicts: Sequence[Verdict]) -> Table:
    """Lay the musts out."""
    table = Table(
        "what", "ours", "must", "", "reference", "published", "noise floor",
        title="Musts, beside the reference in this run and as the study had it",
    )  # fmt: skip
    for verdict in verdicts:
        table.add_row(
            verdict.what,
            percent(verdict.ours),
            verdict.must,
            "[green]pass[/green]" if verdict.passes else "[red]FAIL[/red]",
            *(percent(value) for value in (verdict.reference, verdict.published, verdict.floor)),
        )
    return table


def percent(value: float | None, digits: int = 1) -> str:
    """Write a fraction in percent.

    >>> percent(0.1234), percent(None)
    ('12.3%', '-')
    """
    return "-" if value is None else f"{value:.{digits}%}"


def _rows(contenders: Contenders) -> list[tuple[Key, str, Figures]]:
    """Put the contenders of each set below each other."""
    keys = dict.fromkeys(key for found in contenders.values() for key in found)
    return [
        (key, who, found[key]) for key in keys for who, found in contenders.items() if key in found
    ]


def _pair(found: Figures, span: str) -> str:
    mean, median = found[f"mape{span}"], found[f"mdape{span}"]
    return "-" if mean is None else f"{percent(mean)} / {percent(median)}"


def _name(key: Key) -> str:
    name, order, target = key
    return f"{name}, {order}, {target.upper()}"
