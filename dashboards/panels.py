"""Make Grafana panels: what all of them share is decided here, once.

The data source is a variable, every panel has a description, what is predicted is dashed,
a quantile has one colour wherever it stands. Called by the dashboards; laid out by
:mod:`dashboards.boards`.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import heatmap as heat
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    MappingType,
    Panel,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

__all__ = ["GOOD_HIGH", "Query", "Unit", "bars", "heats", "levels", "lines", "number", "rows"]

Unit = Literal["s", "reqps", "percentunit", "short", "cps", "bytes", "Bps", "si:tok/s", "none"]
"""Grafana's names of units."""

Steps = Sequence[tuple[float | None, str]]
"""From which value on which colour; the first, ``None``, is from the lowest."""

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")

GOOD_HIGH: Final[Steps] = ((None, "red"), (0.9, "orange"), (0.99, "green"))
_PLAIN: Final[Steps] = ((None, "text"),)

# One colour for one meaning on all four dashboards; the rest is Grafana's palette.
_QUANTILES: Final[Mapping[str, str]] = {
    "/^p10( predicted)?$/": "light-blue",
    "/^p50( predicted)?$/": "blue",
    "/^p90( predicted)?$/": "orange",
    "/^p99( predicted)?$/": "red",
    "/^oldest/": "purple",
}
# The tiers that are there by default; others take theirs from the palette.
_TIERS: Final[Mapping[str, str]] = {
    "/^interactive/": "blue",
    "/^standard/": "green",
    "/^batch/": "orange",
}
_THIN: Final = (" objective", " tenth with least")  # beside what they belong to
_RESULTS: Final[Mapping[str, str]] = {
    "/^(completed|accepted|predicted|met|hit|exact)$/": "green",
    "/^(upstream_error|failed|prediction_failed|fewer|missed)$/": "red",
    "/^(cut|prediction_inaccurate|kill_switch)$/": "dark-orange",
    "/^(shed|cold|worse|more)$/": "yellow",
    "/^(client_gone|shutdown|policy)$/": "gray",
}


class Query(NamedTuple):
    """Ask one thing of Prometheus.

    Attributes:
        expr: PromQL with Grafana's variables.
        legend: Name of its series, with labels as ``{{label}}``.
    """

    expr: str
    legend: str = ""


def lines(
    title: str,
    *queries: Query,
    unit: Unit,
    text: str,
    stacked: bool = False,
    limits: Steps = (),
    top: float | None = None,
    bottom: float | None = 0.0,
    exemplars: bool = False,
    log: bool = False,
) -> Panel:
    """Draw values over time.

    Args:
        title: Of the panel.
        queries: What is drawn; legends with "predicted" are dashed.
        unit: Of the vertical axis.
        text: What a reader should make of it.
        stacked: Whether the values add up to something.
        limits: Values from which on it is bad, drawn as dashed lines.
        top: Least upper end of the axis.
        bottom: Its lower end; ``None`` where values may be negative.
        exemplars: Whether to ask for traces of single requests.
        log: Whether the axis is logarithmic.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .line_width(0 if stacked else 2)  # no line of what is nothing over what is something
        .fill_opacity(70 if stacked else 0)
        .show_points(shapes.VisibilityMode.NEVER)
        .span_nulls(span_nulls=False)
        .legend(_legend())
        .tooltip(
            common.VizTooltipOptions()
            .mode(shapes.TooltipDisplayMode.MULTI)
            .sort(shapes.SortOrder.DESCENDING)
        )
        .targets([_target(n, query, exemplars=exemplars) for n, query in enumerate(queries)])
    )
    legends = [query.legend for query in queries]
    if any("predicted" in legend for legend in legends):
        panel.override_by_regexp("/predicted/", [_dashed()])
    if any(legend.endswith(_THIN) for legend in legends):
        panel.override_by_regexp(f"/({'|'.join(_THIN)})$/", [_thin()])
    for pattern, colour in _colours(legends).items():
        panel.override_by_regexp(pattern, [_fixed(colour)])
    if bottom is not None:
        panel.axis_soft_min(bottom)
    if top is not None:
        panel.axis_soft_max(top)
    if log:
        scale = common.ScaleDistributionConfig().type(shapes.ScaleDistribution.LOG).log(10)
        panel.scale_distribution(scale)
    if stacked:
        panel.stacking(common.StackingConfig().group("A").mode(shapes.StackingMode.NORMAL))
    if limits:
        style = shapes.GraphThresholdsStyleMode.DASHED
        panel.thresholds(_steps(limits))
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
    return panel.build()


def number(
    title: str,
    expr: str,
    *,
    unit: Unit,
    text: str,
    limits: Steps = _PLAIN,
    decimals: int | None = None,
    link: str = "",
) -> Panel:
    """Show one value, large, with its recent course behind it.

    Args:
        title: Of the panel.
        expr: PromQL of one series.
        unit: Of the value.
        text: What a reader should make of it.
        limits: Its colour by value.
        decimals: Digits shown, ``None``: as many as fit.
        link: The dashboard, by uid, that tells more.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .targets([_target(0, Query(expr, title))])
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(shapes.BigValueGraphMode.AREA)
        .color_mode(shapes.BigValueColorMode.VALUE)
        .text_mode(shapes.BigValueTextMode.VALUE)
        .thresholds(_steps(limits))
    )
    if decimals is not None:
        panel.decimals(decimals)
    if link:
        there = dashboard.DashboardLink("What is behind it")
        panel.links([there.url(f"/d/{link}?${{__url_time_range}}&${{__all_variables}}")])
    return panel.build()


def bars(
    title: str, query: Query, *, unit: Unit, text: str, limits: Steps, top: float | None = None
) -> Panel:
    """Show the present value of each series as a bar."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .targets([_target(0, query, instant=True)])
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .display_mode(shapes.BarGaugeDisplayMode.BASIC)
        .thresholds(_steps(limits))
    )
    if top is not None:
        panel.max(top)
    return panel.build()


def levels(title: str, *queries: Query, names: Mapping[int, tuple[str, str]], text: str) -> Panel:
    """Draw in which state something was when.

    Args:
        title: Of the panel.
        queries: Each series is a row; its values are states.
        names: What a value is called and its colour.
        text: What a reader should make of it.
    """
    options = {
        str(value): ValueMappingResult(text=name, color=colour, index=position)
        for position, (value, (name, colour)) in enumerate(names.items())
    }
    mapping = ValueMap(options=options)
    mapping.type_val = MappingType.VALUE_TO_TEXT
    return (
        statetimeline.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .targets([_target(n, query) for n, query in enumerate(queries)])
        .mappings([mapping])
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .thresholds(_steps(_PLAIN))
        .merge_values(merge_values=True)
        .show_value(shapes.VisibilityMode.AUTO)
        .row_height(0.8)
        .fill_opacity(80)
        .line_width(0)
        .legend(_legend().show_legend(show_legend=False))
        .build()
    )


def heats(title: str, expr: str, *, unit: Unit, text: str) -> Panel:
    """Draw how values are spread over a histogram's buckets, over time.

    Args:
        title: Of the panel.
        expr: PromQL of buckets by ``le``.
        unit: Of the buckets' bounds.
        text: What a reader should make of it.
    """
    target = _target(0, Query(expr, "{{le}}")).format(PromQueryFormat.HEATMAP)
    colours = (
        heatmap.HeatmapColorOptions()
        .mode(heat.HeatmapColorMode.SCHEME)
        .scheme("Oranges")
        .scale(heat.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
        .reverse(reverse=False)
    )
    return (
        heatmap.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .targets([target])
        .calculate(calculate=False)
        .color(colours)
        .y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(shapes.AxisPlacement.LEFT))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(shapes.HeatmapCellLayout.AUTO))
        .cell_gap(1)
        .show_legend()
        .mode(shapes.TooltipDisplayMode.SINGLE)
        .build()
    )


def rows(
    title: str,
    *queries: Query,
    columns: Mapping[str, str],
    text: str,
    units: Mapping[str, Unit] | None = None,
) -> Panel:
    """List present values in a table, joined by the labels they share.

    Args:
        title: Of the panel.
        queries: Columns of values; the legend is ignored.
        columns: Fields shown, in this order, by the name they have in the result
            (a label, ``Value`` of a single query or ``Value #A``), and what to call them.
        text: What a reader should make of it.
        units: Of columns, by what they are called.
    """
    organized = {
        "renameByName": dict(columns),
        "indexByName": {name: position for position, name in enumerate(columns)},
    }
    panel = (
        table.Panel()
        .title(title)
        .description(text)
        .datasource(SOURCE)
        .targets(
            [
                _target(n, query, instant=True).format(PromQueryFormat.TABLE)
                for n, query in enumerate(queries)
            ]
        )
        .transformations(
            [
                DataTransformerConfig(id_val="merge", options={}),
                DataTransformerConfig(
                    id_val="filterFieldsByName", options={"include": {"names": list(columns)}}
                ),
                DataTransformerConfig(id_val="organize", options=organized),
            ]
        )
        .show_header(show_header=True)
        .cell_height(shapes.TableCellHeight.SM)
        .filterable(filterable=True)
    )
    for name, unit in (units or {}).items():
        panel.override_by_name(name, [DynamicConfigValue(id_val="unit", value=unit)])
    return panel.build()


def _target(
    number: int, query: Query, *, instant: bool = False, exemplars: bool = False
) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .expr(query.expr)
        .legend_format(query.legend or "__auto")
        .ref_id(chr(ord("A") + number))
        .datasource(SOURCE)
    )
    if exemplars:
        target.exemplar(exemplar=True)
    return target.instant() if instant else target.range()


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.LIST)
        .placement(shapes.LegendPlacement.BOTTOM)
        .show_legend(show_legend=True)
        .calcs([])
    )


def _steps(steps: Steps) -> dashboard.ThresholdsConfig:
    made = [Threshold(value=value, color=colour) for value, colour in steps]
    if made[0].value is not None:
        made.insert(0, Threshold(value=None, color="transparent"))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def _colours(legends: Sequence[str]) -> Mapping[str, str]:
    """Choose the fixed colours that a panel with these legends may need."""
    if any(legend.startswith("p") and legend[1:3].isdigit() for legend in legends):
        return _QUANTILES
    if any(legend.startswith("{{tier}}") for legend in legends):
        return _TIERS
    named = ("{{outcome}}", "{{reason}}", "{{result}}")
    return _RESULTS if any(legend in named for legend in legends) else {}


def _dashed() -> DynamicConfigValue:
    return DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 6]})


def _thin() -> DynamicConfigValue:
    return DynamicConfigValue(id_val="custom.lineWidth", value=1)


def _fixed(colour: str) -> DynamicConfigValue:
    return DynamicConfigValue(
        id_val="color", value={"mode": FieldColorModeId.FIXED, "fixedColor": colour}
    )
