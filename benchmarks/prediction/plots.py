"""Plots of what was played: accuracy, cold start, coverage, drift, importance, regimes.

Labels come as late as they do live, except around a change, which is drawn row by row as
it is judged. Everything stands on the plays of the other parts; nothing is played that
they have played already.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.prediction.musts import COVERAGE
from benchmarks.prediction.panels import (
    BAND,
    COLOURS,
    QUIET,
    block_means,
    grid,
    label,
    legend,
    percents,
    plain,
    save,
    trailing_mean,
)
from benchmarks.prediction.play import Played
from benchmarks.prediction.plays import DRIFT, OURS, REFERENCE, Kept, Orders, Plays, own_way
from benchmarks.prediction.plot_importance import draw_importance
from benchmarks.prediction.rowset import TARGETS, RowSet, Target
from benchmarks.prediction.scores import DRIFT_SPAN
from predictor.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COVERAGE_ROWS: Final = 200
"""Labels in a window of coverage."""
_COLD_ROWS: Final = 50
_DRIFT_ROWS: Final = 40
_AROUND: Final = (-200, 600)
_ERRORS: Final = (1, 3, 10, 30, 100, 300)
_REGIMES: Final = ("nothing", "some", "many")
_LEAST_LABELS: Final = 10  # of a regime, for its errors to say anything
_MOST_POINTS: Final = 3000


def draw(plays: Plays, folder: Path) -> list[Path]:
    """Draw all plots as PNG files into a folder; give those there were rows for."""
    found = []
    sets = plays.sets
    if sets:
        found += [
            _predicted(plays, sets[:1] if len(sets) == 1 else (sets[0], sets[-1]), folder),
            _from_cold(plays, folder),
            _coverage(plays, folder),
            _regimes(plays, folder),
            draw_importance(plays.of(own_way(sets[-1], OURS), OURS), folder / "importance.png"),
        ]
    if plays.changed:
        found.append(_drift(plays, folder))
    return found


def _live(plays: Plays, orders: Orders, who: str, target: Target) -> Played:
    return plays.of(own_way(orders, who), who).played[target]


def _predicted(plays: Plays, shown: Sequence[Orders], folder: Path) -> Path:
    figure, panels = grid("Predicted against actual, live label delay", 2 * len(shown))
    columns = iter(panels)
    for orders in shown:
        for who in COLOURS:
            for target, panel in zip(TARGETS, next(columns), strict=True):
                _points(panel, _live(plays, orders, who, target), COLOURS[who])
                first = who == OURS
                label(
                    panel,
                    title=f"{orders[0].name}: {who}" if target == TARGETS[0] else "",
                    x=f"actual {target.upper()} [s]",
                    y=f"predicted {target.upper()} [s]" if first else "",
                )
    return save(figure, folder / "predicted.png")


def _points(panel: "Axes", seen: Played, colour: str) -> None:
    """Mark predictions over labels; those far outside lie on the edge."""
    low, high = np.quantile(seen.actual_s, (0.001, 1.0)).tolist()
    lowest, highest = low / 3, high * 3
    some = slice(None, None, max(1, len(seen.actual_s) // _MOST_POINTS))
    panel.plot(
        seen.actual_s[some], np.clip(seen.mean_s[some], lowest, highest), ".",
        color=colour, markersize=2.4, alpha=0.4, markeredgewidth=0,
    )  # fmt: skip
    panel.plot((low, high), (low, high), color="black", linewidth=0.7)
    panel.set(xscale="log", yscale="log", xlim=(low, high), ylim=(lowest, highest))
    plain(panel.xaxis)
    plain(panel.yaxis)


def _from_cold(plays: Plays, folder: Path) -> Path:
    title = f"Error from cold, mean of the last {_COLD_ROWS} labels, live label delay"
    figure, panels = grid(title, len(plays.sets))
    for orders, target, panel in _each(plays.sets, panels):
        for who, colour in COLOURS.items():
            error = trailing_mean(_live(plays, orders, who, target).error, _COLD_ROWS)
            at = np.unique(np.geomspace(1, len(error), 400).astype(int))
            panel.plot(at, error[at - 1], color=colour, linewidth=1.1, label=who)
        panel.set(xscale="log", yscale="log", ylim=(0.008, 5.0))
        plain(panel.xaxis)
        percents(panel.yaxis, _ERRORS)
    _name(panels, [orders[0] for orders in plays.sets], x="label, in order of dispatch", y="error")
    legend(figure, panels[0][0])
    return save(figure, folder / "cold.png")


def _coverage(plays: Plays, folder: Path) -> Path:
    title = f"Share of labels at or below the stated p90, windows of {COVERAGE_ROWS}"
    figure, panels = grid(f"{title}; aim shaded", len(plays.sets))
    for orders, target, panel in _each(plays.sets, panels):
        panel.axhspan(*COVERAGE, color=BAND, zorder=0)
        for who, colour in COLOURS.items():
            seen = _live(plays, orders, who, target)
            covered = (seen.actual_s <= seen.p90_s).astype(np.float64)
            share = block_means(covered, COVERAGE_ROWS)
            at = (np.arange(len(share)) + 0.5) * COVERAGE_ROWS
            panel.plot(at, share, color=colour, linewidth=1.1, marker=".", ms=3, label=who)
        panel.set_ylim(0.0, 1.02)
        percents(panel.yaxis, (0, 25, 50, 75, 90, 100))
    _name(
        panels, [orders[0] for orders in plays.sets], x="label, in order of dispatch", y="covered"
    )
    legend(figure, panels[0][0])
    return save(figure, folder / "coverage.png")


def _drift(plays: Plays, folder: Path) -> Path:
    title = f"Labels x{DRIFT} at once, row by row: mean of the last {_DRIFT_ROWS}"
    figure, panels = grid(f"{title} (judged where shaded)", len(plays.changed))
    unchanged = {orders[0].name: orders[0] for orders in plays.sets}
    for column, rows in zip(panels, plays.changed, strict=True):
        lines = (
            ("ours, no change", QUIET, plays.of(unchanged[rows.name], OURS)),
            *((who, colour, plays.of(rows, who)) for who, colour in COLOURS.items()),
        )
        for target, panel in zip(TARGETS, column, strict=True):
            panel.axvspan(DRIFT_SPAN.start, DRIFT_SPAN.stop, color=BAND, zorder=0)
            for name, colour, kept in lines:
                at, error = _around_middle(kept, target)
                panel.plot(at, error, color=colour, linewidth=1.1, label=name)
            panel.set(yscale="log", xlim=_AROUND, ylim=(0.008, 3.0))
            percents(panel.yaxis, _ERRORS)
    _name(panels, plays.changed, x="labels since the change", y="error")
    legend(figure, panels[0][0])
    return save(figure, folder / "drift.png")


def _around_middle(kept: Kept, target: Target) -> tuple[NDArray[np.intp], FloatArray]:
    """Give labels counted from the middle of a set, and the error there."""
    seen = kept.played[target]
    first = int(np.searchsorted(seen.request, len(kept.rows.requests) // 2))
    at = np.arange(len(seen.error)) - first
    shown = (at >= _AROUND[0]) & (at <= _AROUND[1])
    return at[shown], trailing_mean(seen.error, _DRIFT_ROWS)[shown]


def _regimes(plays: Plays, folder: Path) -> Path:
    figure, panels = grid(
        "Error by what waits at dispatch: median (filled) to mean (hollow), live label delay",
        len(plays.sets),
    )
    for orders, target, panel in _each(plays.sets, panels):
        for offset, who in ((-0.12, OURS), (0.12, REFERENCE)):
            _regime_marks(panel, _live(plays, orders, who, target), offset, who)
        panel.set(yscale="log", ylim=(0.005, 5.0), xlim=(-0.5, len(_REGIMES) - 0.5))
        seen = _live(plays, orders, OURS, target)
        counts = np.bincount(seen.regime, minlength=len(_REGIMES))
        names = [f"{name}\n{count}" for name, count in zip(_REGIMES, counts, strict=True)]
        panel.set_xticks(range(len(_REGIMES)), names)
        percents(panel.yaxis, _ERRORS)
    _name(panels, [orders[0] for orders in plays.sets], x="waiting, and labels of it", y="error")
    legend(figure, panels[0][0])
    return save(figure, folder / "regimes.png")


def _regime_marks(panel: "Axes", seen: Played, offset: float, who: str) -> None:
    name: str | None = who
    for regime in range(len(_REGIMES)):
        error = seen.error[seen.regime == regime]
        if len(error) < _LEAST_LABELS:
            continue
        x, colour = regime + offset, COLOURS[who]
        median, mean = float(np.median(error)), float(error.mean())
        panel.plot((x, x), (median, mean), color=colour, linewidth=1.0)
        panel.plot(x, median, "o", color=colour, markersize=5, label=name)
        panel.plot(x, mean, "o", color=colour, markersize=5, markerfacecolor="white")
        name = None


def _each(
    sets: Sequence[Orders], panels: Sequence[Sequence["Axes"]]
) -> Iterator[tuple[Orders, Target, "Axes"]]:
    """Give every set's targets a panel."""
    for orders, column in zip(sets, panels, strict=True):
        for target, panel in zip(TARGETS, column, strict=True):
            yield orders, target, panel


def _name(panels: Sequence[Sequence["Axes"]], sets: Sequence[RowSet], *, x: str, y: str) -> None:
    """Title the top panels by their sets, and write the axes at the edges."""
    for rows, (top, bottom) in zip(sets, panels, strict=True):
        label(top, title=rows.name)
        label(bottom, x=x)
    for target, panel in zip(TARGETS, panels[0], strict=True):
        label(panel, y=f"{target.upper()}: {y}")
