"""Objectives: which endpoints meet them probably enough, and what to do where none does.

Feasible is an endpoint that meets a request's TTFT and TPOT objective with at least the
confidence of its tier. Called by the decider only.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from predictor.types import Objective, Predictions, RequestFeatures
from scheduler.candidates import Candidates
from scheduler.fleet import Fleet
from scheduler.ladder import Reason
from scheduler.ranking import Order
from scheduler.settings import TierSettings

LEAST_RETRY_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Infeasible:
    """Say that no endpoint meets the objective of a request that may be refused.

    Attributes:
        retry_after_s: Predicted time until one might.
    """

    retry_after_s: float


def objective_left(request: RequestFeatures, tier: TierSettings, now: float) -> Objective:
    """Merge the request's objective with its tier's, less the time already waited."""
    wanted, default = request.objective, tier.objective
    ttft_s = wanted.ttft_s if wanted.ttft_s is not None else default.ttft_s
    tpot_s = wanted.tpot_s if wanted.tpot_s is not None else default.tpot_s
    if ttft_s is not None:
        ttft_s = max(ttft_s - (now - request.arrived_s), 0.0)
    return Objective(ttft_s=ttft_s, tpot_s=tpot_s)


def by_objective(
    fleet: Fleet,
    candidates: Candidates,
    tier: TierSettings,
    order: Order,
    now: float,
) -> tuple[Order, Reason] | Infeasible:
    """Put the feasible candidates first, each part in the order given.

    Returns:
        The order and its reason, or that a request that may be refused has to be.
    """
    objective, predictions = objective_left(candidates.request, tier, now), candidates.predictions
    if not objective or predictions is None:
        return order, "predicted"
    likely = fleet.predictor.probability(predictions, objective)
    feasible = likely >= tier.confidence
    if feasible.any():
        return order[np.argsort(~feasible[order], kind="stable")], "objective_met"
    if tier.sheddable:
        return Infeasible(retry_after_s=_retry_after(predictions, objective))
    return order, "objective_unmet"


def _retry_after(predictions: Predictions, objective: Objective) -> float:
    """Estimate when an endpoint will have drained enough to start in time."""
    if objective.ttft_s is None:
        return LEAST_RETRY_S
    return max(float(predictions.ttft_s.min()) - objective.ttft_s, LEAST_RETRY_S)
