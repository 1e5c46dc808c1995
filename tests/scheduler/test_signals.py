"""Policies say what they read, and the documentation says the same."""

import re
from pathlib import Path
from typing import get_args

import pytest

from scheduler import (
    POLICIES,
    MissingSignal,
    SchedulerSettings,
    Signal,
    build_policy,
    check_signals,
)

PAGE = Path(__file__).parents[2] / "docs" / "policies.md"
EVERY: frozenset[Signal] = frozenset(get_args(Signal))
WITHOUT_SESSIONS = EVERY - {"sessions"}


def documented() -> dict[str, set[str]]:
    """Read the policies' table: the names of a row's first column and the third column."""
    found: dict[str, set[str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        names = re.findall(r"`(\w+)`", cells[1]) if len(cells) == 6 else []
        for name in names:
            found[name] = set(re.findall(r"`(\w+)`", cells[3]))
    return found


def test_the_documentation_names_what_every_policy_needs() -> None:
    needs = {name: set(build_policy(settings).needs) for name, settings in POLICIES.items()}

    assert documented() == needs


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_lacks_nothing_as_the_service_is_built(name: str) -> None:
    check_signals(SchedulerSettings.model_validate({"policy": name}), WITHOUT_SESSIONS)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"policy": "session_affinity"}, "policy"),
        ({"fallback": "session_affinity"}, "fallback"),
        ({"shadow": "session_affinity"}, "shadow"),
        ({"canary": {"policy": "session_affinity", "share": 0.1}}, "canary.policy"),
        ({"models": {"m": {"policy": "session_affinity"}}}, "models.m.policy"),
    ],
)
def test_a_policy_that_hashes_sessions_cannot_go_without_them(
    settings: dict[str, object], path: str
) -> None:
    off = SchedulerSettings.model_validate({"session": "off", **settings})

    with pytest.raises(MissingSignal) as refused:
        check_signals(off, WITHOUT_SESSIONS)

    assert refused.value.path == path
    assert refused.value.missing == ("sessions",)


def test_a_model_that_has_sessions_of_its_own_may_hash_them() -> None:
    models = {"m": {"policy": "session_affinity", "session": "strict"}}

    check_signals(
        SchedulerSettings.model_validate({"session": "off", "models": models}), WITHOUT_SESSIONS
    )
