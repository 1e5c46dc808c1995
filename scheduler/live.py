"""One request between ``route`` and its end, and the story told of it afterwards.

Called by the scheduler only.
"""

from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from predictor.types import (
    Decision,
    Measurement,
    Observation,
    RequestFeatures,
    RequestRecord,
)
from scheduler.actions import ShedReason, WaitReason
from scheduler.fleet import Fleet
from scheduler.settings import TierSettings

SHED: Final = Measurement(outcome="shed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Hold the two labels of a finished request.

    Attributes:
        upstream_ttft_s: Last dispatch to first token, ``None`` if nobody saw it.
        tpot_s: Mean gap between output tokens, ``None`` for one token or if nobody saw it.
    """

    upstream_ttft_s: float | None
    tpot_s: float | None

    @property
    def unknown(self) -> bool:
        """Tell whether there is neither."""
        return self.upstream_ttft_s is None and self.tpot_s is None

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
            if sent is not None and ttft_s is not None and ttft_s > ended - sent:
                ttft_s = tpot_s = None  # longer than the whole request took: not a measurement
            return cls(upstream_ttft_s=ttft_s, tpot_s=tpot_s)
        tpot_s = None if tokens is None or tokens < 2 else (ended - first) / (tokens - 1)
        return cls(upstream_ttft_s=first - sent, tpot_s=tpot_s)


@dataclass(slots=True, kw_only=True)
class LiveRequest:
    """Hold what is known of a request while it lives; the scheduler is the only writer.

    Attributes:
        request: As it came in.
        tier: As configured when it came in: a reload must not strand it.
        fleet: Whose endpoints may serve it.
        decision: The last one.
        endpoint: Where it is booked, ``None`` while it waits.
        hardware: The label of where it was last dispatched to.
        attempts: Dispatches so far.
        dispatched_s: When the last one was.
        first_token_s: When its first token came.
        waited_s: Time it had waited for that when its miss was counted.
        early_s: Time its early TPOT label covers, ``None`` before there is one.
        tried: Endpoints that failed it.
        waiting_since_s: When it began to wait for its turn, ``None`` while it does not.
        queued_s: How long it has waited so far, that time left aside.
        wait_reason: Why it waited last, ``None`` if it never did.
    """

    request: RequestFeatures
    tier: TierSettings
    fleet: Fleet
    decision: Decision | None = None
    endpoint: str | None = None
    hardware: str | None = None
    attempts: int = 0
    dispatched_s: float | None = None
    first_token_s: float | None = None
    waited_s: float | None = None
    early_s: float | None = None
    tried: set[str] = field(default_factory=set)
    waiting_since_s: float | None = None
    queued_s: float = 0.0
    wait_reason: WaitReason | None = None

    def observation(self, now: float) -> Observation | None:
        """Give features and predictions of the last decision, still without labels."""
        if self.decision is None:
            return None
        return observation_of(self.fleet.model, self.decision, self.hardware, now)

    def record(
        self, measurement: Measurement, now: float, refused: ShedReason | None = None
    ) -> RequestRecord:
        """Tell the whole story, as of its end; ``refused`` says why it was, if it was."""
        waiting_s = self.waiting_since_s
        sent, first, arrived = self.dispatched_s, self.first_token_s, self.request.arrived_s
        timing = Timing.of(measurement, sent=sent, first=first, ended=now)
        seen = self.observation(now) if measurement.outcome == "completed" else None
        if seen is not None:
            seen = replace(
                seen,
                upstream_ttft_s=timing.upstream_ttft_s,
                tpot_s=timing.tpot_s,
                total_s=now - sent if sent is not None and timing.unknown else None,
                output_tokens=measurement.output_tokens,
            )
        return RequestRecord(
            request=self.request,
            fleet=self.fleet.model,
            decision=self.decision,
            endpoint=self.endpoint,
            attempts=self.attempts,
            measurement=measurement,
            refused=refused,
            waited_for=self.wait_reason,
            queued_s=self.queued_s + (0.0 if waiting_s is None else now - waiting_s),
            finished_s=now,
            dispatched_s=sent,
            ttft_s=None if first is None else first - arrived,
            upstream_ttft_s=timing.upstream_ttft_s,
            tpot_s=timing.tpot_s,
            e2e_s=now - arrived,
            observation=seen,
        )


def observation_of(model: str, decision: Decision, hardware: str | None, now: float) -> Observation:
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


def record_unplaced(request: RequestFeatures, now: float) -> RequestRecord:
    """Tell the story of a request that was refused before anyone knew its fleet."""
    return RequestRecord(
        request=request,
        fleet=None,
        decision=None,
        endpoint=None,
        attempts=0,
        measurement=SHED,
        refused="no_endpoint",
        finished_s=now,
        e2e_s=now - request.arrived_s,
    )
