"""The tables of what each layer and expert is worth."""

from typing import Final

import numpy as np
from rich.table import Table

from benchmarks.prediction.musts import Key
from benchmarks.prediction.rowset import ROW_BY_ROW
from benchmarks.prediction.scores import Figures
from benchmarks.prediction.tables import percent

Found = dict[str, dict[Key, Figures]]
"""Figures by variant and key."""
SPANS: Final = {"": "all labels", "_first_500": "first 500 labels", "_after_500": "after 500"}


def point_tables(cumulative: Found, left_out: Found, *, served: str) -> dict[str, Table]:
    """Lay errors out by span of labels, row by row, and where they are late."""
    keys = list(cumulative[served])
    at_once = [key for key in keys if key[1] == ROW_BY_ROW]
    late = [key for key in keys if key[1] != ROW_BY_ROW]
    tables = {
        f"ablation{span.replace('_', '-')}": _table(cumulative, left_out, at_once, span, served)
        for span in SPANS
    }
    tables["ablation-delayed"] = _table(cumulative, left_out, late, "", served)
    return tables


def quantile_table(found: Found) -> Table:
    """Lay out how often each calibration's p90 holds, what it loses and how wide it is."""
    keys = list(next(iter(found.values())))
    table = Table(
        "set", *found,
        title="p90 after 500 labels: covers / pinball loss of the label / above p50",
    )  # fmt: skip
    for key in keys:
        cells = [
            " / ".join(
                percent(by_key[key][figure], digits)
                for figure, digits in (("p90_coverage", 1), ("p90_pinball", 2), ("p90_width", 0))
            )
            for by_key in found.values()
        ]
        table.add_row(_name(key, order=True), *cells)
    return table


def forgetting_table(found: Found) -> Table:
    """Lay out what the physics alone does with and without forgetting."""
    table = Table(
        "set", *(f"{name}, {span}" for name in found for span in ("all", "100 to 300 past middle")),
        title="Physics alone, row by row: MAPE",
    )  # fmt: skip
    for key in next(iter(found.values())):
        cells = [
            percent(by_key[key][figure])
            for by_key in found.values()
            for figure in ("mape", "mape_after_middle")
        ]
        table.add_row(_name(key), *cells)
    return table


def _table(cumulative: Found, left_out: Found, keys: list[Key], span: str, served: str) -> Table:
    order = "row by row" if keys and keys[0][1] == ROW_BY_ROW else "labels as late as live"
    table = Table(
        "", *(_name(key) for key in keys), "mean",
        title=f"Ablation, {SPANS[span]}, {order}: error, mean / median;"
        " below, points more than as served",
    )  # fmt: skip
    for name, by_key in cumulative.items():
        pairs = [_pair(by_key[key], span) for key in keys]
        table.add_row(name, *(_cell(*pair) for pair in (*pairs, _mean(pairs))))
    base = [_pair(cumulative[served][key], span) for key in keys]
    for name, by_key in left_out.items():
        pairs = [
            (mean - served_mean, median - served_median)
            for (mean, median), (served_mean, served_median) in zip(
                (_pair(by_key[key], span) for key in keys), base, strict=True
            )
        ]
        table.add_row(name, *(_points(*pair) for pair in (*pairs, _mean(pairs))))
    return table


def _pair(found: Figures, span: str) -> tuple[float, float]:
    """Give mean and median, NaN where there are too few labels."""
    mean, median = found[f"mape{span}"], found[f"mdape{span}"]
    return (np.nan, np.nan) if mean is None or median is None else (mean, median)


def _mean(pairs: list[tuple[float, float]]) -> tuple[float, float]:
    """Average over sets, each counting the same."""
    if not pairs:
        return np.nan, np.nan
    mean, median = np.mean(pairs, axis=0).tolist()
    return mean, median


def _cell(mean: float, median: float) -> str:
    return "-" if np.isnan(mean) else f"{mean * 100:.1f} / {median * 100:.1f}"


def _points(mean: float, median: float) -> str:
    """Write differences in percentage points.

    >>> _points(0.0012, -0.0052), _points(-1e-9, 0.0), _points(float("nan"), 0.1)
    ('+0.1 / -0.5', '+0.0 / +0.0', '-')
    """
    rounded = (round(value * 100, 1) + 0.0 for value in (mean, median))  # no -0.0
    return "-" if np.isnan(mean) else " / ".join(f"{value:+.1f}" for value in rounded)


def _name(key: Key, *, order: bool = False) -> str:
    name, how, target = key
    return f"{name}, {how}, {target.upper()}" if order else f"{name} {target.upper()}"
