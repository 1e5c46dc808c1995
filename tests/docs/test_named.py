"""What the pages tell people to type exists: commands, modules, make targets, files."""

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from tests.docs.named import ROOT, check_command, code_lines, commands, texts

PAGES = [(ROOT / "README.md").read_text("utf-8"), *texts(ROOT / "docs").values()]
LINES = list(code_lines(PAGES))


@pytest.mark.parametrize("words", commands(PAGES), ids=" ".join)
def test_every_command_and_option_exists(words: list[str]) -> None:
    check_command(words)


def test_every_module_to_be_run_exists() -> None:
    named = {name for line in LINES for name in re.findall(r"python -m ([a-z_.]+[a-z_])", line)}

    assert named
    assert [name for name in sorted(named) if find_spec(name) is None] == []


def test_every_target_of_make_exists() -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)

    named = {name for line in LINES for name in re.findall(r"^make ([a-z][a-z-]+)", line)}

    assert named
    assert named <= set(targets)


def test_every_script_exists() -> None:
    named = {name for line in LINES for name in re.findall(r"\bscripts/[\w./]+\w", line)}

    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_link_of_the_readme_leads_to_something() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGES[0])

    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_panel_and_dashboard_of_the_runbook_exists() -> None:
    boards = [
        json.loads(path.read_text("utf-8")) for path in (ROOT / "dashboards/grafana").iterdir()
    ]
    titles = {each.get("title") for board in boards for each in (board, *panels(board))}

    runbook = (ROOT / "docs" / "runbook.md").read_text("utf-8")
    named = set(re.findall(r"(?:panel|dashboard) \*([^*]+)\*", runbook))

    assert named
    assert named - titles == set()


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give the panels of a dashboard, those of folded rows among them."""
    for panel in board.get("panels", ()):
        yield panel
        yield from panels(panel)
