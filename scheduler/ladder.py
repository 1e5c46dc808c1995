"""Which policy decides for one request, and why it is that one.

Rungs, best first: the fleet's policy on predictions; where there are none yet, or none
can be had, the fallback heuristic; under the kill switch the heuristic always. Called by
the decider only.
"""

from dataclasses import dataclass
from typing import Literal

from predictor.types import Predictions
from scheduler.fleet import Fleet
from scheduler.policies import Policy
from scheduler.predicted_latency import PredictedLatency

Mode = Literal["predicted", "shadow", "heuristic"]

Reason = Literal[
    "predicted",
    "objective_met",
    "objective_unmet",
    "cold",
    "shadow",
    "kill_switch",
    "prediction_failed",
    "policy",
]
"""Why this path decided.

``predicted``: lowest predicted latency. ``objective_met``: the same among the endpoints
that meet the objective; ``objective_unmet``: none does. ``cold``, ``prediction_failed``:
the fallback decided for want of a prediction. ``shadow``, ``kill_switch``: it decided
because the mode says so. ``policy``: the configured heuristic decided.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """Say who decides for one request.

    Attributes:
        policy: Scores the candidates.
        reason: Why this one.
        shadow: Scored beside it and recorded, ``None`` for none.
    """

    policy: Policy
    reason: Reason
    shadow: Policy | None = None


def rung(fleet: Fleet, predictions: Predictions | None, mode: Mode) -> Rung:
    """Choose who decides in a fleet, by what its predictor has said."""
    if mode == "heuristic":
        return Rung(policy=fleet.fallback, reason="kill_switch")
    if not isinstance(fleet.policy, PredictedLatency):
        return Rung(policy=fleet.policy, reason="policy")
    if predictions is None:
        return Rung(policy=fleet.fallback, reason="prediction_failed")
    if predictions.layer == "cold":
        return Rung(policy=fleet.fallback, reason="cold")
    if mode == "shadow":
        return Rung(policy=fleet.fallback, reason="shadow", shadow=fleet.policy)
    return Rung(policy=fleet.policy, reason="predicted")
