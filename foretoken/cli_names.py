"""Names one chooses from at the prompt: checked before anything starts, and completed.

The policies are spelled out, because the policies themselves need the predictor; a test
compares. Everything else is read where it lives, when a shell asks.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

import typer

from foretoken.nearest import did_you_mean

POLICY_NAMES: Final = (
    "bounded_load_hash",
    "least_request",
    "lmetric",
    "lmetric_own",
    "lmetric_speed",
    "power_of_two",
    "predicted_latency",
    "prefix_affinity",
    "prefix_affinity_5s",
    "prefix_affinity_requests",
    "queued_tokens",
    "queued_tokens_speed",
    "radix_cache_aware",
    "random",
    "round_robin",
    "session_affinity",
    "token_load",
    "weighted_blend",
    "weighted_blend_111",
    "weighted_blend_3222",
)


def known_policy(name: str | None) -> str | None:
    """Give the name of a policy back.

    Raises:
        BadParameter: It is none.
    """
    if name is not None and name not in POLICY_NAMES:
        raise typer.BadParameter(_unknown("policy", name, POLICY_NAMES))
    return name


def known_policies(names: list[str] | None) -> list[str] | None:
    """Give the names of policies back, each once.

    Raises:
        BadParameter: One is none.
    """
    return None if names is None else [one for one in dict.fromkeys(names) if known_policy(one)]


def complete_policy(incomplete: str) -> list[str]:
    """Complete the name of a policy."""
    return _beginning(incomplete, POLICY_NAMES)


def complete_workload(incomplete: str) -> list[str]:
    """Complete the name of a workload."""
    from simulator.workloads import workload_names

    return _beginning(incomplete, workload_names())


def complete_fleet(incomplete: str) -> list[str]:
    """Complete the name of a simulated fleet."""
    from simulator.fleets import fleet_names

    return _beginning(incomplete, fleet_names())


def complete_profile(incomplete: str) -> list[str]:
    """Complete the name of a step-time profile."""
    from simulator.profiles import profiles

    return _beginning(incomplete, profiles())


def complete_version(context: typer.Context, incomplete: str) -> list[str]:
    """Complete a version of a model from the store that was named before it."""
    from models_store import ModelsStore, ModelsStoreError, is_url

    folder = context.params.get("store")
    if folder is None or is_url(folder) or not Path(folder).is_dir():
        return []  # a shell does not wait for a network
    store = ModelsStore(Path(folder))
    try:
        fleets = [context.params["fleet"]] if context.params.get("fleet") else store.fleets()
        return _beginning(incomplete, [one for fleet in fleets for one in store.versions(fleet)])
    except ModelsStoreError:
        return []


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _unknown(kind: str, name: str, known: Iterable[str]) -> str:
    return f"no {kind} {name!r}{did_you_mean(name, known)} there are: {', '.join(known)}"
