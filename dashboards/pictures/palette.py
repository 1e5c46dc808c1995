"""Grafana's colours in its dark theme, by the names that our panels use."""

import re
from typing import Any, Final, NamedTuple

CANVAS: Final = "#111217"
PANEL: Final = "#181b1f"
BORDER: Final = "#2a2d34"
TEXT: Final = "#d5d6dc"
FAINT: Final = "#9096a3"
GRID: Final = "#2c3037"

NAMED: Final = {
    "green": "#73bf69",
    "yellow": "#fade2a",
    "orange": "#ff9830",
    "dark-orange": "#ff780a",
    "red": "#f2495c",
    "blue": "#5794f2",
    "light-blue": "#8ab8ff",
    "purple": "#b877d9",
    "gray": "#8e8e8e",
    "text": TEXT,
    "transparent": PANEL,
}
# The classic palette: series take it in turn.
CLASSIC: Final = (
    *("#73bf69", "#fade2a", "#5794f2", "#ff9830", "#f2495c", "#8ab8ff", "#b877d9", "#ff780a"),
    *("#37872d", "#e0b400", "#1f60c4", "#c4162a", "#8f3bb8", "#96d98d", "#ffee52", "#ffb357"),
)


def of_value(value: float, steps: list[dict[str, Any]]) -> str:
    """Give the colour that a value has by thresholds.

    >>> of_value(0.5, [{"value": None, "color": "green"}, {"value": 0.3, "color": "red"}])
    '#f2495c'
    """
    colour = steps[0]["color"]
    for step in steps[1:]:
        if value >= step["value"]:
            colour = step["color"]
    return NAMED[colour]


class Look(NamedTuple):
    """Say how a series is drawn."""

    colour: str
    dashed: bool
    thin: bool


def of_series(legend: str, position: int, overrides: list[dict[str, Any]]) -> Look:
    """Give a series' look by its place and its panel's overrides.

    >>> dashes = {"matcher": {"id": "byRegexp", "options": "/predicted/"},
    ...     "properties": [{"id": "custom.lineStyle", "value": {"fill": "dash"}}]}
    >>> of_series("p90 predicted", 0, [dashes])
    Look(colour='#73bf69', dashed=True, thin=False)
    """
    look = Look(CLASSIC[position % len(CLASSIC)], dashed=False, thin=False)
    for override in overrides:
        matcher = override["matcher"]
        if matcher["id"] != "byRegexp":
            continue
        if re.search(matcher["options"].strip("/"), legend) is None:
            continue
        for each in override["properties"]:
            if each["id"] == "color":
                look = look._replace(colour=NAMED[each["value"]["fixedColor"]])
            elif each["id"] == "custom.lineStyle":
                look = look._replace(dashed=each["value"]["fill"] == "dash")
            elif each["id"] == "custom.lineWidth":
                look = look._replace(thin=each["value"] < 2)
    return look
