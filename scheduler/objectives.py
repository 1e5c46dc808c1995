"""Objectives: where a request's own and those of others are likely to be met.

Feasible is an endpoint that meets the request's TTFT and TPOT objective with at least the
confidence of its tier. Of the feasible ones those count that break hardly more promises
than the best, and among them the tier's strategy decides. Where none is feasible, the
request goes where it and others miss least, or is refused if its tier may be. A request
without an objective waits where it would break promises, for it is promised nothing.
Called by the decider only.
"""

from typing import Final

import msgspec
import numpy as np

from predictor.types import Decision, FloatArray, Objective, Predictions, RequestRecord
from scheduler.actions import WaitReason
from scheduler.candidates import Candidates
from scheduler.endpoint_table import Rows
from scheduler.kernels import BoolArray
from scheduler.ladder import Reason
from scheduler.live import LiveRequest
from scheduler.ranking import Order
from scheduler.saturation import (
    MOST_HARM,
    MOST_PRESSURE,
    Placing,
    backlogged,
    crowded,
    full,
    harm,
)
from scheduler.settings import TierSettings
from scheduler.wishes import objective_left

LEAST_RETRY_S: Final = 1.0

# Broken promises that make no difference between two endpoints: the prediction's own error.
SAME_HARM: Final = 0.05


class Infeasible(msgspec.Struct, frozen=True, kw_only=True):
    """Say that no endpoint meets the objective of a request that may be refused.

    Attributes:
        retry_after_s: Predicted time until one might.
    """

    retry_after_s: float


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """Say that a request had better wait.

    Attributes:
        reason: Why.
        prefill_token_s: Seconds a prompt token takes at the best endpoint, to weigh the
            request by; ``None`` where nothing is predicted.
        tpot_s: Seconds an output token takes, likewise.
        dispatches_per_s: Requests the fleet takes in a second at present.
    """

    reason: WaitReason
    prefill_token_s: float | None = None
    tpot_s: float | None = None
    dispatches_per_s: float = 0.0


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """Say where a request goes.

    Attributes:
        order: All candidates, best first.
        reason: Why in this order.
        likely: ``(n,)`` probability that each meets the objective, ``None`` without one.
    """

    order: Order
    reason: Reason
    likely: FloatArray | None = None


class _Odds(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what a request would meet and break at ``n`` endpoints.

    Attributes:
        predicted: What was predicted.
        likely: ``(n,)`` probability that its own objective is met.
        broken: ``(n,)`` promises to others it would break, ``None`` for none anywhere.
        closed: ``(n,)`` where it would not start soon or must not go, ``None`` for nowhere.
    """

    predicted: Predictions
    likely: FloatArray
    broken: FloatArray | None
    closed: BoolArray | None


def place(
    live: LiveRequest,
    candidates: Candidates,
    order: Order,
    *,
    rows: Rows,
    placing: Placing,
    now: float,
) -> Placed | Held | Infeasible:
    """Put the endpoints the request should go to first, or say why to none.

    Args:
        live: The request.
        candidates: The endpoints.
        order: All of them, cheapest first.
        rows: Where they stand in the table.
        placing: Whether it may still be told to wait.
        now: Clock in seconds.
    """
    closed = _closed(candidates, placing)
    if closed is not None and closed.all():
        return held(candidates, "endpoints_full")
    predicted, fleet = candidates.predictions, live.fleet
    if predicted is None:
        return Placed(order=_first(order, closed), reason="predicted")
    above = fleet.promises.any_above(live.priority)
    kept_free = None
    if above:
        kept_free = fleet.reserve.barred(
            candidates, rows, fleet.pressure, priority=live.priority, now=now
        )
        closed = _or(closed, kept_free)
        if closed is not None and closed.all():  # what it may use is full
            if placing != "at_once":
                return held(candidates, "objectives_at_risk")
            closed = kept_free
    broken = _broken(live, candidates, predicted, rows)
    if live.objective:
        objective = objective_left(live.objective, live.request.arrived_s, now)
        likely = fleet.predictor.probability(predicted, objective)
        odds = _Odds(predicted=predicted, likely=likely, broken=broken, closed=closed)
        return _by_objective(live.tier, objective, order, odds)
    if placing != "at_once":
        away = _harmful(broken)
        if above:
            away = _or(away, _kept_away(live, candidates, now))
        if away is not None and (away if closed is None else away | closed).all():
            return held(candidates, "objectives_at_risk")
        # Where it has just come, its cost counts the wait for room already.
        closed = _or(kept_free if placing == "arrival" else closed, away)
    return Placed(order=_first(order, closed), reason="predicted")


def held(candidates: Candidates, reason: WaitReason) -> Held:
    """Say that the request waits, and what is known of costs and pace."""
    predicted = candidates.predictions
    rate = float(np.add.reduce(candidates.feature("dispatches_per_s")))
    if predicted is None:
        return Held(reason=reason, dispatches_per_s=rate)
    return Held(
        reason=reason,
        prefill_token_s=float(candidates.prefill_token_s().min()),
        tpot_s=float(predicted.tpot_s.min()),
        dispatches_per_s=rate,
    )


def promise(live: LiveRequest, decision: Decision, row: int) -> None:
    """Remember what a request is dispatched with, for those that come after it."""
    if not live.objective:
        return
    fleet, priority = live.fleet, live.priority
    fleet.promises.make(live.request.request_id, live.objective, priority=priority, row=row)
    if decision.likely is not None:
        fleet.pressure.note(priority, broken=1.0 - decision.likely, now=decision.decided_s)


def note_kept(live: LiveRequest, record: RequestRecord, now: float) -> None:
    """Count whether a request that has ended got what it was promised."""
    objective = live.objective
    if not objective or record.measurement.outcome != "completed":
        return
    pairs = ((objective.ttft_s, record.ttft_s), (objective.tpot_s, record.tpot_s))
    broken = any(
        limit_s is not None and actual_s is not None and actual_s > limit_s
        for limit_s, actual_s in pairs
    )
    live.fleet.pressure.note(live.priority, broken=float(broken), now=now)


def _closed(candidates: Candidates, placing: Placing) -> BoolArray | None:
    """Find endpoints that would not start the request soon; ``None`` for none of them."""
    if placing == "at_once":
        return None
    closed = full(candidates)
    if placing == "release":
        closed = _or(closed, backlogged(candidates))
    return closed


def _broken(
    live: LiveRequest, candidates: Candidates, predicted: Predictions, rows: Rows
) -> FloatArray | None:
    """Count the promises to others that the request would break, ``None`` for none."""
    promises = live.fleet.promises
    if not promises:
        return None
    return harm(
        candidates, predicted, promises, live.fleet.predictor, rows=rows, priority=live.priority
    )


def _harmful(broken: FloatArray | None) -> BoolArray | None:
    """Find where a request without an objective would break too much, ``None`` for nowhere."""
    return None if broken is None else broken > MOST_HARM


def _kept_away(live: LiveRequest, candidates: Candidates, now: float) -> BoolArray | None:
    """Find where it would be in the way of more urgent ones that were promised something."""
    fleet, priority = live.fleet, live.priority
    if fleet.pressure.above(priority, now) > MOST_PRESSURE:
        return np.ones(len(candidates), dtype=np.bool_)
    return crowded(candidates, fleet.promises, priority=priority)


def _by_objective(
    tier: TierSettings, objective: Objective, order: Order, odds: _Odds
) -> Placed | Infeasible:
    """Put those first that meet the objective, or else where the least is missed."""
    feasible: BoolArray = odds.likely >= tier.confidence
    if odds.closed is not None:
        feasible &= ~odds.closed
    if feasible.any():
        kept = feasible
        if odds.broken is not None:
            kept = feasible & (odds.broken <= odds.broken[feasible].min() + SAME_HARM)
        room = None if tier.headroom == "lowest" else headroom(odds.predicted, objective)
        if room is not None and tier.headroom == "most":
            room = -room
        order = _by_room(order, kept, room)
        return Placed(order=order, reason="objective_met", likely=odds.likely)
    if tier.sheddable:
        return Infeasible(retry_after_s=_retry_after(odds.predicted, objective))
    missed = 1.0 - odds.likely
    if odds.broken is not None:
        missed = missed + odds.broken
    if odds.closed is not None:
        missed = np.where(odds.closed, np.inf, missed)
    order = _first(order, missed > missed.min() + SAME_HARM)
    return Placed(order=order, reason="objective_unmet", likely=odds.likely)


def _by_room(order: Order, kept: BoolArray, room: FloatArray | None) -> Order:
    """Move those kept to the front, those with less room before others."""
    if room is None:
        return _first(order, ~kept)
    return order[np.lexsort((room[order], ~kept[order]))]


def headroom(predicted: Predictions, objective: Objective) -> FloatArray:
    """Give the share of the objective left over, of the target where it is less, ``(n,)``."""
    room = np.full(len(predicted.ttft_s), np.inf)
    targets = ((objective.ttft_s, predicted.ttft_s), (objective.tpot_s, predicted.tpot_s))
    for limit_s, expected_s in targets:
        if limit_s is not None:
            room = np.minimum(room, 1.0 - expected_s / max(limit_s, 1e-9))
    return room


def _first(order: Order, closed: BoolArray | None) -> Order:
    """Move what is closed to the end, each part in its order."""
    if closed is None:
        return order
    return order[np.argsort(closed[order], kind="stable")]


def _or(one: BoolArray | None, other: BoolArray | None) -> BoolArray | None:
    if one is None or other is None:
        return one if other is None else other
    return one | other


def _retry_after(predicted: Predictions, objective: Objective) -> float:
    """Estimate when an endpoint will have drained enough to start in time."""
    if objective.ttft_s is None:
        return LEAST_RETRY_S
    return max(float(predicted.ttft_s.min()) - objective.ttft_s, LEAST_RETRY_S)
