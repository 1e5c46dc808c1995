"""The page on security names tests that there are, and settings as they are."""

import re
from pathlib import Path

import pytest

from foretoken.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)`(?: \*([\w ]+)\*)?", PAGE)))


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[f"{p}::{n}" for p, n in NAMED])
def test_a_test_that_holds_a_promise_is_there(path: str, name: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")

    wanted = f"def test_{name.replace(' ', '_')}(" if name else "def test_"

    assert wanted in text


def test_every_bound_names_a_test() -> None:
    rows = PAGE.split("## Bounds")[1].split("\n\n")[1].splitlines()[2:]

    assert len(rows) > 20
    assert [row for row in rows if "`tests/" not in row.rsplit("|", 2)[1]] == []


def test_the_defaults_it_tells_are_those_there_are() -> None:
    settings = Settings()
    told = {
        "64 KiB": (settings.proxy.max_head_bytes, settings.proxy.upstream.max_head_bytes),
        "64 MiB": (settings.proxy.max_body_bytes, settings.proxy.response_cache.max_bytes),
        "16 MiB": (settings.control.predictor.max_body_bytes, settings.kv_events.max_event_bytes),
        "8 MiB": (settings.scrape.max_page_bytes,),
        "256 MiB": (settings.scheduler.max_waiting_bytes,),
    }
    units = {"KiB": 2**10, "MiB": 2**20}

    for text, values in told.items():
        number, unit = text.split()
        assert text in PAGE
        assert set(values) == {int(number) * units[unit]}, text
    assert f"`proxy.max_headers` ({settings.proxy.max_headers})" in PAGE
