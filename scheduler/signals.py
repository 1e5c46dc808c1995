"""Refuse a configuration in which a policy lacks what it reads.

Policies declare the signals they need (``Policy.needs``); whoever composes the service
knows which are produced. A signal that goes missing while running degrades by the rule in
``docs/policies.md`` instead. Called when a configuration is read.
"""

from collections.abc import Iterator

from scheduler.candidates import Signal
from scheduler.errors import MissingSignal
from scheduler.policies import build_policy
from scheduler.settings import FleetSettings, PolicySettings, SchedulerSettings, SessionMode


def check_signals(settings: SchedulerSettings, produced: frozenset[Signal]) -> None:
    """Check that every policy that may come to decide or to be scored has what it needs.

    Args:
        settings: Name the policies, and whether sessions count.
        produced: What there is, sessions apart.

    Raises:
        MissingSignal: One lacks something.

    >>> check_signals(SchedulerSettings(), frozenset({"own_load", "predictions"}))
    Traceback (most recent call last):
    ...
    scheduler.errors.MissingSignal: policy: predicted_latency needs prefix_matches, which ...
    """
    for path, policy, session in _policies(settings):
        there = produced if session == "off" else produced | {"sessions"}
        built = build_policy(policy)
        missing = sorted(built.needs - there)
        if missing:
            raise MissingSignal(path, built.name, tuple(missing))


def _policies(settings: SchedulerSettings) -> Iterator[tuple[str, PolicySettings, SessionMode]]:
    """Give every policy the settings name, where it stands, and what sessions count there."""
    sections: list[tuple[str, SchedulerSettings | FleetSettings, SessionMode]]
    sections = [("", settings, settings.session)]
    for model, own in settings.models.items():
        sections.append((f"models.{model}.", own, own.session or settings.session))
    for path, section, session in sections:
        named = {
            "policy": section.policy,
            "fallback": section.fallback,
            "shadow": section.shadow,
            "canary.policy": None if section.canary is None else section.canary.policy,
        }
        for field, policy in named.items():
            if policy is not None:
                yield path + field, policy, session
