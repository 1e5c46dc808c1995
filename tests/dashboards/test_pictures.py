import math
from pathlib import Path

import pytest

from dashboards import grafana
from dashboards.pictures.asked import Curve, Panel, Span, named, panels
from dashboards.pictures.drawn import draw
from dashboards.pictures.sheet import Box, Sheet
from dashboards.pictures.units import written

SPAN = Span(start_s=1000.0, end_s=1060.0, scrape_s=5.0)
BOX = Box(0.0, 0.0, 500.0, 260.0)
KINDS = ("timeseries", "stat", "bargauge", "state-timeline", "heatmap", "table")


def first(kind: str) -> Panel:
    paths = sorted(Path(str(grafana())).glob("*.json"))
    return next(p for path in paths for p in panels(path) if p["type"] == kind)


def answers(panel: Panel) -> list[list[Curve]]:
    """Answer each target with two series, one of them with a gap."""
    times = [SPAN.start_s + n for n in range(61)]
    values = ([float(n % 3) for n in range(61)], [math.nan, *[1.0] * 60])
    return [
        [
            Curve(
                legend=named(target["legendFormat"], {"endpoint": name}),
                labels={"endpoint": name, "le": bound, "tier": name},
                times_s=times,
                values=value,
            )
            for name, bound, value in zip("ab", ("0.1", "+Inf"), values, strict=True)
        ]
        for target in panel["targets"]
    ]


def drawn(panel: Panel, found: list[list[Curve]]) -> bytes:
    sheet = Sheet(BOX.w, BOX.h)
    draw(sheet, BOX, panel, found, SPAN)
    return sheet.png()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_panel_is_drawn_from_its_data(kind: str) -> None:
    panel = first(kind)

    filled, empty = drawn(panel, answers(panel)), drawn(panel, [[] for _ in panel["targets"]])

    assert filled.startswith(b"\x89PNG")
    assert filled != empty


def test_the_same_data_gives_the_same_picture() -> None:
    panel = first("timeseries")

    assert drawn(panel, answers(panel)) == drawn(panel, answers(panel))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 s"),
        (math.nan, "s", "No data"),
        (math.inf, "none", "∞"),
        (90.0, "s", "1.5 mins"),
    ],
)
def test_odd_values_are_written_as_grafana_does(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text
