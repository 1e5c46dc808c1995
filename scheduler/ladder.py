"""Which policy decides for one request, and why it is that one.

Levels, best first: the fleet's policy on predictions (with trained trees, else of physics
alone); the fallback heuristic where there are none yet, or they cannot be had or trusted;
the fewest requests in flight where a policy's scores cannot be used. Under the kill switch
the heuristic decides always. A share of the requests may go by a canary's policy, and
another policy may be scored beside the one that decides. Called by the decider only.
"""

from typing import Final, Literal

from xxhash import xxh3_64_intdigest

from predictor.types import Predictions, RequestFeatures
from predictor.values import Value
from scheduler.fleet import Fleet
from scheduler.load_policies import LeastRequest
from scheduler.policies import Policy
from scheduler.predicted_latency import PredictedLatency
from scheduler.trust import Distrust, Level

Mode = Literal["predicted", "shadow", "heuristic"]

Reason = (
    Literal[
        "predicted",
        "explored",
        "objective_met",
        "objective_unmet",
        "session",
        "canary",
        "cold",
        "shadow",
        "kill_switch",
        "scores_unusable",
        "policy",
    ]
    | Distrust
)
"""Why this path decided.

``predicted``: lowest predicted latency. ``explored``: an endpoint passed over for long is
tried, which costs little. ``objective_met``: the same among the endpoints
that meet the objective; ``objective_unmet``: none does. ``session``: the conversation has
to stay where it is. ``canary``: the request is of the share that the canary's policy
decides for. ``cold``, ``prediction_failed``, ``prediction_slow``, ``prediction_inaccurate``:
the fallback decided for want of a prediction to be trusted. ``shadow``, ``kill_switch``: it
decided because the mode says so. ``scores_unusable``: the next lower level decided, because
a policy's costs were not finite. ``policy``: the configured heuristic decided.
"""

FALLBACK_REASONS: Final[frozenset[Reason]] = frozenset(
    {
        "cold",
        "kill_switch",
        "prediction_failed",
        "prediction_inaccurate",
        "prediction_slow",
        "scores_unusable",
    }
)
"""Those that say that predictions could not, or must not, decide."""

_LEAST_REQUEST: Final = LeastRequest()


class Rung(Value):
    """Say who decides for one request.

    Attributes:
        policy: Scores the candidates.
        reason: Why this one.
        level: What it rests on.
        shadow: Scored beside it and recorded, ``None`` for none.
    """

    policy: Policy
    reason: Reason
    level: Level = "heuristic"
    shadow: Policy | None = None


def rung(
    fleet: Fleet,
    request: RequestFeatures,
    predictions: Predictions | None,
    mode: Mode,
    now: float,
) -> Rung:
    """Choose who decides in a fleet, by what its predictor has said."""
    against = _against(fleet, predictions, now)
    usual = _usual(fleet, predictions, mode, against)
    canary = fleet.canary
    if canary is None or mode == "heuristic" or not in_share(request, canary.share):
        return usual
    if against and isinstance(canary.policy, PredictedLatency):
        return usual
    return Rung(policy=canary.policy, reason="canary", level=usual.level, shadow=usual.policy)


def below(chosen: Rung, fleet: Fleet) -> Rung:
    """Give who decides where the scores of ``chosen`` cannot be used.

    Our own counts of requests, the last level, always can.
    """
    if chosen.policy in {fleet.fallback, _LEAST_REQUEST}:
        return Rung(policy=_LEAST_REQUEST, reason="scores_unusable", level="least_request")
    return Rung(policy=fleet.fallback, reason="scores_unusable")


def in_share(request: RequestFeatures, share: float) -> bool:
    """Tell whether a request is of a share of all, the same for a whole conversation.

    >>> asked = [RequestFeatures(request_id=str(i), arrived_s=0.0, model="m") for i in range(1000)]
    >>> 20 < sum(in_share(request, 0.05) for request in asked) < 90
    True
    """
    key = f"canary {request.session_id or request.request_id}".encode(errors="surrogatepass")
    return xxh3_64_intdigest(key) < share * 2.0**64


def _against(fleet: Fleet, predictions: Predictions | None, now: float) -> Reason | None:
    """Say what speaks against deciding on predictions, ``None`` for nothing."""
    if predictions is None:
        return fleet.trust.rests(now) or "prediction_failed"
    if predictions.layer == "cold":
        return "cold"
    return "prediction_inaccurate" if fleet.trust.is_inaccurate else None


def _usual(
    fleet: Fleet, predictions: Predictions | None, mode: Mode, against: Reason | None
) -> Rung:
    """Choose who decides but for the canary's share."""
    if mode == "heuristic":
        return Rung(policy=fleet.fallback, reason="kill_switch")
    shadow = fleet.shadow
    if against and isinstance(shadow, PredictedLatency):
        shadow = None  # it would have nothing to go by
    if not isinstance(fleet.policy, PredictedLatency):
        return Rung(policy=fleet.policy, reason="policy", shadow=shadow)
    if against or predictions is None:
        return Rung(policy=fleet.fallback, reason=against or "prediction_failed", shadow=shadow)
    if mode == "shadow":
        return Rung(policy=fleet.fallback, reason="shadow", shadow=shadow or fleet.policy)
    return Rung(
        policy=fleet.policy,
        reason="predicted",
        level="mixture" if predictions.layer == "mixture" else "prior",
        shadow=shadow or fleet.fallback,
    )
