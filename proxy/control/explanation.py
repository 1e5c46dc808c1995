"""Tell everything that is known of one finished request, computed when somebody asks.

What the experts said, the quantiles and the terms of the score are those of the decision.
How far each expert was believed is not kept with it: those weights are of now.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, cast

import numpy as np

from predictor.experts import EXPERTS, LAYERS
from predictor.features import FEATURES, NAMES
from predictor.physics import TPOT, TTFT
from predictor.types import (
    Decision,
    EndpointState,
    FloatArray,
    Predictions,
    RequestRecord,
    SpillReason,
)
from proxy.control.explanation_schemas import (
    AskedView,
    CandidatePredictionView,
    DispatchView,
    ErrorsView,
    ErrorView,
    ExpertView,
    ExplainedCandidate,
    ExplanationView,
    FeatureView,
    LeftOutView,
    QueueView,
    ServingView,
    TargetPredictionView,
)
from proxy.control.plane import Belief, ControlPlane
from proxy.control.views import candidates, decision_view, ran_at

WHY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "predicted": "the lowest predicted cost in seconds decided",
        "explored": "an endpoint passed over for long was tried, because that cost little",
        "objective_met": "among the endpoints likely to meet the objective, the best one",
        "objective_unmet": "no endpoint was likely to meet the objective; the best one of all",
        "session": "its conversation has to stay at one endpoint",
        "canary": "it is of the share of requests that the policy on trial decides for",
        "cold": "the predictor had not seen enough traffic; the fallback decided",
        "shadow": "the mode is shadow: the policy only watched, the fallback decided",
        "kill_switch": "the mode is heuristic: predictions are off, the fallback decided",
        "scores_unusable": "a policy's scores were no numbers; the next simpler one decided",
        "policy": "the configured policy, a heuristic, decided",
        "prediction_failed": "the predictor failed; the fallback decided",
        "prediction_slow": "decisions took longer than their budget; the fallback decided",
        "prediction_inaccurate": "predictions were too far off lately; the fallback decided",
    }
)
"""What each reason of a decision means, for people."""

SPILLED: Final[Mapping[SpillReason, str]] = MappingProxyType(
    {
        "objective": "no endpoint of the class below was likely to meet its objective",
        "predicted_ttft": "its TTFT in the class below was predicted above standby.ttft_s",
        "endpoints_full": "no endpoint of the class below could start it",
        "promises": "in the class below it would have broken what others were promised",
        "lower_down": "no endpoint of a lower class took requests",
        "asked_for": "it was allowed to go there only",
    }
)
"""Why a request went to endpoints that stand by, for people."""


def explanation(plane: ControlPlane, record: RequestRecord) -> ExplanationView:
    """Explain one finished request."""
    decision = record.decision
    belief = None
    if record.fleet is not None:
        rows = np.empty((0, len(NAMES))) if decision is None else decision.features
        belief = plane.belief(record.fleet, rows)
    summary = dict(decision_view(record, plane.epoch_s))
    del summary["candidates"]
    return ExplanationView(
        **summary,
        fleet=record.fleet,
        trace_id=record.request.trace_id,
        why=why(record),
        answered=record.answered,
        request=_asked(record),
        queue=QueueView(
            queued_s=record.queued_s, waited_for=record.waited_for, refused=record.refused
        ),
        dispatches=_dispatches(record, plane.epoch_s),
        likely_ratio=None if decision is None else decision.likely,
        errors=_errors(record),
        candidates=[] if decision is None else _candidates(decision, belief),
        features=[
            FeatureView(name=f.name, unit=f.unit, source=f.source, meaning=f.meaning)
            for f in FEATURES
        ],
        left_out=_left_out(plane, record),
        serving=_serving(decision, belief),
    )


def why(record: RequestRecord) -> str:
    """Say in one sentence which path decided, and why.

    >>> from predictor.types import Measurement, RequestFeatures
    >>> asked = RequestFeatures(request_id="r", arrived_s=0.0, model="m")
    >>> shed = Measurement(outcome="shed")
    >>> why(RequestRecord(request=asked, fleet=None, decision=None, endpoint=None, attempts=0,
    ...                   measurement=shed, refused="queue_full", finished_s=1.0))
    'refused: queue_full; it was never sent anywhere'
    """
    decision, parts = record.decision, []
    if record.answered is not None:
        parts.append(f"answered by the router itself: {record.answered}")
    if decision is not None:
        parts.append(f"{decision.policy}: {WHY.get(decision.reason, decision.reason)}")
        if decision.spilled is not None:
            to = f"went to standby class {decision.priority_class}"
            parts.append(f"{to}: {SPILLED[decision.spilled]}")
    if record.failures:
        told = ", ".join(f"{one.endpoint} {one.cause}" for one in record.failures)
        parts.append(f"dispatches that failed before: {told}")
    if record.waited_for is not None:
        parts.append(f"it waited {record.queued_s:.3g} s for its turn: {record.waited_for}")
    if record.refused is not None:
        parts.append(f"refused: {record.refused}")
    if not record.attempts and record.answered is None:
        parts.append("it was never sent anywhere")
    return "; ".join(parts)


def _asked(record: RequestRecord) -> AskedView:
    request = record.request
    allowed = request.allowed_endpoints
    return AskedView(
        streamed=request.streamed,
        max_tokens=request.max_tokens,
        prompt_bytes=request.prompt_bytes,
        session_id=request.session_id,
        tenant=request.tenant,
        tier=request.tier,
        priority=request.priority,
        objective_ttft_s=request.objective.ttft_s,
        objective_tpot_s=request.objective.tpot_s,
        allowed_endpoints=None if allowed is None else sorted(allowed),
    )


def _dispatches(record: RequestRecord, epoch_s: float) -> list[DispatchView]:
    views = [
        DispatchView(
            attempt=number,
            endpoint=one.endpoint,
            at_s=epoch_s + one.dispatched_s,
            seconds=one.failed_s - one.dispatched_s,
            failed=one.cause,
        )
        for number, one in enumerate(record.failures, 1)
    ]
    sent_s = record.dispatched_s
    if sent_s is not None and record.attempts > len(views):
        views.append(
            DispatchView(
                attempt=len(views) + 1,
                endpoint=record.endpoint,
                at_s=epoch_s + sent_s,
                seconds=record.finished_s - sent_s,
                failed=None,
            )
        )
    return views


def _errors(record: RequestRecord) -> ErrorsView:
    decision, at = record.decision, ran_at(record)
    said = None if decision is None else decision.predictions
    if said is None or at is None or record.measurement.outcome != "completed":
        return ErrorsView(ttft=None, tpot=None)
    return ErrorsView(
        ttft=_error(said.ttft_s.item(at), said.quantiles_s[TTFT, :, at], record.upstream_ttft_s),
        tpot=_error(said.tpot_s.item(at), said.quantiles_s[TPOT, :, at], record.tpot_s),
    )


def _error(predicted_s: float, quantiles_s: FloatArray, actual_s: float | None) -> ErrorView | None:
    p50_s, p90_s, p99_s = quantiles_s.tolist()
    numbers = (predicted_s, p50_s, p90_s, p99_s)
    if not actual_s or not all(map(math.isfinite, (*numbers, actual_s))):
        return None
    return ErrorView(
        predicted_s=predicted_s,
        p50_s=p50_s,
        p90_s=p90_s,
        p99_s=p99_s,
        actual_s=actual_s,
        error_ratio=(predicted_s - actual_s) / actual_s,
        within_p90=actual_s <= p90_s,
    )


def _candidates(decision: Decision, belief: Belief | None) -> list[ExplainedCandidate]:
    said = decision.predictions
    return [
        ExplainedCandidate(
            **dict(view),
            features={
                name: _number(value)
                for name, value in zip(NAMES, decision.features[i].tolist(), strict=True)
            },
            prediction=None if said is None else _prediction(said, belief, i),
        )
        for i, view in zip(decision.order, candidates(decision), strict=True)
    ]


def _prediction(said: Predictions, belief: Belief | None, i: int) -> CandidatePredictionView:
    weights = None if belief is None else belief.weights[:, :, i]
    ttft, tpot = (
        _target(said, target, i, None if weights is None else weights[target])
        for target in (TTFT, TPOT)
    )
    return CandidatePredictionView(
        ttft=ttft,
        tpot=tpot,
        prefill_s=_number(said.prefill_s.item(i)),
        decode_step_s=_number(said.decode_step_s.item(i)),
        prefill_token_s=_number(said.prefill_token_s.item(i)),
    )


def _target(
    said: Predictions, target: int, i: int, weights: FloatArray | None
) -> TargetPredictionView:
    means, ranks = (said.ttft_s, said.tpot_s), (said.rank_ttft_s, said.rank_tpot_s)
    p50_s, p90_s, p99_s = map(_number, said.quantiles_s[target, :, i].tolist())
    return TargetPredictionView(
        expected_s=_number(means[target].item(i)),
        p50_s=p50_s,
        p90_s=p90_s,
        p99_s=p99_s,
        rank_s=_number(ranks[target].item(i)),
        experts=_experts(said.experts[target, :, i], weights),
    )


def _experts(log_s: FloatArray, weights: FloatArray | None) -> list[ExpertView]:
    """Say what each expert said; weights are among those that spoke, as they are mixed."""
    spoke = np.isfinite(log_s)
    shares = np.full(len(log_s), np.nan)
    if weights is not None and spoke.any():
        shares[spoke] = weights[spoke] / weights[spoke].sum()
    return [
        ExpertView(
            expert=name,
            layer=cast("Literal['physics', 'boosted', 'correction']", LAYERS[name]),  # its values
            seconds=_number(math.exp(value)) if math.isfinite(value) else None,
            weight_ratio=_number(share),
        )
        for name, value, share in zip(EXPERTS, log_s.tolist(), shares.tolist(), strict=True)
    ]


def _left_out(plane: ControlPlane, record: RequestRecord) -> list[LeftOutView]:
    model = record.fleet or record.request.model
    considered = () if record.decision is None else record.decision.endpoints
    others = [
        state
        for state, _ in plane.endpoints()
        if state.endpoint not in considered and (state.model is None or state.model == model)
    ]
    asked = None if record.decision is None else record.decision.priority_class
    return [
        LeftOutView(endpoint=state.endpoint, now=_against(plane, state, asked))
        for state in sorted(others, key=lambda state: state.endpoint)
    ]


def _against(plane: ControlPlane, state: EndpointState, asked: int | None) -> str | None:
    """Say what speaks against an endpoint, those of the class ``asked`` not for their class."""
    if not state.up:
        return "down"
    if state.draining:
        return "draining"
    suspicion = plane.suspicion(state.endpoint)
    if suspicion is None and asked is not None and state.priority_class != asked:
        return f"of priority class {state.priority_class}"
    return suspicion


def _serving(decision: Decision | None, belief: Belief | None) -> ServingView | None:
    if belief is None:
        return None
    said = None if decision is None else decision.predictions
    then = None if said is None else said.version
    return ServingView(
        version=belief.version, layer=belief.layer, same_version=belief.version == then
    )


def _number(value: float) -> float | None:
    """Give a number that JSON can say, else ``None``.

    >>> _number(0.5), _number(float("nan"))
    (0.5, None)
    """
    return value if math.isfinite(value) else None
