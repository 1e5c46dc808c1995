"""The audit: what it refuses, and what it says where nobody can be asked."""

import doctest

import pytest

from scripts import audited, licences
from scripts.licences import LOCK, is_allowed, licences_of, locked


@pytest.mark.parametrize("module", [audited, licences], ids=["audited", "licences"])
def test_the_examples_hold(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]  # a module

    assert result.attempted > 0
    assert result.failed == 0


def test_every_package_of_the_image_that_is_here_may_be_passed_on() -> None:
    found = licences_of(locked(LOCK.read_text()))

    assert len(found) > 30
    assert {name: told for name, told in found.items() if not is_allowed(told)} == {}


@pytest.mark.parametrize(
    "licence",
    ["GPL-3.0-only", "AGPL-3.0", "MIT AND AGPL-3.0", "GNU General Public License v3 (GPLv3)", "?"],
)
def test_what_would_bind_whoever_links_to_it_is_not(licence: str) -> None:
    assert not is_allowed(licence)


def test_a_known_vulnerability_is_named_with_what_mends_it() -> None:
    vuln = {"id": "PYSEC-1", "fix_versions": ["2.0"]}
    told = {"dependencies": [{"name": "a", "version": "1.0", "vulns": [vuln]}]}

    status, lines = audited.judged(told, "pypi")

    assert status == 1
    assert lines[0] == "! a 1.0: PYSEC-1, fixed in 2.0"


def test_where_nothing_could_be_looked_at_it_is_neither_good_nor_bad() -> None:
    told = {"dependencies": [{"name": "a", "skip_reason": "not found"}]}

    assert audited.judged(told, "pypi")[0] == 2
    assert audited.judged({}, "osv")[0] == 2
