"""Turn how a request went into what the models learn.

A streamed request teaches its TTFT at the first token and its TPOT at the end. One
that was not streamed has the endpoint's own metrics as labels where they are on;
else its total time scales both predictions alike. Called by the scheduler only.
"""

from dataclasses import dataclass, replace

from predictor.types import Decision, Measurement, Observation, RequestRecord
from scheduler.fleet import Fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Hold the two labels of a finished request.

    Attributes:
        upstream_ttft_s: Last dispatch to first token, ``None`` if nobody saw it.
        tpot_s: Mean gap between output tokens, ``None`` for one token or if nobody saw it.
    """

    upstream_ttft_s: float | None
    tpot_s: float | None

    @classmethod
    def of(
        cls,
        measurement: Measurement,
        *,
        sent: float | None,
        first: float | None,
        ended: float,
    ) -> "Timing":
        """Derive the labels from our own stamps, else from the endpoint's own.

        >>> done = Measurement(outcome="completed", output_tokens=11)
        >>> Timing.of(done, sent=1.0, first=1.5, ended=2.5)
        Timing(upstream_ttft_s=0.5, tpot_s=0.1)
        """
        tokens = measurement.output_tokens
        if sent is None or first is None:
            ttft_s, tpot_s = measurement.endpoint_ttft_s, measurement.endpoint_tpot_s
            return cls(upstream_ttft_s=ttft_s, tpot_s=tpot_s)
        tpot_s = None if tokens is None or tokens < 2 else (ended - first) / (tokens - 1)
        return cls(upstream_ttft_s=first - sent, tpot_s=tpot_s)


def observation(model: str, decision: Decision, hardware: str | None, now: float) -> Observation:
    """Give the chosen endpoint's features and predictions, still without labels."""
    chosen, said = decision.chosen, decision.predictions
    bare = Observation(
        endpoint=decision.endpoint,
        model=model,
        hardware=hardware,
        observed_s=now,
        features=decision.features[chosen],
    )
    if said is None:
        return bare
    return replace(
        bare,
        predicted_ttft_s=float(said.ttft_s[chosen]),
        predicted_tpot_s=float(said.tpot_s[chosen]),
        predicted_ttft_p90_s=float(said.ttft_p90_s[chosen]),
        predicted_tpot_p90_s=float(said.tpot_p90_s[chosen]),
        experts=said.experts[:, :, chosen],
    )


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
    scale = (record.finished_s - sent) / max(ttft_s + tpot_s * (tokens - 1), 1e-9)
    return replace(
        seen,
        upstream_ttft_s=ttft_s * scale,
        tpot_s=tpot_s * scale if tokens > 1 else None,
    )
