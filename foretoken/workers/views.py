"""Make one answer of the control plane out of every worker's, as JSON.

The first answer is that of the worker that was asked; what is the same everywhere is its.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

# JSON of the control plane's schemas, which this does not parse but merge.
Json = Any

_ADD_UP: Final = (
    "inflight_requests",
    "queued_requests",
    "queued_prefill_tokens",
    "inflight_tokens",
)
_TIMES: Final = ("ttft_s", "predicted_ttft_s", "tpot_s", "predicted_tpot_s")
_COMPARED: Final = ("requests", "same", "chosen_s", "shadow_s")
SNAPSHOT_DECISIONS: Final = 25


def merged(kind: str, answers: Sequence[bytes], *, limit: int = SNAPSHOT_DECISIONS) -> bytes:
    """Merge answers to one question.

    Args:
        kind: ``decisions``, ``endpoints``, ``routers`` or ``snapshot``.
        answers: At least one.
        limit: Decisions wanted.
    """
    bodies: list[Json] = [json.loads(answer) for answer in answers]
    merge: dict[str, Callable[[], Json]] = {
        "decisions": lambda: decisions(bodies, limit),
        "endpoints": lambda: endpoints(bodies),
        "routers": lambda: routers(bodies),
        "snapshot": lambda: snapshot(bodies),
    }
    return json.dumps(merge[kind]()).encode()


def decisions(bodies: Sequence[Json], limit: int) -> Json:
    """Give the last finished of all, the last first."""
    every = [decision for body in bodies for decision in body]
    every.sort(key=lambda decision: -float(decision["result"]["finished_at_s"]))
    return every[:limit]


def endpoints(bodies: Sequence[Json]) -> Json:
    """Add up what workers have in flight; errors are the mean of those that know one.

    Each worker has a circuit breaker of its own: an endpoint that any leaves alone shows so.

    >>> rows = [{"endpoint": "a:1", "suspicion": None, "inflight_requests": 2, "queued_requests": 1,
    ...          "queued_prefill_tokens": 5.0, "inflight_tokens": 9.0,
    ...          "ttft_error_ratio": 0.25, "tpot_error_ratio": None}]
    >>> both = endpoints([rows, rows])[0]
    >>> both["inflight_requests"], both["ttft_error_ratio"], both["tpot_error_ratio"]
    (4, 0.25, None)
    """
    elsewhere = [{row["endpoint"]: row for row in body} for body in bodies[1:]]
    found = []
    for row in bodies[0]:
        every = [row, *(rows[row["endpoint"]] for rows in elsewhere if row["endpoint"] in rows)]
        sums = {name: sum(one[name] for one in every) for name in _ADD_UP}
        means = {
            name: _mean([(one[name], 1) for one in every])
            for name in ("ttft_error_ratio", "tpot_error_ratio")
        }
        suspicion = next((one["suspicion"] for one in every if one["suspicion"]), None)
        found.append({**row, **sums, **means, "suspicion": suspicion})
    return found


def routers(bodies: Sequence[Json]) -> Json:
    """Say that we stand with other routers where every worker does, and who any of them knows.

    >>> here = {"name": "b", "heard_age_s": 0.1, "same_store": True, "training": False}
    >>> one = {"connected": True, "problem": None, "training": True, "others": [here]}
    >>> other = {"connected": False, "problem": "timeout", "training": False, "others": []}
    >>> whole = routers([one, other])
    >>> whole["connected"], whole["problem"], whole["training"], len(whole["others"])
    (False, 'timeout', True, 1)
    """
    by_name: dict[str, list[Json]] = {}
    for row in (row for body in bodies for row in body["others"]):
        by_name.setdefault(row["name"], []).append(row)
    others = [
        {
            "name": name,
            "heard_age_s": max(one["heard_age_s"] for one in every),
            "same_store": all(one["same_store"] for one in every),
            "training": any(one["training"] for one in every),
        }
        for name, every in sorted(by_name.items())
    ]
    apart = next((body for body in bodies if not body["connected"]), bodies[0])
    training = any(body["training"] for body in bodies)
    connection = {"connected": apart["connected"], "problem": apart["problem"]}
    return {**bodies[0], **connection, "training": training, "others": others}


def snapshot(bodies: Sequence[Json]) -> Json:
    """Merge snapshots of the live page."""
    since = [body["since_at_s"] for body in bodies if body["since_at_s"] is not None]
    every_point = [point for body in bodies for point in body["points"]]
    return {
        **bodies[0],
        "requests": sum(body["requests"] for body in bodies),
        "since_at_s": min(since, default=None),
        "models": models([body["models"] for body in bodies]),
        "tiers": tiers([body["tiers"] for body in bodies]),
        "trials": trials([body["trials"] for body in bodies]),
        "points": sorted(every_point, key=lambda point: float(point["at_s"])),
        "endpoints": endpoints([body["endpoints"] for body in bodies]),
        "decisions": decisions([body["decisions"] for body in bodies], SNAPSHOT_DECISIONS),
        "series": series([body["series"] for body in bodies]),
    }


def models(bodies: Sequence[Json]) -> Json:
    """Say that the trainer runs where it runs at any: at the worker that leads.

    >>> led, other = ({"model": "m", "training": {"alive": alive}} for alive in (True, False))
    >>> models([[other], [led]])[0]["training"], models([[other], []])[0]["training"]
    ({'alive': True}, {'alive': False})
    """
    alive = any(row["training"]["alive"] for body in bodies for row in body)
    return [{**row, "training": {**row["training"], "alive": alive}} for row in bodies[0]]


def tiers(bodies: Sequence[Json]) -> Json:
    """Add up what came of each tier and who waits; a tenant is one at however many workers.

    >>> row = {"tier": "batch", "judged": 3, "met": 2, "waiting": 1, "tenants": [7],
    ...        "oldest_s": 2.0}
    >>> idle = {**row, "waiting": 0, "tenants": [], "oldest_s": None}
    >>> both, gone = tiers([[row], [idle, {**row, "tier": "gone"}]])
    >>> both["judged"], both["met"], both["waiting"], both["tenants"], both["oldest_s"]
    (6, 4, 1, [7], 2.0)
    >>> gone["tier"], gone["waiting"]
    ('gone', 1)
    """
    by_tier: dict[str, list[Json]] = {}
    for row in (row for body in bodies for row in body):  # one may still have what a reload took
        by_tier.setdefault(row["tier"], []).append(row)
    found = []
    for every in by_tier.values():
        oldest_s = [one["oldest_s"] for one in every if one["oldest_s"] is not None]
        sums = {name: sum(one[name] for one in every) for name in ("judged", "met", "waiting")}
        tenants = sorted({tenant for one in every for tenant in one["tenants"]})
        found.append(
            {**every[0], **sums, "tenants": tenants, "oldest_s": max(oldest_s, default=None)}
        )
    return found


def trials(bodies: Sequence[Json]) -> Json:
    """Add up the comparisons with each policy in shadow."""
    found: dict[tuple[str, str, str], Json] = {}
    for row in (row for body in bodies for row in body):
        key = row["model"], row["policy"], row["shadow"]
        before = found.setdefault(key, {**row, **dict.fromkeys(_COMPARED, 0)})
        found[key] = {**before, **{name: before[name] + row[name] for name in _COMPARED}}
    return [found[key] for key in sorted(found)]


def series(bodies: Sequence[Json]) -> Json:
    """Add up seconds; their means count by their requests."""
    by_second: dict[float, list[Json]] = {}
    for body in bodies:
        for second in body:
            by_second.setdefault(second["at_s"], []).append(second)
    return [
        {
            "at_s": at_s,
            "requests": sum(one["requests"] for one in every),
            "failed": sum(one["failed"] for one in every),
            **{name: _mean([(one[name], one["requests"]) for one in every]) for name in _TIMES},
        }
        for at_s, every in sorted(by_second.items())
    ]


def _mean(values: Sequence[tuple[float | None, float]]) -> float | None:
    """Give the weighted mean of what is known, ``None`` for nothing."""
    known = [(value, weight) for value, weight in values if value is not None and weight]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None
