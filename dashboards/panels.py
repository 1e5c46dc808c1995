"""Builders of Grafana panels: plain dictionaries of dashboard schema 39 (Grafana 10 and 11).

Everything that all panels share is decided here, once: the data source variable, the
units, the legends. Called by :mod:`dashboards.overview`.
"""

from collections.abc import Sequence
from typing import Literal

Json = dict[str, object]
Unit = Literal["s", "reqps", "percentunit", "short", "cps"]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24  # Grafana's grid


def series(
    title: str,
    *expressions: tuple[str, str],
    unit: Unit,
    description: str,
    stacked: bool = False,
) -> Json:
    """Draw expressions over time.

    Args:
        title: Of the panel.
        expressions: Pairs of PromQL and legend.
        unit: Grafana's name of the unit.
        description: What a reader should make of it.
        stacked: Whether the values add up to something.
    """
    custom: Json = {"lineWidth": 2, "fillOpacity": 40 if stacked else 0, "showPoints": "never"}
    if stacked:
        custom["stacking"] = {"mode": "normal"}
    return {
        **_panel("timeseries", title, description, expressions),
        "fieldConfig": {
            "defaults": {"unit": unit, "custom": custom},
            "overrides": [_dashed()],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def stat(title: str, expression: str, *, unit: Unit, description: str) -> Json:
    """Show the present value of one expression, large."""
    return {
        **_panel("stat", title, description, [(expression, "")]),
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "none"},
    }


def table(title: str, expression: str, *, hidden: Sequence[str], description: str) -> Json:
    """List the labels of an expression's present series."""
    panel = _panel("table", title, description, [(expression, "")])
    (target,) = _targets([(expression, "")])
    return {
        **panel,
        "targets": [{**target, "format": "table", "instant": True}],
        "transformations": [
            {"id": "organize", "options": {"excludeByName": dict.fromkeys(hidden, True)}}
        ],
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"showHeader": True},
    }


def lay_out(rows: Sequence[tuple[str, int, Sequence[Json]]]) -> list[Json]:
    """Number the panels and put them on the grid.

    Args:
        rows: Title, panel height in grid units and panels; a row's panels share its width.
    """
    placed: list[Json] = []
    y = 0
    for title, height, panels in rows:
        row: Json = {"type": "row", "title": title, "collapsed": False, "panels": []}
        placed.append(_place(row, len(placed) + 1, x=0, y=y, w=_WIDTH, h=1))
        y += 1
        width = _WIDTH // len(panels)
        for index, panel in enumerate(panels):
            placed.append(_place(panel, len(placed) + 1, x=index * width, y=y, w=width, h=height))
        y += height
    return placed


def _place(panel: Json, number: int, **position: int) -> Json:
    return {"id": number, "gridPos": position, **panel}


def _panel(kind: str, title: str, description: str, expressions: Sequence[tuple[str, str]]) -> Json:
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "targets": _targets(expressions),
    }


def _targets(expressions: Sequence[tuple[str, str]]) -> list[Json]:
    return [
        {
            "refId": chr(ord("A") + index),
            "datasource": DATASOURCE,
            "expr": expression,
            "legendFormat": legend or "__auto",
        }
        for index, (expression, legend) in enumerate(expressions)
    ]


def _dashed() -> Json:
    """Draw what is predicted dashed beside what was measured."""
    return {
        "matcher": {"id": "byRegexp", "options": "/predicted/"},
        "properties": [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 6]}},
        ],
    }
