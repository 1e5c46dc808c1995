"""The page of metrics says what the registry says, and nothing else."""

import re
from pathlib import Path

import pytest

from dashboards.catalogue import Family, families
from dashboards.metrics_page import Ungrouped, metrics_page

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)


def test_every_metric_is_on_the_page_once_and_every_one_there_exists() -> None:
    known = families()

    rows = ROW.findall(PAGE.read_text())

    assert sorted(name for name, _, _ in rows) == [family.name for family in known]


def test_the_page_says_types_and_labels_as_they_are() -> None:
    rows = {
        name: (kind, re.findall(r"`(\w+)`", labels))
        for name, kind, labels in ROW.findall(PAGE.read_text())
    }

    assert rows == {family.name: (family.kind, list(family.labels)) for family in families()}


def test_every_family_says_what_it_means() -> None:
    assert [family.name for family in families() if len(family.text) < 10] == []


def test_a_family_that_belongs_nowhere_is_an_error() -> None:
    stray = Family(name="foretoken_stray", kind="gauge", labels=(), text="A stray.")

    with pytest.raises(Ungrouped, match="foretoken_stray"):
        metrics_page([stray])
