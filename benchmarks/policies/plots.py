"""Plots of what the parts found: per workload, beside the oracle, against load, over time.

Drawn from the parts' JSON alone, so that a document that was kept can be drawn again.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.policies.changing import CHANGED_S
from benchmarks.policies.quality import JUDGED, LLMD_DEFAULT, LLMD_PREDICTOR, OURS
from benchmarks.policies.windows import WINDOW_S
from benchmarks.prediction.panels import QUIET, grid, label, legend, plain, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS: Final = {
    OURS: "#d1495b",
    "lmetric": "#30638e",
    LLMD_DEFAULT: "#edae49",
    "weighted_blend": "#66a182",
    "queued_tokens_speed": "#8d6a9f",
    LLMD_PREDICTOR: "#00798c",
}
REFERENCES: Final = {"oracle_total": "#222222", "oracle_ttft": "#777777", "ideal_score": "#b0b0b0"}
_WIDEST: Final = 4.0
"""Ratios beyond lie on the edge."""

# Any: parts' documents, as written to JSON.
Found = Mapping[str, Any]


def draw(document: Found, folder: Path) -> list[Path]:
    """Draw what there is as PNG files into a folder."""
    found = []
    cells = document.get("quality", {}).get("cells", [])
    if cells:
        found.append(_workloads(cells, folder / "workloads.png"))
    known = [cell for cell in cells if set(REFERENCES) & _measured(cell)]
    if known:
        found.append(_oracles(known, folder / "oracle.png"))
    if document.get("loads"):
        found.append(_loads(document["loads"], folder / "load.png"))
    cases = document.get("changing", {}).get("cases", {})
    if cases:
        found.append(_changes(cases, folder / "changing.png"))
    return found


def _measured(cell: Found) -> set[str]:
    return {name for name, each in cell["figures"].items() if each["e2e_mean_s"] is not None}


def _workloads(cells: Sequence[Found], path: Path) -> Path:
    """Mark every policy's ratio to the best baseline, a line for each cell."""
    figure, panels = grid("Ratio to the best baseline in hindsight", 3, rows=1)
    figure.set_size_inches(10.5, 1.4 + 0.24 * len(cells))
    for (metric, title), (panel,) in zip(JUDGED.items(), panels, strict=True):
        best = [_best(cell, metric) for cell in cells]
        for policy, colour in COLOURS.items():
            values = [cell["figures"].get(policy, {}).get(metric) for cell in cells]
            _dots(panel, values, best, colour, policy)
        _ratio_axis(panel, [cell["cell"] for cell in cells], title, named=panel is panels[0][0])
    legend(figure, panels[0][0])
    return save(figure, path)


def _oracles(cells: Sequence[Found], path: Path) -> Path:
    """Mark ours against what knows the truth, a line for each cell."""
    figure, panels = grid("References that know the truth, ratio to ours", 3, rows=1)
    figure.set_size_inches(10.5, 1.4 + 0.24 * len(cells))
    for (metric, title), (panel,) in zip(JUDGED.items(), panels, strict=True):
        ours = [cell["figures"][OURS][metric] for cell in cells]
        for policy, colour in REFERENCES.items():
            values = [cell["figures"].get(policy, {}).get(metric) for cell in cells]
            _dots(panel, values, ours, colour, policy)
        _ratio_axis(panel, [cell["cell"] for cell in cells], title, named=panel is panels[0][0])
    legend(figure, panels[0][0])
    return save(figure, path)


def _best(cell: Found, metric: str) -> float | None:
    best = cell["against_best"][metric]["best"]
    value: float | None = None if best is None else cell["figures"][best][metric]
    return value


def _dots(
    panel: "Axes",
    values: Sequence[float | None],
    base: Sequence[float | None],
    colour: str,
    name: str,
) -> None:
    known = [
        (min(max(value / other, 1 / _WIDEST), _WIDEST), row)
        for row, (value, other) in enumerate(zip(values, base, strict=True))
        if value and other
    ]
    x, y = [each for each, _ in known], [row for _, row in known]
    panel.plot(x, y, "o", color=colour, markersize=5 if name == OURS else 3.6, label=name)


def _ratio_axis(panel: "Axes", names: Sequence[str], title: str, *, named: bool) -> None:
    panel.axvline(1.0, color="black", linewidth=0.7)
    panel.set(
        xscale="log", xlim=(1 / _WIDEST / 1.05, _WIDEST * 1.05), ylim=(len(names) - 0.5, -0.5)
    )
    panel.set_yticks(range(len(names)), names if named else [""] * len(names))
    plain(panel.xaxis)
    label(panel, title=title)


def _loads(document: Found, path: Path) -> Path:
    """Draw every figure against the share of the capacity."""
    cells = {name: name.rsplit("@", 1) for name in document}
    pairs = list(dict.fromkeys(pair for pair, _ in cells.values()))
    figure, panels = grid("Against load, share of the fleet's capacity", len(pairs), rows=3)
    for pair, column in zip(pairs, panels, strict=False):
        names = [name for name in cells if cells[name][0] == pair]
        for (metric, title), panel in zip(JUDGED.items(), column, strict=True):
            for policy, colour in COLOURS.items():
                points = [
                    (cells[name][1], document[name].get(policy, {}).get(metric)) for name in names
                ]
                known = [(float(load), value) for load, value in points if value is not None]
                if known:
                    x, y = zip(*known, strict=True)
                    panel.plot(x, y, ".-", color=colour, linewidth=1.1, label=policy)
            panel.set_yscale("log")
            plain(panel.yaxis)
            label(panel, title=pair if metric == "e2e_mean_s" else "", y=f"{title} [s]")
        label(column[-1], x="load")
    legend(figure, panels[0][0])
    return save(figure, path)


def _changes(cases: Found, path: Path) -> Path:
    """Draw mean e2e by arrival around each change."""
    figure, panels = grid("The world changes: mean e2e by arrival, all seeds", len(cases), rows=1)
    for (name, policies), (panel,) in zip(cases.items(), panels, strict=False):
        for each in policies:
            e2e_s = each["e2e_s"]
            x = [(number + 0.5) * WINDOW_S - CHANGED_S for number in range(len(e2e_s))]
            colour = COLOURS.get(each["policy"], QUIET)
            panel.plot(x, e2e_s, color=colour, linewidth=1.1, label=each["policy"])
        panel.axvline(0.0, color="black", linewidth=0.7)
        panel.set_xlim(left=-60.0)
        panel.set_yscale("log")
        plain(panel.yaxis)
        label(panel, title=name, x="seconds since the change", y="e2e mean [s]")
    legend(figure, panels[0][0])
    return save(figure, path)
