"""Put panels together to dashboards: layout, variables, links, annotations.

All dashboards have the same variables, so that a link from one to the next keeps what was
chosen, and the same events drawn over their panels. Called by the four dashboards.
"""

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardCursorSync,
    DashboardLink,
    DashboardLinkType,
    GridPos,
    Panel,
    RowPanel,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from dashboards.panels import SOURCE
from dashboards.promql import JOB, MODEL, of

FLEET: Final = "foretoken-fleet"
PREDICTED: Final = "foretoken-predicted"
TIERS: Final = "foretoken-tiers"
MODELS: Final = "foretoken-models"

Variable = Builder[VariableModel]

_TAG: Final = "foretoken"
_WIDTH: Final = 24  # Grafana's grid
_DOCS: Final = "https://github.com/foretoken/foretoken/blob/main/docs"


class Section(NamedTuple):
    """Hold panels under one heading.

    Attributes:
        title: The question they answer.
        shelves: Panels side by side, at most twelve; they share the width.
        height: Of every panel, in grid units of about 30 pixels.
        folded: Whether it is closed at first: its panels then ask nothing of Prometheus.
    """

    title: str
    shelves: Sequence[Sequence[Panel]]
    height: int = 8
    folded: bool = False


def board(
    uid: str,
    title: str,
    text: str,
    sections: Sequence[Section],
    *,
    further: Sequence[Variable] = (),
) -> Dashboard:
    """Make a dashboard.

    Args:
        uid: The last part of its address.
        title: What Grafana lists it by.
        text: Which questions it answers.
        sections: From top to bottom.
        further: Variables beside those that all dashboards have.
    """
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(text)
        .tags([_TAG])
        .editable()
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .timezone("browser")
        .refresh("10s")
        .variables([*_variables(), *further])
        .links(_links())
        .annotations(_annotations())
        .build()
    )
    made.panels = _laid_out(sections)
    made.schema_version = 39  # what the pinned line of Grafana reads without migration
    return made


def as_json(made: Dashboard) -> str:
    """Write a dashboard as Grafana imports it."""
    document = json.loads(json.dumps(made, cls=JSONEncoder))
    for variable in document["templating"]["list"]:
        for key in ("auto", "auto_min", "auto_count"):  # of intervals; the others have none
            del variable[key]
    return json.dumps(document, indent=2) + "\n"


def _laid_out(sections: Sequence[Section]) -> list[Panel | RowPanel]:
    """Number the panels and put them on the grid."""
    placed: list[Panel | RowPanel] = []
    y, number = 0, 0
    for section in sections:
        number += 1
        heading = RowPanel(
            title=section.title,
            id_val=number,
            collapsed=section.folded,
            grid_pos=GridPos(x=0, y=y, w=_WIDTH, h=1),
        )
        placed.append(heading)
        y += 1
        for shelf in section.shelves:
            width = _WIDTH // len(shelf)
            for position, panel in enumerate(shelf):
                number += 1
                panel.id_val = number
                panel.grid_pos = GridPos(x=position * width, y=y, w=width, h=section.height)
            (heading.panels if section.folded else placed).extend(shelf)
            y += section.height
        if section.folded:  # Grafana pushes what is below down when somebody opens it
            y -= section.height * len(section.shelves)
    return placed


def _variables() -> list[Variable]:
    source = (
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .type("prometheus")
        .description("The Prometheus that scrapes Foretoken.")
    )
    return [
        source,
        _choice("job", "Job", "foretoken_decision_seconds_count", "Which Foretoken."),
        _choice("model_name", "Model", f"foretoken_requests_total{{{JOB}}}", "Which fleet."),
        _choice("endpoint", "Endpoint", f"foretoken_endpoint_up{{{JOB}}}", "Which vLLM server."),
        _choice("tier", "Tier", f"foretoken_slo_requests_total{{{JOB}}}", "Of service."),
    ]


def _choice(name: str, label: str, series: str, text: str) -> dashboard.QueryVariable:
    """Offer the values a label has, any number of them; all at first."""
    query = f"label_values({series}, {name})"
    everything = VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(text)
        .datasource(SOURCE)
        .query({"query": query, "refId": f"variable-{name}"})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .current(everything)
    )


def _links() -> list[Builder[DashboardLink]]:
    others = (
        dashboard.DashboardLink("Foretoken")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([_TAG])
        .tooltip("The other dashboards, with the same choice and time")
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )
    runbook = (
        dashboard.DashboardLink("Runbook")
        .type(DashboardLinkType.LINK)
        .icon("doc")
        .tooltip("What to do about each alert")
        .url(f"{_DOCS}/runbook.md")
        .target_blank(target_blank=True)
    )
    return [others, runbook]


def _annotations() -> list[Builder[AnnotationQuery]]:
    rung = of("foretoken_fallback_changes_total", MODEL)
    version = of("foretoken_model_info", MODEL)
    return [
        _event(
            "Alerts", "red", 'ALERTS{alertname=~"Foretoken.*", alertstate="firing"}', shown=True
        ),
        _event("Who decides changed", "orange", f"increase({rung}[1m]) > 0", shown=True),
        _event("Model published", "blue", f"{version} unless {version} offset 1m", shown=False),
    ]


def _event(name: str, colour: str, expr: str, *, shown: bool) -> dashboard.AnnotationQuery:
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(enable=shown)
        .icon_color(colour)
        .expr(expr)
    )
