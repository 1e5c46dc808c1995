"""What one simulated run leaves behind: every request as its client saw it.

Written by the virtual-time driver, read by the figures, tables and plots. Times are
virtual seconds from the start of the run; unknown is ``None``.
"""

from dataclasses import dataclass, replace
from typing import Final

from predictor.types import RequestFeatures, RequestRecord
from simulator.traffic import TrafficRequest
from simulator.types import Completion

UNFINISHED: Final = "unfinished"
"""``Outcome.outcome`` of a request that was still under way when its run was cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Hold one request as its client saw it.

    Attributes:
        request_id: Unique within the run.
        session_id: Chain of requests it belongs to.
        arrived_s: When the scheduler received it.
        endpoint: Where it ran last, ``None`` if it was never dispatched.
        outcome: A ``predictor.types.Outcome``, or ``UNFINISHED``.
        reason: Reason of the decision, or why it was shed.
        tier: Service tier it asked for.
        prompt_tokens: Tokens of its prompt.
        cached_tokens: Of these, found in the endpoint's caches; known once it has completed.
        output_tokens: Tokens it was given.
        ttft_s: Receipt to first output token.
        tpot_s: Mean gap between output tokens; ``None`` for fewer than two.
        e2e_s: Receipt to last token.
        upstream_ttft_s: Last dispatch to first output token: what models predict.
        predicted_ttft_s: ``upstream_ttft_s`` as predicted at dispatch, ``None`` where the
            policy runs without a predictor.
        predicted_tpot_s: ``tpot_s`` likewise.
        preemptions: How often its endpoint threw it out of the batch; known likewise.
    """

    request_id: str
    session_id: str
    arrived_s: float
    endpoint: str | None
    outcome: str
    reason: str
    tier: str | None
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    ttft_s: float | None
    tpot_s: float | None
    e2e_s: float | None
    upstream_ttft_s: float | None
    predicted_ttft_s: float | None
    predicted_tpot_s: float | None
    preemptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Hold all of one run of one policy with one seed.

    Requests that arrive in ``[warmup_s, warmup_s + measure_s)`` are the steady state;
    those before are the transient; those after only keep the load up.

    Attributes:
        policy: Name of the arm.
        workload: Name of the workload.
        fleet: Name of the fleet.
        rate: Requests a second for an open loop, concurrent users for a closed one.
        seed: Of the traffic, the engines' noise and the policy's draws.
        warmup_s: Length of the transient.
        measure_s: Length of the steady-state window.
        endpoints: Names of the fleet's endpoints.
        outcomes: In order of arrival.
        engine_steps: Engine steps of all endpoints together.
        objective_ttft_s: Target that goodput is counted against, ``None`` for none.
        objective_tpot_s: Likewise.
        ended_s: Virtual time at which the run ended.
        truncated: Whether it was cut while measured requests were still under way, as
            happens under overload.
    """

    policy: str
    workload: str
    fleet: str
    rate: float
    seed: int
    warmup_s: float
    measure_s: float
    endpoints: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    engine_steps: int
    objective_ttft_s: float | None
    objective_tpot_s: float | None
    ended_s: float
    truncated: bool


def under_way(features: RequestFeatures, request: TrafficRequest) -> Outcome:
    """Describe a request that has just arrived."""
    return Outcome(
        request_id=features.request_id,
        session_id=request.session_id,
        arrived_s=features.arrived_s,
        endpoint=None,
        outcome=UNFINISHED,
        reason="",
        tier=request.tier,
        prompt_tokens=request.prompt_tokens,
        cached_tokens=0,
        output_tokens=0,
        ttft_s=None,
        tpot_s=None,
        e2e_s=None,
        upstream_ttft_s=None,
        predicted_ttft_s=None,
        predicted_tpot_s=None,
        preemptions=0,
    )


def ended(
    arrived: Outcome, record: RequestRecord, reason: str, completion: Completion | None
) -> Outcome:
    """Describe a request that has ended.

    Args:
        arrived: It, as it was under way.
        record: As the scheduler tells it.
        reason: Why it was placed or shed as it was.
        completion: As the endpoint tells it, ``None`` where it did not complete.
    """
    decision = record.decision
    found = replace(
        arrived,
        endpoint=record.endpoint,
        outcome=record.measurement.outcome,
        reason=reason,
        ttft_s=record.ttft_s,
        upstream_ttft_s=record.upstream_ttft_s,
    )
    if decision is not None and decision.predictions is not None:
        found = replace(
            found,
            predicted_ttft_s=float(decision.predictions.ttft_s[decision.chosen]),
            predicted_tpot_s=float(decision.predictions.tpot_s[decision.chosen]),
        )
    if completion is None:
        return found
    return replace(
        found,
        cached_tokens=completion.cached_tokens,
        output_tokens=completion.output_tokens,
        tpot_s=record.tpot_s,
        e2e_s=record.e2e_s,
        preemptions=completion.preemptions,
    )
