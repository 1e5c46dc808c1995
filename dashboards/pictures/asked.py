"""Ask Prometheus what Grafana would ask it for a dashboard's panels.

Reads the committed JSON, fills Grafana's variables in (everything chosen) and evaluates
each target over the time shown, or at its end where the panel asks for the present only.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

GOAL: Final = "0.95"
_POINTS: Final = 240  # of a line: about as many as a panel is pixels wide
_LABEL: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")

Panel = dict[str, Any]  # Grafana's JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Say which time is shown, in epoch seconds.

    Attributes:
        start_s: Its beginning.
        end_s: Its end.
        scrape_s: Between two scrapes of Foretoken, as the data source is told.
    """

    start_s: float
    end_s: float
    scrape_s: float

    @property
    def step_s(self) -> float:
        """Give the distance of points."""
        return max((self.end_s - self.start_s) / _POINTS, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Hold one series.

    Attributes:
        legend: Its name, labels filled in.
        labels: All of its labels.
        times_s: Epoch seconds.
        values: As many; NaN where the expression has none.
    """

    legend: str
    labels: Mapping[str, str]
    times_s: list[float]
    values: list[float]


def panels(path: Path) -> Iterator[Panel]:
    """Give the panels of a dashboard from top to bottom, folded ones too, without headings."""
    for panel in json.loads(path.read_text())["panels"]:
        yield from panel.get("panels", []) if panel["type"] == "row" else [panel]


def filled(expr: str, span: Span) -> str:
    """Fill Grafana's variables in, everything chosen.

    >>> filled('rate(x{job=~"$job"}[$__rate_interval])', Span(start_s=0, end_s=60, scrape_s=2))
    'rate(x{job=~".*"}[8s])'
    """
    values = {
        # Grafana: four scrapes, or a step and a scrape where that is longer.
        "__rate_interval": f"{max(4 * span.scrape_s, span.step_s + span.scrape_s):.0f}s",
        "__range": f"{span.end_s - span.start_s:.0f}s",
        "goal": GOAL,
    }
    return re.sub(r"\$(\w+)", lambda found: values.get(found[1], ".*"), expr)


def named(legend: str, labels: Mapping[str, str]) -> str:
    """Fill labels into a legend as Grafana does.

    >>> named("{{tier}} predicted", {"tier": "batch"}), named("__auto", {"job": "a"})
    ('batch predicted', 'job="a"')
    """
    if legend == "__auto":
        return ", ".join(f'{name}="{value}"' for name, value in labels.items())
    return _LABEL.sub(lambda found: labels.get(found[1], ""), legend)


class Prometheus:
    """Evaluate expressions.

    Args:
        url: Where it listens.
        span: Which time is shown.
    """

    def __init__(self, url: str, span: Span) -> None:
        self._client = httpx.Client(base_url=f"{url}/api/v1", timeout=60.0)
        self._span = span

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def curves(self, target: Panel) -> list[Curve]:
        """Evaluate a panel's target.

        Raises:
            httpx.HTTPStatusError: Prometheus refuses the expression.
        """
        span = self._span
        fields: dict[str, str | float] = {"query": filled(target["expr"], span)}
        if target.get("instant"):
            answer = self._client.post("/query", data={**fields, "time": span.end_s})
        else:
            times = {"start": span.start_s, "end": span.end_s, "step": span.step_s}
            answer = self._client.post("/query_range", data={**fields, **times})
        answer.raise_for_status()
        return [_curve(target, each) for each in _results(answer.json()["data"])]


def _results(data: dict[str, Any]) -> list[dict[str, Any]]:
    if data["resultType"] == "scalar":
        return [{"metric": {}, "values": [data["result"]]}]
    results: list[dict[str, Any]] = data["result"]
    return results


def _curve(target: Panel, result: dict[str, Any]) -> Curve:
    labels = result["metric"]
    points = result.get("values") or [result["value"]]
    return Curve(
        legend=named(target.get("legendFormat", "__auto"), labels),
        labels=labels,
        times_s=[float(time) for time, _ in points],
        values=[float(value) for _, value in points],
    )
