"""Turn how a request went into what the models learn.

A streamed request teaches its TTFT at the first token and its TPOT at the end. One
that was not streamed has the endpoint's own metrics as labels where they are on;
else its total time scales both predictions alike. Called by the scheduler only.
"""

from dataclasses import replace

from predictor.types import Observation, RequestRecord
from scheduler.fleet import Fleet


def learn_finished(fleet: Fleet, record: RequestRecord) -> None:
    """Teach the fleet what a completed request has shown."""
    measured, request = record.measurement, record.request
    if measured.prompt_tokens is not None and request.prompt_tokens is None:
        fleet.token_ratio.learn(
            prompt_bytes=request.prompt_bytes, prompt_tokens=measured.prompt_tokens
        )
    if measured.output_tokens is not None:
        fleet.output_lengths.learn(request.tenant, measured.output_tokens)
    if record.observation is None:
        return
    if record.ttft_s is not None:  # its TTFT was learned at the first token
        fleet.predictor.learn(replace(record.observation, upstream_ttft_s=None))
    elif record.upstream_ttft_s is not None:
        fleet.predictor.learn(record.observation)
    else:
        fleet.predictor.learn(_split_total(record, record.observation))


def _split_total(record: RequestRecord, seen: Observation) -> Observation:
    """Scale both predictions by actual over predicted total time.

    All that is known of such a request is ``ttft + tpot x (output tokens - 1)``.
    """
    tokens, sent = record.measurement.output_tokens, record.dispatched_s
    ttft_s, tpot_s = seen.predicted_ttft_s, seen.predicted_tpot_s
    if tokens is None or sent is None or ttft_s is None or tpot_s is None:
        return seen
    scale = (record.finished_s - sent) / max(ttft_s + tpot_s * max(tokens - 1, 0), 1e-9)
    return replace(
        seen,
        upstream_ttft_s=ttft_s * scale,
        tpot_s=tpot_s * scale if tokens > 1 else None,
    )
