"""The dashboards in front of a real Prometheus that scrapes a fleet in trouble.

Takes a minute and half a minute of CPU, so it is run by ``make test-all`` alone. That every
expression names only series and labels that exist is also held by ``test_build.py``, that
panels are drawn by ``test_pictures.py``, and that recorded series and an alert come out of a
real Prometheus by ``test_prometheus.py``.
"""

import asyncio
import json
import math
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.watched.servers import Watched, watched
from benchmarks.watched.trouble import live_through
from dashboards import grafana
from dashboards.pictures.__main__ import draw_all
from dashboards.pictures.asked import Panel, Prometheus, Span, panels

TRAFFIC_S = 30.0
ELSEWHERE = {
    "fleet-overview: Hears of other routers A",
    "fleet-overview: Other routers heard A",
    "fleet-overview: Endpoints found A",
    "fleet-overview: Sources last heard A",
    "fleet-overview: Sources not heard A",
}
"""Asked of routers that share and of sources of endpoints, of which the fleet here has none."""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
    pytest.mark.timeout(400),
]


def targets() -> Iterator[tuple[str, Panel]]:
    """Give all that is asked of Prometheus: panels, variables and events."""
    for path in sorted(Path(str(grafana())).glob("*.json")):
        document = json.loads(path.read_text())
        for panel in panels(path):
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']} {target['refId']}", target
        for variable in document["templating"]["list"]:
            if variable["type"] == "query":
                series = variable["query"]["query"].removeprefix("label_values(")
                metric, _, label = series.removesuffix(")").rpartition(", ")
                asked = f"count by ({label}) ({metric})"
                yield f"{path.stem}: ${variable['name']}", {"expr": asked}
        for event in document["annotations"]["list"]:
            yield f"{path.stem}: {event['name']}", event


def unanswered(place: Watched, span: Span) -> list[str]:
    """Name what Prometheus answers with nothing, or with no number."""
    prometheus = Prometheus(place.prometheus, span)
    try:
        return [
            name
            for name, target in targets()
            if not any(
                math.isfinite(value)
                for curve in prometheus.curves(target)
                for value in curve.values
            )
        ]
    finally:
        prometheus.close()


async def scenario(folder: Path) -> tuple[list[str], list[Path]]:
    async with watched(folder, at_once=True, workers=2) as place:
        start_s = time.time()
        await live_through(place, TRAFFIC_S)
        span = Span(start_s=start_s, end_s=time.time(), scrape_s=2.0)
        missing = await asyncio.to_thread(unanswered, place, span)
        return missing, list(draw_all(place.prometheus, span, folder / "pictures"))


def test_every_expression_is_answered(tmp_path: Path) -> None:
    missing, pictures = asyncio.run(scenario(tmp_path))

    assert len(list(targets())) > 200
    assert set(missing) - ELSEWHERE == set()
    assert {path.stem for path in pictures} == {
        "fleet-overview",
        "fleet-overview-folded",
        "predicted-actual",
        "slo-tiers",
        "model-training",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
