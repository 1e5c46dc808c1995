"""The agent skill has the open form, and all that it names exists.

Commands are held against the command line, routes and metrics against a running router,
alerts against the rules.

Source of the form: the Agent Skills specification, agentskills.io/specification.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from dashboards.alerts import ALERTS
from foretoken.processes import free_ports
from tests.docs.named import SKILL, check_command, code_lines, commands, texts
from tests.foretoken.running import Running

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: it comes with foretoken[docs]")

TEXTS = texts(SKILL)
MAIN = TEXTS[Path("SKILL.md")]
FIELDS = {"name", "description", "license", "compatibility", "metadata", "allowed-tools"}
SUFFIX = re.compile(r"_(bucket|sum|count|total)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A running router before one simulated endpoint."""

    url: str
    routes: frozenset[str]
    metrics: frozenset[str]


@pytest.fixture(scope="module")
def router(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    engine, port = free_ports(2)
    with Running(tmp_path_factory.mktemp("router")) as running:
        running.start_endpoint("engine", engine)
        endpoint = f"http://127.0.0.1:{engine}"
        running.start("router", "serve", "--endpoint", endpoint, "--port", str(port))
        url = f"http://127.0.0.1:{port}"
        running.until("router", f"{url}/ready", "ready")
        page = httpx.get(f"{url}/metrics").text
        described = httpx.get(f"{url}/foretoken/openapi.json").json()
        yield Router(
            url=url,
            routes=frozenset(described["paths"]) | {"/foretoken/"},
            metrics=frozenset(
                SUFFIX.sub("", name) for name in re.findall(r"^# TYPE (\S+)", page, re.MULTILINE)
            ),
        )


def front_matter() -> dict[str, Any]:
    """Give what stands between the first two lines of dashes."""
    opening, matter, _ = MAIN.split("---\n", 2)
    assert opening == ""
    found: dict[str, Any] = yaml.safe_load(matter)
    return found


def test_the_front_matter_keeps_the_rules_of_the_form() -> None:
    matter = front_matter()

    assert set(matter) <= FIELDS
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", matter["name"])
    assert len(matter["name"]) <= 64
    assert matter["name"] == SKILL.name
    assert 0 < len(matter["description"]) <= 1024
    assert 0 < len(matter["compatibility"]) <= 500
    assert all(isinstance(value, str) for value in matter["metadata"].values())


def test_what_is_read_first_is_short_and_leads_to_files_that_exist() -> None:
    links = [
        (folder / target.partition("#")[0], target.partition("#")[2])
        for folder, text in ((path.parent, text) for path, text in TEXTS.items())
        for target in re.findall(r"\]\(([^)]+)\)", text)
        if not target.startswith("#")
    ]

    assert len(MAIN.splitlines()) < 500
    assert links
    for path, anchor in links:
        assert path in TEXTS
        titles = re.findall(r"^#+ (.+)$", TEXTS[path], re.MULTILINE)
        slugs = [re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles]
        assert not anchor or anchor in slugs
    assert all(len(path.parts) <= 2 for path in TEXTS)


@pytest.mark.parametrize("words", commands(TEXTS.values()), ids=" ".join)
def test_every_command_and_option_exists(words: list[str]) -> None:
    check_command(words)


def test_every_route_exists(router: Router) -> None:
    named = {
        re.split(r"[?\s`\"')]", path)[0]
        for line in code_lines(TEXTS.values())
        for path in re.findall(r"/foretoken/\S*", line)
        if "http://" not in path and "..." not in path
    }
    patterns = [re.sub(r"\{\w+\}", "[^/]+", route) for route in router.routes]

    missing = [path for path in named if not any(re.fullmatch(p, path) for p in patterns)]

    assert len(named) > 8
    assert missing == []


def test_every_metric_exists(router: Router) -> None:
    named = {
        name
        for line in code_lines(TEXTS.values())
        for name in re.findall(r"\bforetoken_[a-z0-9_]+", line)
    }

    missing = {name for name in named if SUFFIX.sub("", name) not in router.metrics}

    assert len(named) > 20
    assert missing == set()


def test_every_alert_exists() -> None:
    named = {
        name
        for line in code_lines(TEXTS.values())
        for name in re.findall(r"\bForetoken[A-Z]\w+", line)
    }

    assert named
    assert named <= {alert.name for alert in ALERTS}


def test_the_snapshot_takes_everything_a_running_router_tells(
    router: Router, tmp_path: Path
) -> None:
    taken = subprocess.run(
        [SKILL / "scripts" / "snapshot.sh", router.url, tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (taken.returncode, taken.stderr) == (0, "")
    answers = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert json.loads(answers["ready.json"])["status"] == "ready"
    assert len(json.loads(answers["endpoints.json"])) == 1
    assert "foretoken_endpoint_up" in answers["metrics.txt"]


def test_a_snapshot_of_nothing_says_so(tmp_path: Path) -> None:
    (port,) = free_ports(1)

    taken = subprocess.run(
        [SKILL / "scripts" / "snapshot.sh", f"http://127.0.0.1:{port}", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert taken.returncode == 1
    assert "/ready: no answer" in taken.stderr
