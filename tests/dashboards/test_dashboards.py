"""What holds for each of the four dashboards, read from the files that people import."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.models.dashboard import Dashboard

from dashboards import grafana
from dashboards.pictures.asked import panels

ROOT = Path(__file__).parents[2]
NAMES = ("fleet-overview", "predicted-actual", "slo-tiers", "model-training")
VARIABLES = ["datasource", "job", "model_name", "endpoint", "tier"]

every_dashboard = pytest.mark.parametrize("name", NAMES)


def path(name: str) -> Path:
    return Path(str(grafana() / f"{name}.json"))


def read(name: str) -> Any:
    return json.loads(path(name).read_text())


def test_there_are_no_others() -> None:
    assert {each.stem for each in path("any").parent.iterdir()} == set(NAMES)


@every_dashboard
def test_grafanas_sdk_reads_back_what_it_wrote(name: str) -> None:
    document = read(name)

    again = Dashboard.from_json(document)

    assert (again.uid, again.title) == (document["uid"], document["title"])
    assert len(again.panels or []) == len(document["panels"])


@every_dashboard
def test_every_panel_has_an_id_of_its_own_and_a_place_where_no_other_is(name: str) -> None:
    document = read(name)

    folded = [p for row in document["panels"] for p in row.get("panels", [])]
    ids = [panel["id"] for panel in [*document["panels"], *folded]]
    opened = [[p["gridPos"] for p in document["panels"]]]
    opened += [[p["gridPos"] for p in row.get("panels", [])] for row in document["panels"]]

    assert len(set(ids)) == len(ids)
    for places in opened:
        for one, other in combinations(places, 2):
            apart = (
                one["x"] + one["w"] <= other["x"]
                or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"]
                or other["y"] + other["h"] <= one["y"]
            )
            assert apart
        assert all(place["x"] + place["w"] <= 24 for place in places)


@every_dashboard
def test_every_panel_is_described_and_asks_the_chosen_source(name: str) -> None:
    for panel in panels(path(name)):
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        assert (
            panel["type"] in {"table", "heatmap", "state-timeline"}
            or (panel["fieldConfig"]["defaults"]["unit"])
        )


@every_dashboard
def test_titles_tell_panels_apart(name: str) -> None:
    titles = [panel["title"] for panel in panels(path(name))]

    assert len(set(titles)) == len(titles)


@every_dashboard
def test_expressions_obey_the_variables_and_use_no_others(name: str) -> None:
    document = read(name)
    offered = [each["name"] for each in document["templating"]["list"]]
    builtin = {"__rate_interval", "__range"}

    assert offered[: len(VARIABLES)] == VARIABLES
    for panel in panels(path(name)):
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"]))
            assert used <= {*offered, *builtin}, panel["title"]
            selected = re.findall(r"foretoken_\w+(?!\w)(\{[^}]*\})?", target["expr"])
            assert all('job=~"$job"' in each for each in selected), panel["title"]


@every_dashboard
def test_it_leads_to_the_others_with_what_was_chosen(name: str) -> None:
    document = read(name)
    uids = {read(each)["uid"] for each in NAMES}

    others = document["links"][0]
    further = [link["url"] for p in panels(path(name)) for link in p.get("links", [])]

    assert (others["type"], others["tags"]) == ("dashboards", document["tags"])
    assert others["includeVars"]
    assert others["keepTime"]
    assert all(re.fullmatch(r"/d/([\w-]+)\?.*", url)[1] in uids for url in further)  # type: ignore[index]  # it matches


@every_dashboard
def test_what_is_predicted_is_dashed_and_nothing_else(name: str) -> None:
    for panel in panels(path(name)):
        overrides = panel.get("fieldConfig", {}).get("overrides", [])
        dashed = any(
            each["id"] == "custom.lineStyle" for o in overrides for each in o["properties"]
        )

        assert dashed == any("predicted" in t["legendFormat"] for t in panel["targets"] if t)


@every_dashboard
def test_it_opens_on_a_time_in_which_something_can_be_seen(name: str) -> None:
    document = read(name)

    assert document["time"] == {"from": "now-1h", "to": "now"}
    assert document["refresh"] == "10s"


def test_the_panels_that_the_runbook_names_are_there() -> None:
    runbook = (ROOT / "docs" / "runbook.md").read_text()

    named = re.findall(r"panel \*([^*]+)\*", runbook)
    titles = {panel["title"] for name in NAMES for panel in panels(path(name))}

    assert named
    assert set(named) <= titles


def test_the_page_about_them_shows_each() -> None:
    page = (ROOT / "docs" / "grafana.md").read_text()
    shown = re.findall(r"!\[.*\]\((\S+)\)", page)

    assert {Path(each).stem for each in shown} == {*NAMES, "fleet-overview-folded"}
    assert all((ROOT / "docs" / each).is_file() for each in shown)
