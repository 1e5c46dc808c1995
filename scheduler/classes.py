"""To which class of a fleet's endpoints a request goes: the lowest that serves it well.

A class is strained for a request where none of its endpoints is likely to meet the
request's objective, or without one a bound on its TTFT, where it would break what others
there were promised, or where none can start it. Such a request goes to the next class, if
all together do better then. Candidates are always those of one
class: neither a conversation nor a cache brings a request back to a class above, once the
one below serves it. Called by the placement, and only where a fleet has standby endpoints.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from predictor.features import COLUMN
from predictor.types import Decision, Objective, SpillReason
from predictor.values import replace
from scheduler.endpoint_table import Members
from scheduler.kernels import closed
from scheduler.live import LiveRequest
from scheduler.objectives import SAME_HARM, Held, Infeasible
from scheduler.saturation import FULL_KV, MOST_HARM, RELEASE_REQUESTS
from scheduler.wishes import objective_left

Decided = Decision | Infeasible | Held

Decide = Callable[[Members], Decided]
"""Decide among some endpoints."""

_NONE: Final = -1e9  # below every probability less the promises broken
_QUEUED: Final = COLUMN["queued_requests"]


def by_class(live: LiveRequest, members: Members, decide: Decide, now: float) -> Decided:
    """Decide among the endpoints of the lowest class that is not strained.

    Args:
        live: The request.
        members: Where it may go.
        decide: Decides among some of them.
        now: Clock in seconds.

    Returns:
        What was decided for that class; where all are strained, for the one with the best
        chance, the lowest of those about equal.
    """
    first: Decided | None = None
    best: Decided | None = None
    best_chance = _NONE
    why: SpillReason = "lower_down" if live.request.allowed_endpoints is None else "asked_for"
    for priority_class in sorted(set(members.classes)):
        found = decide(members.of_class(priority_class))
        strained, chance = _strain(live, found, priority_class, now)
        if isinstance(found, Decision):
            if priority_class:
                found = replace(found, priority_class=priority_class, spilled=why)
            if strained is None:
                return found
            if chance > best_chance + SAME_HARM:
                best, best_chance = found, chance
        first = first or found
        if not live.tier.standby:
            break
        why = strained or why
    return best or first or Held(reason="no_endpoint")


def _strain(
    live: LiveRequest, found: Decided, priority_class: int, now: float
) -> tuple[SpillReason | None, float]:
    """Say why a class does not serve a request well, ``None`` where it does, and its chance."""
    if isinstance(found, Infeasible):
        return "objective", _NONE
    if isinstance(found, Held):
        return "promises" if found.reason == "objectives_at_risk" else "endpoints_full", _NONE
    if found.reason == "session":  # it has to stay where it is
        return None, 1.0
    standby, said = live.fleet.standby, found.predictions
    blind = said is None or said.layer == "cold"
    if _nowhere(found, blind=blind):
        return "endpoints_full", 0.0
    if said is None or blind:
        return None, 1.0
    objective = objective_left(live.objective, live.request.arrived_s, now)
    if not live.wants:
        objective = Objective(ttft_s=standby.settings.ttft_s)
    bound = _scaled(objective, standby.ratio(priority_class, now))
    chance = float(live.fleet.predictor.probability(said, bound).max())
    if chance < live.tier.confidence or found.reason == "objective_unmet":
        return "objective" if live.wants else "predicted_ttft", chance - (found.broken or 0.0)
    if found.broken is not None and found.broken > MOST_HARM:
        return "promises", chance - found.broken
    return None, chance


def _nowhere(found: Decision, *, blind: bool) -> bool:
    """Say whether no endpoint of a class would start a request soon."""
    features = found.features
    full = np.empty(len(features), np.bool_)
    if closed(features, FULL_KV, full) == len(features):
        return True
    # Without predictions requests without a token tell of a backlog, as where queues are let go.
    return blind and bool((features[:, _QUEUED] >= RELEASE_REQUESTS).all())


def _scaled(objective: Objective, ratio: float) -> Objective:
    """Give a share of an objective.

    >>> _scaled(Objective(ttft_s=2.0), 0.5)
    Objective(ttft_s=1.0, tpot_s=None)
    """
    ttft_s, tpot_s = objective.ttft_s, objective.tpot_s
    return Objective(
        ttft_s=None if ttft_s is None else ttft_s * ratio,
        tpot_s=None if tpot_s is None else tpot_s * ratio,
    )
