import json
import re

import pytest

from dashboards import live_page
from proxy.control import ControlSettings
from tests.proxy.control.fakes import EPOCH_S, FakePlane, call, record

QUICK = ControlSettings(snapshot_interval_s=0.1)


def events_of(plane: FakePlane) -> list[dict[str, object]]:
    answer = call(plane, "GET", "/events", settings=QUICK)
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [
        json.loads(line.removeprefix("data: "))
        for line in answer.text.splitlines()
        if line.startswith("data: ")
    ]


def test_a_snapshot_carries_what_the_page_shows() -> None:
    plane = FakePlane()
    plane.history.add(record("r-1", finished_s=905.5))

    (event,) = events_of(plane)

    assert event["at_s"] == EPOCH_S + 1000.0
    assert event["mode"] == "predicted"
    assert len(event["endpoints"]) == 2
    assert event["models"][0]["version"] == "20261121T103000-4f2a"
    assert event["decisions"][0]["request_id"] == "r-1"
    assert "candidates" not in event["decisions"][0]
    assert event["series"] == [
        {
            "at_s": EPOCH_S + 905.0,
            "requests": 1,
            "ttft_s": 0.125,
            "predicted_ttft_s": 0.1,
            "tpot_s": 0.02,
            "predicted_tpot_s": 0.02,
        }
    ]


def test_later_snapshots_carry_only_what_changed_of_the_series() -> None:
    plane = FakePlane(now=1000.5)
    plane.snapshots_left = 2
    plane.history.add(record("old", finished_s=905.5))
    plane.history.add(record("open", finished_s=1000.1))

    first, second = events_of(plane)

    assert [each["at_s"] - EPOCH_S for each in first["series"]] == [905.0, 1000.0]
    assert [each["at_s"] - EPOCH_S for each in second["series"]] == [1000.0]


def test_a_server_that_closes_ends_the_stream() -> None:
    plane = FakePlane()
    plane.snapshots_left = 1_000
    plane.closing.set()

    events = events_of(plane)

    assert len(events) == 1


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/live/style.css", "text/css; charset=utf-8"),
        ("/live/page.js", "text/javascript; charset=utf-8"),
        ("/live/icon.svg", "image/svg+xml"),
        ("/live/vendor/uPlot.iife.min.js", "text/javascript; charset=utf-8"),
    ],
)
def test_files_have_their_type_and_a_strict_policy(path: str, content_type: str) -> None:
    answer = call(FakePlane(), "GET", path)

    policy = answer.headers["content-security-policy"]
    assert answer.headers.get_list("content-type") == [content_type]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_every_file_the_page_names_is_served() -> None:
    plane = FakePlane()
    page = call(plane, "GET", "/").text
    named = set(re.findall(r'(?:src|href)="(live/[^"]+)"', page))
    for script in ("page.js", "charts.js", "tables.js"):
        text = call(plane, "GET", f"/live/{script}").text
        named |= {f"live/{name}" for name in re.findall(r'from "\./([^"]+)"', text)}

    statuses = {name: call(plane, "GET", f"/{name}").status_code for name in named}

    assert len(statuses) >= 8
    assert set(statuses.values()) == {200}


def test_the_page_has_nothing_inline_and_nothing_from_elsewhere() -> None:
    page = call(FakePlane(), "GET", "/").text

    assert not re.search(r"https?:|//", page.replace("<!doctype html>", ""))
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*src=)", page)


@pytest.mark.parametrize("path", ["/live/nope.js", "/live/../settings.py", "/live/vendor/"])
def test_only_the_pages_own_files_are_served(path: str) -> None:
    answer = call(FakePlane(), "GET", path)

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_the_licence_of_the_vendored_chart_library_is_kept() -> None:
    text = (live_page() / "vendor" / "uPlot.LICENSE").read_text()

    assert "MIT" in text
