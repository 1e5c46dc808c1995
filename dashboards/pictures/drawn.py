"""Draw one panel, by its kind, from its JSON and what Prometheus answered.

Close to Grafana's look, not the same: legends are cut where they do not fit, tables show
what fits, and nothing can be pointed at. Called by :mod:`dashboards.pictures.__main__`.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from numpy.typing import NDArray

from dashboards.pictures.asked import Curve, Panel, Span
from dashboards.pictures.palette import FAINT, GRID, NAMED, PANEL, TEXT, Look, of_series, of_value
from dashboards.pictures.sheet import Box, Sheet, text_width
from dashboards.pictures.units import written

_LEGEND_LINES: Final = 2
_LINE: Final = 15.0  # height of a legend's line, pixels
_AXIS: Final = 52.0  # width of the values beside a plot
Floats = NDArray[np.float64]


def draw(sheet: Sheet, box: Box, panel: Panel, answers: Sequence[list[Curve]], span: Span) -> None:
    """Draw a panel.

    Args:
        sheet: What is drawn on.
        box: Where.
        panel: Its JSON.
        answers: What each of its targets gave.
        span: The time shown.
    """
    room = sheet.frame(box, panel["title"])
    curves = [curve for answer in answers for curve in answer]
    if not curves:
        sheet.text(
            room.x + room.w / 2, room.y + room.h / 2, "No data", colour=FAINT, align="center"
        )
        return
    kinds: dict[str, Callable[[], None]] = {
        "timeseries": lambda: _lines(sheet, room, panel, curves, span),
        "stat": lambda: _number(sheet, room, panel, curves[0]),
        "bargauge": lambda: _bars(sheet, room, panel, curves),
        "state-timeline": lambda: _levels(sheet, room, panel, curves, span),
        "heatmap": lambda: _heat(sheet, room, panel, curves, span),
        "table": lambda: _table(sheet, room, panel, answers),
    }
    kinds[panel["type"]]()


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = panel["fieldConfig"]["defaults"]
    return found


def _lines(sheet: Sheet, room: Box, panel: Panel, curves: list[Curve], span: Span) -> None:
    overrides = panel["fieldConfig"]["overrides"]
    looks = [of_series(curve.legend, n, overrides) for n, curve in enumerate(curves)]
    names = [curve.legend for curve in curves]
    below = _legend(sheet, room, list(zip(names, looks, strict=True)))
    inner = room.inside(_AXIS, 4, 4, below + 16)
    axes = sheet.axes(inner)
    custom = _defaults(panel)["custom"]
    grid = np.arange(span.start_s, span.end_s + span.step_s / 2, span.step_s)
    values = [_on(grid, curve, span.step_s) for curve in curves]
    if custom.get("stacking", {}).get("mode") == "normal":
        base = np.zeros_like(grid)
        for look, each in zip(looks, values, strict=True):
            top = base + np.nan_to_num(each)
            axes.fill_between(grid, base, top, color=look.colour, alpha=0.7, linewidth=0)
            base = top
        values = [base]
    else:
        for look, each in zip(looks, values, strict=True):
            style = (0, (4, 3)) if look.dashed else "-"
            width = 0.8 if look.thin else 1.5
            axes.plot(grid, each, color=look.colour, linewidth=width, linestyle=style)
    _scale(axes, panel, values)
    _limits(axes, panel)
    _times(axes, span, inner.w)


def _on(grid: Floats, curve: Curve, step_s: float) -> Floats:
    """Put a series on the common times; NaN where it has nothing."""
    found = np.full(len(grid), np.nan)
    places = np.rint((np.array(curve.times_s) - grid[0]) / step_s).astype(int)
    inside = (places >= 0) & (places < len(grid))
    found[places[inside]] = np.array(curve.values)[inside]
    found[~np.isfinite(found)] = np.nan
    return found


def _scale(axes: Axes, panel: Panel, values: Sequence[Floats]) -> None:
    defaults = _defaults(panel)
    custom = defaults["custom"]
    known = np.concatenate([each[np.isfinite(each)] for each in values] or [np.zeros(0)])
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    if custom.get("scaleDistribution", {}).get("type") == "log":
        above = known[known > 0]
        axes.set_yscale("log")
        axes.set_ylim(0.8 * min(above, default=0.1), 1.2 * max(above, default=1.0))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        low = min(low, custom.get("axisSoftMin", low))
        high = max(high, custom.get("axisSoftMax", high))
        high = high if high > low else low + 1.0
        axes.set_ylim(low - (0.04 * (high - low) if low < 0 else 0), high + 0.04 * (high - low))
        axes.yaxis.set_major_locator(MaxNLocator(4))
    unit = defaults.get("unit", "none")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: written(round(value, 12), unit)))
    axes.grid(visible=True, axis="both", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)


def _limits(axes: Axes, panel: Panel) -> None:
    """Draw thresholds as dashed lines where the panel says so."""
    defaults = _defaults(panel)
    if "thresholdsStyle" not in defaults["custom"]:
        return
    low, high = axes.get_ylim()
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is not None and low <= step["value"] <= high:
            style = (0, (6, 4))
            axes.axhline(step["value"], color=NAMED[step["color"]], linestyle=style, linewidth=0.9)


def _times(axes: Axes, span: Span, width: float) -> None:
    axes.set_xlim(span.start_s, span.end_s)
    axes.xaxis.set_major_locator(MaxNLocator(max(int(width / 75), 1)))
    shape = "%H:%M:%S" if span.end_s - span.start_s < 600 else "%H:%M"
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda at, _: datetime.fromtimestamp(at, UTC).strftime(shape))
    )


def _legend(sheet: Sheet, room: Box, entries: Sequence[tuple[str, Look]]) -> float:
    """Write names below a plot, as many as fit on two lines; give the height they take."""
    widths = [text_width(name) + 30 for name, _ in entries]
    lines: list[list[int]] = [[]]
    used = 0.0
    for number, width in enumerate(widths):
        if used + width > room.w - 40 and lines[-1]:
            lines.append([])
            used = 0.0
        lines[-1].append(number)
        used += width
    hidden = sum(len(line) for line in lines[_LEGEND_LINES:])
    lines = lines[:_LEGEND_LINES]
    for row, line in enumerate(lines):
        x, y = room.x, room.y + room.h - _LINE * (len(lines) - row) + 7
        for number in line:
            name, look = entries[number]
            for part in (0.0, 8.0) if look.dashed else (0.0, 5.0):
                mark = Box(x + part, y - 1.5, 5 if look.dashed else 8, 1 if look.thin else 3)
                sheet.rectangle(mark, look.colour)
            sheet.text(x + 18, y, name, colour=FAINT)
            x += widths[number]
        if hidden and row == len(lines) - 1:
            sheet.text(x, y, f"+{hidden}", colour=FAINT)
    return _LINE * len(lines) + 4


def _number(sheet: Sheet, room: Box, panel: Panel, curve: Curve) -> None:
    defaults = _defaults(panel)
    known = [value for value in curve.values if np.isfinite(value)]
    value = known[-1] if known else float("nan")
    colour = FAINT if not known else of_value(value, defaults["thresholds"]["steps"])
    if len(known) > 1:
        axes = sheet.axes(Box(room.x - 9, room.y + room.h * 0.55, room.w + 18, room.h * 0.45 + 7))
        axes.fill_between(range(len(known)), known, min(*known, 0), color=colour, alpha=0.18)
        axes.plot(known, color=colour, linewidth=1, alpha=0.7)
        axes.set_axis_off()
        axes.set_xlim(0, len(known) - 1)
    text = written(value, defaults.get("unit", "none"), defaults.get("decimals"))
    size = min(21.0, 21.0 * room.w / max(text_width(text, 21.0), 1.0))
    middle = room.x + room.w / 2
    sheet.text(middle, room.y + room.h * 0.36, text, colour=colour, size=size, align="center")


def _bars(sheet: Sheet, room: Box, panel: Panel, curves: list[Curve]) -> None:
    defaults = _defaults(panel)
    values = [curve.values[-1] for curve in curves]
    top = defaults.get("max") or max([value for value in values if np.isfinite(value)] or [1.0])
    names = max(text_width(curve.legend) for curve in curves) + 14
    height = min(34.0, room.h / len(curves))
    for number, (curve, value) in enumerate(zip(curves, values, strict=True)):
        y = room.y + height * number
        full = Box(room.x + names, y + 5, room.w - names - 70, height - 10)
        sheet.text(room.x, y + height / 2, curve.legend)
        sheet.rectangle(full, GRID)
        colour = FAINT
        if np.isfinite(value):
            colour = of_value(value, defaults["thresholds"]["steps"])
            sheet.rectangle(full._replace(w=full.w * min(max(value / top, 0), 1)), colour)
        text = written(value, defaults.get("unit", "none"))
        sheet.text(room.x + room.w, y + height / 2, text, colour=colour, align="right", size=10)


def _levels(sheet: Sheet, room: Box, panel: Panel, curves: list[Curve], span: Span) -> None:
    (mapping,) = _defaults(panel)["mappings"]
    states = mapping["options"]
    names = min(max(text_width(curve.legend) for curve in curves) + 10, room.w * 0.62)
    inner = room.inside(names, 2, 4, 18)
    axes = sheet.axes(inner)
    for number, curve in enumerate(curves):
        y = len(curves) - 1 - number
        for begin_s, end_s, value in _runs(curve, span.step_s):
            state = states.get(f"{value:.0f}")
            if state is None:
                continue
            colour = NAMED[state["color"]]
            axes.barh(y, end_s - begin_s, left=begin_s, height=0.72, color=colour, alpha=0.85)
            wide = (end_s - begin_s) / (span.end_s - span.start_s) * (room.w - names)
            if wide > text_width(state["text"]) + 6:
                middle = (begin_s + end_s) / 2
                size = 7.5
                axes.text(
                    middle, y, state["text"], ha="center", va="center", size=size, color=PANEL
                )
    axes.set_ylim(-0.5, len(curves) - 0.5)
    axes.set_yticks(range(len(curves)))
    axes.set_yticklabels([curve.legend for curve in reversed(curves)], color=TEXT)
    _times(axes, span, inner.w)


def _runs(curve: Curve, step_s: float) -> list[tuple[float, float, float]]:
    """Join neighbouring points of one value: (begin, end, value)."""
    runs: list[tuple[float, float, float]] = []
    for at_s, value in zip(curve.times_s, curve.values, strict=True):
        if runs and runs[-1][2] == value and at_s - runs[-1][1] < 1.5 * step_s:
            runs[-1] = (runs[-1][0], at_s + step_s, value)
        else:
            runs.append((at_s, at_s + step_s, value))
    return runs


def _heat(sheet: Sheet, room: Box, panel: Panel, curves: list[Curve], span: Span) -> None:
    bounds = sorted((float(curve.labels["le"]), curve) for curve in curves)
    grid = np.arange(span.start_s, span.end_s + span.step_s / 2, span.step_s)
    cumulated = np.array([np.nan_to_num(_on(grid, curve, span.step_s)) for _, curve in bounds])
    counts = np.diff(cumulated, axis=0, prepend=0.0).clip(min=0.0)
    inner = room.inside(_AXIS, 2, 4, 18)
    axes = sheet.axes(inner)
    colours = LinearSegmentedColormap.from_list("heat", [PANEL, "#7f2704", "#fd8d3c", "#fff5eb"])
    edges = np.append(grid, grid[-1] + span.step_s) - span.step_s / 2
    rows = np.arange(len(bounds) + 1)
    axes.pcolormesh(edges, rows, counts, cmap=colours, norm=PowerNorm(0.5, vmin=0))
    unit = panel["options"]["yAxis"].get("unit", "none")
    every = max(len(bounds) // 8, 1)
    axes.set_yticks(rows[1::every])
    axes.set_yticklabels([written(bound, unit) for bound, _ in bounds][::every])
    _times(axes, span, inner.w)


def _table(sheet: Sheet, room: Box, panel: Panel, answers: Sequence[list[Curve]]) -> None:
    *_, organize = panel["transformations"]
    columns: dict[str, str] = organize["options"]["renameByName"]
    units = {
        each["matcher"]["options"]: each["properties"][0]["value"]
        for each in panel["fieldConfig"]["overrides"]
    }
    cells = _joined(columns, answers)
    header = list(columns.values())
    shares = [
        max(len(name), *(len(_cell(row.get(key), units.get(name))) for row in cells)) + 2
        for key, name in columns.items()
    ]
    starts = np.cumsum([0, *shares]) / sum(shares) * room.w
    for start, name in zip(starts, header, strict=False):
        sheet.text(room.x + start, room.y + 8, name, colour="#6e9fff", weight="bold")
    for number, row in enumerate(cells):
        y = room.y + 32 + number * 22
        if y > room.y + room.h:
            break
        sheet.rectangle(Box(room.x, y - 12, room.w, 1), GRID)
        for start, (key, name) in zip(starts, columns.items(), strict=False):
            sheet.text(room.x + start, y, _cell(row.get(key), units.get(name)))


def _joined(
    columns: dict[str, str], answers: Sequence[list[Curve]]
) -> list[dict[str, str | float]]:
    """Merge the targets' results by the labels they share, as Grafana's "merge" does."""
    rows: dict[tuple[tuple[str, str], ...], dict[str, str | float]] = {}
    for number, answer in enumerate(answers):
        name = "Value" if len(answers) == 1 else f"Value #{chr(ord('A') + number)}"
        for curve in answer:
            shown = {key: value for key, value in curve.labels.items() if key in columns}
            row = rows.setdefault(tuple(sorted(shown.items())), dict(shown))
            row[name] = curve.values[-1]
    return [rows[key] for key in sorted(rows)]


def _cell(value: str | float | None, unit: str | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else written(value, unit or "none")
