"""Objectives: where a request's own and those of others are likely to be met.

Feasible is an endpoint that meets the request's TTFT and TPOT objective with at least the
confidence of its tier. Of the feasible ones those count that break hardly more promises
than the best, and among them the tier's strategy decides. Where none is feasible, the
request goes where it and others miss least, or is refused if its tier may be. A request
without an objective waits where it would break promises, for it is promised nothing.
Called by the decider only.
"""

from typing import Final

import numpy as np

from predictor.types import Decision, FloatArray, Objective, Predictions, RequestRecord
from predictor.values import Value
from scheduler.actions import WaitReason
from scheduler.blame import blamed
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
# A promise less likely to be broken is not looked into: it hardly counts.
_IN_DANGER: Final = 0.02


class Infeasible(Value):
    """Say that no endpoint meets the objective of a request that may be refused.

    Attributes:
        retry_after_s: Predicted time until one might.
    """

    retry_after_s: float


class Held(Value):
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


class Placed(Value):
    """Say where a request goes.

    Attributes:
        order: All candidates, best first.
        reason: Why in this order.
        likely: ``(n,)`` probability that each meets the objective, ``None`` without one.
        broken: ``(n,)`` promises to others it would break, ``None`` where none is at risk.
    """

    order: Order
    reason: Reason
    likely: FloatArray | None = None
    broken: FloatArray | None = None


class _Risks(Value):
    """Hold what a request could do to others at ``n`` endpoints.

    Attributes:
        predicted: What was predicted.
        broken: ``(n,)`` promises it would break, ``None`` for none anywhere.
        full: ``(n,)`` where it would not start soon, ``None`` for nowhere.
        kept_free: ``(n,)`` what is kept for more urgent ones, ``None`` for nothing.
        above: Whether more urgent ones were promised something.
    """

    predicted: Predictions
    broken: FloatArray | None
    full: BoolArray | None
    kept_free: BoolArray | None
    above: bool


class _Odds(Value):
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
    predicted = candidates.predictions
    if predicted is None:
        return Placed(order=_first(order, closed), reason="predicted")
    if live.wants or live.fleet.promises:
        risks = _risks(live, candidates, predicted, closed, rows=rows, now=now)
        return _weighed(live, candidates, order, risks, placing=placing, now=now)
    # Where it has just come, its cost counts the wait for room already.
    return Placed(order=_first(order, None if placing == "arrival" else closed), reason="predicted")


def _risks(
    live: LiveRequest,
    candidates: Candidates,
    predicted: Predictions,
    closed: BoolArray | None,
    *,
    rows: Rows,
    now: float,
) -> _Risks:
    """Find what the request would break, and what it must leave to more urgent ones."""
    fleet, priority = live.fleet, live.priority
    broken = kept_free = None
    if fleet.promises:
        broken = harm(
            candidates, predicted, fleet.promises, fleet.predictor, rows=rows, priority=priority
        )
    above = fleet.promises.any_above(priority)
    if above:
        kept_free = fleet.reserve.barred(
            candidates, rows, fleet.pressure, priority=priority, now=now
        )
    return _Risks(predicted=predicted, broken=broken, full=closed, kept_free=kept_free, above=above)


def _weighed(
    live: LiveRequest,
    candidates: Candidates,
    order: Order,
    risks: _Risks,
    *,
    placing: Placing,
    now: float,
) -> Placed | Held | Infeasible:
    """Put first where the request's objective and those of others are best kept."""
    kept_free = risks.kept_free
    closed = _or(risks.full, kept_free)
    if kept_free is not None and closed is not None and closed.all():  # what it may use is full
        if placing != "at_once":
            return held(candidates, "objectives_at_risk")
        closed = kept_free
    if live.wants:
        objective = objective_left(live.objective, live.request.arrived_s, now)
        likely = live.fleet.predictor.probability(risks.predicted, objective)
        odds = _Odds(predicted=risks.predicted, likely=likely, broken=risks.broken, closed=closed)
        return _by_objective(live.tier, objective, order, odds)
    if placing != "at_once":
        away = _kept_away(live, candidates, risks, now)
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
    if not live.wants:
        return
    fleet, priority = live.fleet, live.priority
    fleet.promises.make(live.request.request_id, live.objective, priority=priority, row=row)
    if decision.likely is not None:
        broken = _for_load(live, decision, 1.0 - decision.likely)
        fleet.pressure.note(priority, broken=broken, now=decision.decided_s)


def note_kept(live: LiveRequest, record: RequestRecord, now: float) -> None:
    """Count whether load kept a request that has ended from what it was promised."""
    if not live.wants or record.measurement.outcome != "completed":
        return
    objective = live.objective
    pairs = ((objective.ttft_s, record.ttft_s), (objective.tpot_s, record.tpot_s))
    broken = any(
        limit_s is not None and actual_s is not None and actual_s > limit_s
        for limit_s, actual_s in pairs
    )
    blamed_share = _for_load(live, live.decision, float(broken))
    live.fleet.pressure.note(live.priority, broken=blamed_share, now=now)


def _for_load(live: LiveRequest, decision: Decision | None, broken: float) -> float:
    """Give what of a promise's probability of being broken load answers for."""
    if broken < _IN_DANGER or decision is None:
        return broken
    return broken * blamed(live.fleet.predictor, decision, live.objective, live.hardware)


def _closed(candidates: Candidates, placing: Placing) -> BoolArray | None:
    """Find endpoints that would not start the request soon; ``None`` for none of them."""
    if placing == "at_once":
        return None
    closed = full(candidates)
    if placing == "release":
        closed = _or(closed, backlogged(candidates))
    return closed


def _kept_away(
    live: LiveRequest, candidates: Candidates, risks: _Risks, now: float
) -> BoolArray | None:
    """Find where one without an objective would harm those who have one."""
    fleet, priority = live.fleet, live.priority
    if risks.above and fleet.pressure.above(priority, now) > MOST_PRESSURE:
        return np.ones(len(candidates), dtype=np.bool_)
    away = crowded(candidates, fleet.promises, priority=priority) if risks.above else None
    return _or(away, None if risks.broken is None else risks.broken > MOST_HARM)


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
        return Placed(order=order, reason="objective_met", likely=odds.likely, broken=odds.broken)
    if tier.sheddable:
        return Infeasible(retry_after_s=_retry_after(odds.predicted, objective))
    missed = 1.0 - odds.likely
    if odds.broken is not None:
        missed = missed + odds.broken
    if odds.closed is not None:
        missed = np.where(odds.closed, np.inf, missed)
    order = _first(order, missed > missed.min() + SAME_HARM)
    return Placed(order=order, reason="objective_unmet", likely=odds.likely, broken=odds.broken)


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
