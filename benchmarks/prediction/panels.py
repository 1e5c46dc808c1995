"""One style for all plots: a grid of panels, sets beside each other, targets below.

matplotlib comes with the extra ``benchmarks``. Drawn without global state.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from benchmarks.prediction.plays import OURS, REFERENCE
from foretoken.errors import PlotsMissing
from predictor.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

COLOURS: Final = {OURS: "#d1495b", REFERENCE: "#30638e"}
QUIET: Final = "#8a8a8a"
BAND: Final = "#e8e8e8"
PANEL_INCHES: Final = (2.7, 2.2)
_DPI: Final = 110
_PALETTE: Final = 96
_MANY_DECADES: Final = 50.0


def require_matplotlib() -> None:
    """Find out before the work, not after it, that nothing can be drawn.

    Raises:
        PlotsMissing: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise PlotsMissing("drawing needs matplotlib: run pip install 'foretoken[benchmarks]'")


def grid(title: str, columns: int, *, rows: int = 2) -> tuple["Figure", list[list["Axes"]]]:
    """Make a figure; give its panels column by column, each from the top."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # an extra

    width, height = PANEL_INCHES
    size = (max(columns, 2) * width + 0.4, rows * height + 0.6)
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=10)
    panels: list[list[Axes]] = figure.subplots(rows, columns, squeeze=False).T.tolist()
    for panel in chain.from_iterable(panels):
        panel.grid(visible=True, color="#ececec", linewidth=0.6)
        panel.set_axisbelow(True)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, panels


def label(panel: "Axes", *, title: str = "", x: str = "", y: str = "") -> None:
    """Write what a panel shows and its axes."""
    if title:
        panel.set_title(title, fontsize=8)
    if x:
        panel.set_xlabel(x, fontsize=7.5)
    if y:
        panel.set_ylabel(y, fontsize=7.5)


def percents(axis: "Axis", ticks: Sequence[float]) -> None:
    """Mark an axis of fractions at these percentages."""
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter  # noqa: PLC0415

    axis.set_major_locator(FixedLocator([tick / 100 for tick in ticks]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(PercentFormatter(1.0, decimals=None))


def plain(axis: "Axis") -> None:
    """Mark a log axis with plain numbers: the decades, between them too where they are few."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter  # noqa: PLC0415

    low, high = axis.get_view_interval()
    subs = (1.0,) if high / low > _MANY_DECADES else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def legend(figure: "Figure", panel: "Axes") -> None:
    """Put one legend below all panels."""
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=8)


def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG of few colours, a third of the size; the same figure gives the same bytes."""
    from PIL import Image  # noqa: PLC0415  # comes with matplotlib

    drawn = BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(_PALETTE).save(path, format="png", optimize=True)
    return path


def trailing_mean(values: FloatArray, window: int) -> FloatArray:
    """Average each value with those before it, ``window`` in all or as many as there are.

    >>> trailing_mean(np.array([2.0, 4.0, 6.0, 8.0]), 2).tolist()
    [2.0, 3.0, 5.0, 7.0]
    """
    total = np.concatenate(([0.0], np.cumsum(values)))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    mean: FloatArray = (total[end] - total[start]) / (end - start)
    return mean


def block_means(values: FloatArray, size: int) -> FloatArray:
    """Average whole blocks of rows, ``(n // size, ...)``; what is left over is left out.

    >>> block_means(np.array([1.0, 3.0, 5.0]), 2).tolist()
    [2.0]
    """
    count = len(values) // size
    means: FloatArray = values[: count * size].reshape(count, size, *values.shape[1:]).mean(axis=1)
    return means
