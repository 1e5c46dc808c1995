"""Draw what a report's figures leave out: whole distributions, and TTFT over time.

Needs matplotlib, which only the extra ``plots`` installs. Drawn without any global
state, so that it may run beside other drawings; the same runs give the same picture.
"""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np

from foretoken.errors import PlotsMissing
from foretoken.simulation.outcome import Outcome, Run
from foretoken.simulation.report import PolicyReport
from predictor.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.lines import Line2D

TIME_BINS: Final = 60
# Points of a distribution's line: finer than the picture has pixels.
_QUANTILES: Final = np.linspace(0, 1, 501)
_NOWHERE: Final = np.full_like(_QUANTILES, np.nan)
_STYLES: Final = ("-", "--", ":")


def require_matplotlib() -> None:
    """Find out before the work, not after it, that nothing can be drawn.

    Raises:
        PlotsMissing: matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise PlotsMissing("drawing needs matplotlib: run pip install 'foretoken[plots]'")


def draw(policies: Sequence[PolicyReport]) -> bytes:
    """Draw a PNG: distributions of TTFT, TPOT and e2e in steady state, TTFT over time.

    All seeds of a policy make one line. A time's point is the median TTFT of what arrived
    in its bin; the warm-up is shaded.

    Returns:
        The content of a PNG file.

    Raises:
        PlotsMissing: matplotlib is not installed.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  # an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(13, 9), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    run = policies[0].runs[0]
    figure.suptitle(f"{run.workload} on {run.fleet} at {run.rate:.4g}")
    axes = figure.subplots(2, 2)
    _distribution(axes[0, 0], policies, "ttft_s", "TTFT, seconds", log=True)
    _distribution(axes[0, 1], policies, "tpot_s", "TPOT, seconds", log=False)
    _distribution(axes[1, 0], policies, "e2e_s", "e2e, seconds", log=True)
    _over_time(axes[1, 1], policies)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(5, len(labels)), frameon=False
    )
    picture = BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _distribution(
    axes: "Axes", policies: Sequence[PolicyReport], name: str, label: str, *, log: bool
) -> None:
    for index, each in enumerate(policies):
        values = _known(name, (o for run in each.runs for o in _steady(run)))
        points = np.quantile(values, _QUANTILES) if len(values) else _NOWHERE
        (line,) = axes.plot(points, _QUANTILES, label=_label(each))
        _style(line, index)
    axes.set_xlabel(label)
    axes.set_ylabel("share of requests")
    axes.set_ylim(0, 1.01)
    if log:
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
    axes.axhline(0.9, color="0.8", linewidth=0.8, zorder=0)
    axes.grid(visible=True, alpha=0.25)


def _label(each: PolicyReport) -> str:
    cut = any(run.truncated for run in each.runs)
    return f"{each.policy} (cut short)" if cut else each.policy


def _over_time(axes: "Axes", policies: Sequence[PolicyReport]) -> None:
    run = policies[0].runs[0]
    end_s = run.warmup_s + run.measure_s
    edges = np.linspace(0, end_s, TIME_BINS + 1)
    for index, each in enumerate(policies):
        medians = _medians([o for run in each.runs for o in run.outcomes], edges)
        (line,) = axes.plot((edges[:-1] + edges[1:]) / 2, medians)
        _style(line, index)
    axes.axvspan(0, run.warmup_s, color="0.93", zorder=0)
    axes.set_xlim(0, end_s)
    axes.set_yscale("log")
    _plain_ticks(axes.yaxis)
    axes.set_xlabel("time of arrival, seconds (warm-up shaded)")
    axes.set_ylabel("median TTFT, seconds")
    axes.grid(visible=True, alpha=0.25)


def _medians(outcomes: Iterable[Outcome], edges: FloatArray) -> FloatArray:
    known = [(each.arrived_s, each.ttft_s) for each in outcomes if each.ttft_s is not None]
    if not known:
        return np.full(len(edges) - 1, np.nan)
    arrived_s, ttft_s = np.array(known).T
    bins = np.digitize(arrived_s, edges) - 1
    return np.array(
        [
            np.median(ttft_s[bins == bin_]) if (bins == bin_).any() else np.nan
            for bin_ in range(len(edges) - 1)
        ]
    )


def _steady(run: Run) -> list[Outcome]:
    return [each for each in run.outcomes if 0 <= each.arrived_s - run.warmup_s < run.measure_s]


def _known(name: str, outcomes: Iterable[Outcome]) -> FloatArray:
    values = [
        getattr(each, name) for each in outcomes if name == "ttft_s" or each.outcome == "completed"
    ]
    return np.array([value for value in values if value is not None], dtype=np.float64)


def _style(line: "Line2D", index: int) -> None:
    """Tell 30 lines apart: ten colours, then dashed, then dotted."""
    line.set(color=f"C{index % 10}", linestyle=_STYLES[index // 10 % 3], linewidth=1.4)


def _plain_ticks(axis: "Axis") -> None:
    """Mark 1, 2 and 5 of a log scale's decades with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter  # noqa: PLC0415

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())
