"""docs/logs.md says what the code logs: every field of a request's line, every event."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from proxy.request_log import RequestLine

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/logs.md").read_text()
FOLDERS = (
    *("predictor", "scheduler", "collectors", "proxy"),
    *("models_store", "foretoken", "dashboards", "simulator"),
)
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
# Chosen by a condition at the call.
NAMED_ELSEWHERE = {"request_finished", "endpoint_up", "endpoint_down"}
ENVELOPE = {"time", "level", "logger", "event"}


def logged() -> Iterator[tuple[Path, ast.Call]]:
    """Give every call of a logger."""
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in LEVELS
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id in {"log", "logger"}
                ):
                    yield path, node


def table(heading: str) -> list[str]:
    """Give the first column of the table under a heading."""
    text = PAGE.split(f"\n### {heading}\n", 1)[1].split("\n#", 1)[0]
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def test_every_field_of_a_requests_line_is_on_the_page() -> None:
    assert table("`request_finished`") == list(RequestLine.__struct_fields__)


def test_every_event_is_on_the_page_and_no_other() -> None:
    events = set(NAMED_ELSEWHERE)
    for _, call in logged():
        at = call.args[call.func.attr == "log"]  # type: ignore[attr-defined]  # a logger's method
        if isinstance(at, ast.Constant):
            events.add(at.value)

    assert sorted({*table("All other events"), "request_finished"}) == sorted(events)


def test_no_field_takes_the_place_of_what_every_line_has() -> None:
    taken = [
        (path.name, key.value)
        for path, call in logged()
        for word in call.keywords
        if word.arg == "extra"
        for node in ast.walk(word.value)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and key.value in ENVELOPE
    ]

    assert taken == []
