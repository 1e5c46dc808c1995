import json
import re

import pytest

from dashboards import live_page
from predictor.values import replace
from proxy.control import ControlSettings, TooManyPages
from proxy.control.live import Pages
from proxy.control.page_views import Snapshots
from scheduler import Standing
from tests.proxy.control.fakes import EPOCH_S, MODEL, FakePlane, call, decision, record, shed_record

QUICK = ControlSettings(snapshot_interval_s=0.1)


class Ticking:
    """A clock that goes on by a tenth of a second with each look."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        self.now += 0.1
        return self.now


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
    assert event["interval_s"] == 0.1
    assert (event["requests"], event["since_at_s"]) == (1, EPOCH_S + 905.5)
    assert len(event["endpoints"]) == 2
    assert event["typical"][0]["output_tokens"] == 150
    assert event["deciding"][0]["reason"] == "predicted"
    assert event["models"][0]["version"] == "20261121T103000-4f2a"
    assert event["decisions"][0]["request_id"] == "r-1"
    assert "candidates" not in event["decisions"][0]
    assert event["series"] == [
        {
            "at_s": EPOCH_S + 905.0,
            "requests": 1,
            "failed": 0,
            "ttft_s": 0.125,
            "predicted_ttft_s": 0.1,
            "tpot_s": 0.02,
            "predicted_tpot_s": 0.02,
        }
    ]


def test_a_decision_says_how_far_ahead_of_the_next_best_it_was() -> None:
    plane = FakePlane()
    plane.history.add(record("r-1"))

    (event,) = events_of(plane)

    row = event["decisions"][0]
    assert (row["tier"], row["choices"], row["runner_up"]) == ("standard", 2, "10.0.0.2:8000")
    assert row["ahead"] == pytest.approx(1.2)


def test_points_have_what_was_predicted_and_what_came() -> None:
    plane = FakePlane()
    plane.history.add(record("r-1", finished_s=905.5))
    plane.history.add(shed_record())

    (event,) = events_of(plane)

    (point,) = event["points"]
    assert point["at_s"] == EPOCH_S + 905.5
    assert (point["predicted_ttft_s"], point["ttft_s"]) == (0.1, 0.125)
    assert point["ttft_p90_s"] == pytest.approx(0.15)


def test_tiers_say_what_was_kept_and_who_waits() -> None:
    plane = FakePlane()
    for name, ttft_s in (("met", 0.1), ("missed", 0.9)):
        one = record(name, ttft_s=ttft_s)
        plane.history.add(replace(one, request=replace(one.request, tier="interactive")))
    for tenant, waited_s in (("a", 1.5), ("a", 0.5), ("b", 0.1)):
        since_s = plane.now() - waited_s
        plane.queue.append(Standing(MODEL, "batch", "endpoints_full", since_s, tenant))

    (event,) = events_of(plane)

    standard, interactive, batch = event["tiers"]
    assert (standard["judged"], standard["waiting"], standard["oldest_s"]) == (0, 0, None)
    assert (interactive["judged"], interactive["met"], interactive["ttft_s"]) == (2, 1, 0.5)
    assert (batch["waiting"], len(batch["tenants"]), batch["oldest_s"]) == (3, 2, 1.5)


def test_those_who_wait_in_a_tier_that_a_reload_took_away_still_show() -> None:
    plane = FakePlane()
    plane.queue.append(Standing(MODEL, "gone", "endpoints_full", plane.now(), None))

    (event,) = events_of(plane)

    assert [tier["tier"] for tier in event["tiers"]] == [*plane.tiers, "gone"]
    assert (event["tiers"][-1]["waiting"], event["tiers"][-1]["ttft_s"]) == (1, None)


def test_policies_in_shadow_are_compared_with_those_that_decided() -> None:
    plane = FakePlane()
    for same, shadow_s in ((True, 1.0), (False, 1.5)):
        made = replace(
            decision(), shadow_chosen=0 if same else 1, shadow_policy="lmetric",
            predicted_s=1.0, shadow_predicted_s=shadow_s,
        )  # fmt: skip
        plane.history.add(record(str(shadow_s), made=made))

    (event,) = events_of(plane)

    (trial,) = event["trials"]
    assert (trial["policy"], trial["shadow"]) == ("predicted_latency", "lmetric")
    assert (trial["requests"], trial["same"]) == (2, 1)
    assert (trial["chosen_s"], trial["shadow_s"]) == (2.0, 2.5)


def test_pages_that_look_at_the_same_time_share_what_is_costly() -> None:
    plane = FakePlane(now=1000.5)
    plane.snapshots_left = 1_000
    plane.history.add(record("old", finished_s=905.5))
    snapshots = Snapshots(plane, interval_s=1.0)

    first, second = snapshots.since(float("-inf")), snapshots.since(1000.0)

    assert first.endpoints is second.endpoints
    assert (len(first.series), len(second.series)) == (1, 0)
    assert plane.snapshots_left == 999


def test_a_page_too_many_is_refused_and_told_why() -> None:
    plane = FakePlane()
    pages = Pages(1)

    with pages.opened():
        full = pages.full

    assert full
    assert not pages.full
    assert "control.max_pages" in TooManyPages(1).message
    assert plane.snapshots_left == 1


def test_later_snapshots_carry_only_what_changed_of_the_series() -> None:
    plane = FakePlane(clock=Ticking(1000.5))
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
    for script in ("page.js", "charts.js", "decisions.js", "verdict.js"):
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
