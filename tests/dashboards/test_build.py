import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest

import dashboards
from dashboards.alerts import ALERTS
from dashboards.boards import as_json
from dashboards.build import built_files
from dashboards.catalogue import families
from dashboards.fleet_overview import fleet_overview
from dashboards.model_training import model_training
from dashboards.pictures.asked import Span, filled
from dashboards.predicted_actual import predicted_actual
from dashboards.recording import RECORDINGS, SLOW_RECORDINGS
from dashboards.slo_tiers import slo_tiers

# What Prometheus adds to every series itself.
SCRAPE_LABELS = {"job", "instance"}
ALL_RECORDINGS = (*RECORDINGS, *SLOW_RECORDINGS)


@cache
def registered_series() -> dict[str, set[str]]:
    """Give the labels of every series the router can publish, by its name."""
    published = {
        name: labels | SCRAPE_LABELS
        for family in families()
        for name, labels in family.series.items()
    }
    published |= {one.name: set(one.labels) for one in ALL_RECORDINGS}
    return {**published, "ALERTS": {"alertname", "alertstate", "severity"}}  # Prometheus' own


def boards() -> list[dict[str, Any]]:
    made = (fleet_overview(), predicted_actual(), slo_tiers(), model_training())
    return [json.loads(as_json(each)) for each in made]


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Give a dashboard's panels without headings, folded ones too."""
    both = [[panel, *panel.get("panels", [])] for panel in board["panels"]]
    return [panel for row in both for panel in row if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """Give every expression, with Grafana's variables filled in, and where it stands."""
    found = [(f"alert {alert.name}", alert.expr) for alert in ALERTS]
    found += [(f"recording {one.name}", one.expr) for one in ALL_RECORDINGS]
    span = Span(start_s=0.0, end_s=600.0, scrape_s=5.0)
    for board in boards():
        for panel in panels(board):
            for target in panel["targets"]:
                where = f"{board['uid']} {panel['title']} {target['refId']}"
                found.append((where, filled(target["expr"], span)))
        found += [
            (f"{board['uid']} {event['name']}", filled(event["expr"], span))
            for event in board["annotations"]["list"]
        ]
    return found


EXPRESSIONS = expressions()
every_expression = pytest.mark.parametrize(
    "expression", [e for _, e in EXPRESSIONS], ids=[where for where, _ in EXPRESSIONS]
)


def selectors(node: Any) -> Iterator[Any]:
    """Give every vector selector below a node of a parsed expression."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        child = getattr(node, name, None)
        if isinstance(child, promql_parser.Expr):
            yield from selectors(child)
    for argument in getattr(node, "args", None) or ():
        yield from selectors(argument)


def grouping_labels(node: Any) -> Iterator[tuple[set[str], set[str]]]:
    """Give the labels of each aggregation's ``by`` with the names aggregated below."""
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        yield set(node.modifier.labels), {each.name for each in selectors(node)}
    for name in ("expr", "lhs", "rhs", "param"):
        child = getattr(node, name, None)
        if isinstance(child, promql_parser.Expr):
            yield from grouping_labels(child)
    for argument in getattr(node, "args", None) or ():
        yield from grouping_labels(argument)


@every_expression
def test_every_expression_names_only_series_and_labels_that_exist(expression: str) -> None:
    known = registered_series()

    found = list(selectors(promql_parser.parse(expression)))

    assert found
    for selector in found:
        assert selector.name in known
        assert {m.name for m in selector.matchers.matchers} <= known[selector.name]


@every_expression
def test_every_aggregation_keeps_only_labels_that_exist(expression: str) -> None:
    known = registered_series()

    for labels, names in grouping_labels(promql_parser.parse(expression)):
        for name in names:
            assert labels <= known[name]


def test_the_check_sees_a_metric_that_does_not_exist() -> None:
    tree = promql_parser.parse("1 - sum(rate(foretoken_nothing_total[5m])) / (-foretoken_none)")

    names = {selector.name for selector in selectors(tree)}

    assert names == {"foretoken_nothing_total", "foretoken_none"}
    assert not names & set(registered_series())


def test_the_committed_files_are_up_to_date() -> None:
    folder = Path(dashboards.__file__).parent

    built = built_files()

    assert {path: (folder / path).read_text() for path in built} == built
