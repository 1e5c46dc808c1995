"""One line per finished request, at its end: what was predicted and what happened.

Fields only, under a constant event; the formatter is configured elsewhere. Never
prompts, outputs or keys. A sink of finished records.
"""

import logging

from predictor.types import RequestRecord

logger = logging.getLogger(__name__)


def log_request(record: RequestRecord) -> None:
    """Log a finished request."""
    if not logger.isEnabledFor(logging.INFO):
        return
    request, measured, decision = record.request, record.measurement, record.decision
    predictions = None if decision is None else decision.predictions
    predicted: dict[str, float] = {}
    if decision is not None and predictions is not None:
        predicted = {
            "predicted_upstream_ttft_s": float(predictions.ttft_s[decision.chosen]),
            "predicted_tpot_s": float(predictions.tpot_s[decision.chosen]),
        }
    fields = {
        "request_id": request.request_id,
        "model": request.model,
        "endpoint": record.endpoint,
        "policy": None if decision is None else decision.policy,
        "reason": record.answered if decision is None else decision.reason,
        "outcome": measured.outcome,
        "refused": record.refused,
        "waited_for": record.waited_for,
        "queued_s": record.queued_s,
        "tier": request.tier,
        "status": measured.status,
        "attempts": record.attempts,
        "streamed": request.streamed,
        "prompt_tokens": measured.prompt_tokens,
        "cached_tokens": measured.cached_tokens,
        "output_tokens": measured.output_tokens,
        "ttft_s": record.ttft_s,
        "upstream_ttft_s": record.upstream_ttft_s,
        "tpot_s": record.tpot_s,
        "e2e_s": record.e2e_s,
        **predicted,
    }
    logger.info("request_finished", extra=fields)
