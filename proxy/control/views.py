"""Turn the vocabulary into the shapes of the control plane's answers."""

import math
from collections.abc import Sequence

from predictor.types import (
    Decision,
    EndpointLoad,
    EndpointState,
    FloatArray,
    Predictions,
    RequestRecord,
)
from proxy.control.plane import ControlPlane
from proxy.control.schemas import (
    CandidateView,
    DecisionSummary,
    DecisionView,
    EndpointView,
    PredictionView,
    ResultView,
)
from proxy.control.typical import forecasts, typicals
from proxy.history import NO_ERROR, PredictionError
from scheduler import Typical


def endpoint_views(
    plane: ControlPlane, asked: dict[str, Typical] | None = None
) -> list[EndpointView]:
    """Describe every known endpoint, by name, and what it would be to a typical request.

    Args:
        plane: The running service.
        asked: The typical request by model, ``None`` to find out.
    """
    now, errors = plane.now(), plane.history.prediction_errors()
    said = {
        endpoint: _forecast_at(one.predictions, index)
        for one in forecasts(plane, typicals(plane) if asked is None else asked)
        for index, endpoint in enumerate(one.endpoints)
    }
    return [
        endpoint_view(
            state,
            load,
            error=errors.get(state.endpoint, NO_ERROR),
            suspicion=plane.suspicion(state.endpoint),
            forecast=said.get(state.endpoint, {}),
            now=now,
        )
        for state, load in sorted(plane.endpoints(), key=lambda pair: pair[0].endpoint)
    ]


def endpoint_view(
    state: EndpointState,
    load: EndpointLoad,
    *,
    error: PredictionError,
    suspicion: str | None,
    forecast: dict[str, float | None],
    now: float,
) -> EndpointView:
    """Describe one endpoint."""
    return EndpointView(
        endpoint=state.endpoint,
        url=state.url,
        model=state.model,
        hardware=state.hardware,
        up=state.up,
        draining=state.draining,
        running_requests=state.running_requests,
        waiting_requests=state.waiting_requests,
        kv_cache_usage=state.kv_cache_usage,
        inflight_requests=int(load.inflight_requests),
        queued_requests=int(load.queued_requests),
        queued_prefill_tokens=load.queued_prefill_tokens,
        inflight_tokens=load.queued_prefill_tokens + load.context_tokens,
        suspicion=suspicion,
        priority_class=state.priority_class,
        scrape_age_s=None if state.scraped_s is None else max(0.0, now - state.scraped_s),
        ttft_error_ratio=error.ttft_ratio,
        tpot_error_ratio=error.tpot_ratio,
        **forecast,
    )


def decision_summary(record: RequestRecord, epoch_s: float) -> DecisionSummary:
    """Describe one finished request without its candidates."""
    decision = record.decision
    predictions = decision.predictions if decision else None
    ran = ran_at(record)
    return DecisionSummary(
        request_id=record.request.request_id,
        received_at_s=epoch_s + record.request.arrived_s,
        model=record.request.model,
        endpoint=record.endpoint,
        reason=decision.reason if decision else None,
        policy=decision.policy if decision else None,
        layer=predictions.layer if predictions else None,
        priority_class=decision.priority_class if decision else None,
        spilled=decision.spilled if decision else None,
        attempts=record.attempts,
        predicted_ttft_s=_at(predictions.ttft_s if predictions else None, ran),
        predicted_tpot_s=_at(predictions.tpot_s if predictions else None, ran),
        result=_result(record, epoch_s),
    )


def decision_view(record: RequestRecord, epoch_s: float) -> DecisionView:
    """Describe one finished request with every candidate of its last decision."""
    decision = record.decision
    predictions = decision.predictions if decision else None
    shadow = decision.shadow_chosen if decision else None
    return DecisionView(
        **dict(decision_summary(record, epoch_s)),
        prompt_tokens=decision.prompt_tokens if decision else record.request.prompt_tokens,
        version=predictions.version if predictions else None,
        shadow_policy=decision.shadow_policy if decision else None,
        predicted_s=decision.predicted_s if decision else None,
        shadow_predicted_s=decision.shadow_predicted_s if decision else None,
        shadow_endpoint=decision.endpoints[shadow] if decision and shadow is not None else None,
        candidates=candidates(decision) if decision else [],
    )


def prediction_view(model: str, decision: Decision) -> PredictionView:
    """Describe what was decided about a hypothetical request."""
    predictions = decision.predictions
    return PredictionView(
        model=model,
        layer=predictions.layer if predictions else None,
        version=predictions.version if predictions else None,
        policy=decision.policy,
        reason=decision.reason,
        candidates=candidates(decision),
    )


def candidates(decision: Decision) -> list[CandidateView]:
    """List a decision's candidates, best first."""
    predictions = decision.predictions
    ttft, ttft_p90, tpot, tpot_p90 = (
        (predictions.ttft_s, predictions.ttft_p90_s, predictions.tpot_s, predictions.tpot_p90_s)
        if predictions
        else (None, None, None, None)
    )
    return [
        CandidateView(
            endpoint=decision.endpoints[i],
            chosen=i == decision.chosen,
            predicted_ttft_s=_at(ttft, i),
            predicted_ttft_p90_s=_at(ttft_p90, i),
            predicted_tpot_s=_at(tpot, i),
            predicted_tpot_p90_s=_at(tpot_p90, i),
            matched_tokens=_at(decision.matched_tokens, i),
            cost=_at(decision.costs, i),
            terms={name: _at(term, i) for name, term in decision.terms.items()},
        )
        for i in decision.order
    ]


def _forecast_at(said: Predictions, index: int) -> dict[str, float | None]:
    """Give what is predicted of a typical request, by field of an endpoint's view."""
    return {
        "typical_ttft_s": _at(said.ttft_s, index),
        "typical_ttft_p90_s": _at(said.ttft_p90_s, index),
        "typical_tpot_s": _at(said.tpot_s, index),
        "typical_tpot_p90_s": _at(said.tpot_p90_s, index),
    }


def _result(record: RequestRecord, epoch_s: float) -> ResultView:
    measured = record.measurement
    return ResultView(
        outcome=measured.outcome,
        status=measured.status,
        finished_at_s=epoch_s + record.finished_s,
        ttft_s=record.ttft_s,
        upstream_ttft_s=record.upstream_ttft_s,
        tpot_s=record.tpot_s,
        e2e_s=record.e2e_s,
        prompt_tokens=measured.prompt_tokens,
        cached_tokens=measured.cached_tokens,
        output_tokens=measured.output_tokens,
    )


def ran_at(record: RequestRecord) -> int | None:
    """Give the index of the candidate a request ended at, ``None`` if it was at none."""
    decision, endpoint = record.decision, record.endpoint
    if decision is None or endpoint not in decision.endpoints:
        return None
    return decision.endpoints.index(endpoint)


def _at(values: FloatArray | Sequence[float] | None, index: int | None) -> float | None:
    """Read one number, ``None`` where there is none or it is not finite.

    >>> _at([1.0, float("inf")], 0), _at([1.0, float("inf")], 1), _at(None, 0)
    (1.0, None, None)
    """
    if values is None or index is None:
        return None
    value = float(values[index])
    return value if math.isfinite(value) else None
