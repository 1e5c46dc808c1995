"""One request between ``route`` and its end, and the story told of it afterwards.

Called by the scheduler only.
"""

from typing import Final

from predictor.types import (
    P90,
    Decision,
    EndpointState,
    FailedDispatch,
    FailureCause,
    FloatArray,
    Measurement,
    Observation,
    RequestFeatures,
    RequestRecord,
    Use,
)
from predictor.values import replace
from scheduler.actions import Dispatch, ShedReason, WaitReason
from scheduler.fleet import Fleet
from scheduler.settings import TierSettings
from scheduler.wishes import objective_of, priority_of

SHED: Final = Measurement(outcome="shed")


class LiveRequest:
    """Hold what is known of a request while it lives; the scheduler is the only writer.

    Attributes:
        request: As it came in.
        tier: As configured when it came in: a reload must not strand it.
        fleet: Whose endpoints may serve it.
        objective: Its own, completed by its tier's.
        wants: Whether it has an objective.
        priority: Its tier's and its own, bounded.
        decision: The last one.
        endpoint: Where it is booked, ``None`` while it waits.
        hardware: The label of where it was last dispatched to.
        attempts: Dispatches so far, those aside that a data plane made by itself.
        dispatched_s: When the last one was.
        first_token_s: When its first token came.
        teaches: Whether it is of those that models learn from and that are scored in shadow;
            false also once it runs where nobody can tell.
        leanings: ``(2, n)`` factors its candidates' ranking was corrected by, ``None`` for none.
        waited_s: Time it had waited for that when its miss was counted.
        early_s: Time its early TPOT label covers, ``None`` before there is one.
        tried: Endpoints that failed it.
        failures: Its dispatches that came to nothing.
        waiting_since_s: When it began to wait for its turn, ``None`` while it does not.
        queued_s: How long it has waited so far, that time left aside.
        wait_reason: Why it waited last, ``None`` if it never did.
    """

    __slots__ = (
        "attempts",
        "decision",
        "dispatched_s",
        "early_s",
        "endpoint",
        "failures",
        "first_token_s",
        "fleet",
        "hardware",
        "leanings",
        "objective",
        "priority",
        "queued_s",
        "request",
        "teaches",
        "tier",
        "tried",
        "wait_reason",
        "waited_s",
        "waiting_since_s",
        "wants",
    )

    def __init__(
        self, *, request: RequestFeatures, tier: TierSettings, fleet: Fleet, teaches: bool = True
    ) -> None:
        self.request = request
        self.tier = tier
        self.fleet = fleet
        self.objective = objective_of(request, tier)
        self.wants = bool(self.objective)
        self.priority = priority_of(request, tier)
        self.decision: Decision | None = None
        self.endpoint: str | None = None
        self.hardware: str | None = None
        self.attempts = 0
        self.dispatched_s: float | None = None
        self.first_token_s: float | None = None
        self.teaches = teaches
        self.leanings: FloatArray | None = None
        self.waited_s: float | None = None
        self.early_s: float | None = None
        self.tried: set[str] = set()
        self.failures: tuple[FailedDispatch, ...] = ()
        self.waiting_since_s: float | None = None
        self.queued_s = 0.0
        self.wait_reason: WaitReason | None = None

    def sent(self, state: EndpointState, decision: Decision) -> Dispatch:
        """Note that it goes where it was decided to go, and say so."""
        self.decision, self.endpoint = decision, state.endpoint
        self.hardware = state.hardware
        return Dispatch(
            request_id=self.request.request_id,
            endpoint=state.endpoint,
            url=state.url,
            decision=decision,
            attempt=self.attempts,
        )

    def failed(self, cause: FailureCause, now: float) -> None:
        """Note that the endpoint it is at has failed it, where it was sent to one."""
        if self.endpoint is not None and self.dispatched_s is not None:
            self.tried.add(self.endpoint)
            failure = FailedDispatch(
                endpoint=self.endpoint, dispatched_s=self.dispatched_s, failed_s=now, cause=cause
            )
            self.failures = (*self.failures, failure)

    def lost(self) -> None:
        """Note that it runs where nobody can tell: what was predicted is not of that."""
        self.teaches = False
        if self.decision is not None:
            self.decision = replace(
                self.decision,
                predictions=None,
                predicted_s=None,
                shadow_predicted_s=None,
                likely=None,
                announced=False,
            )

    def observation(
        self,
        now: float,
        *,
        upstream_ttft_s: float | None = None,
        tpot_s: float | None = None,
        total_s: float | None = None,
        waited_s: float | None = None,
        output_tokens: int | None = None,
        use: Use = "fully",
    ) -> Observation | None:
        """Pair the last decision's features and predictions with labels.

        Returns:
            ``None`` where there was no decision, or nothing is to be learned from it.
        """
        decision = self.decision
        if decision is None or not self.teaches:
            return None
        chosen, said = decision.chosen, decision.predictions
        p90_s = None if said is None else said.quantiles_s[:, P90, chosen]
        return Observation(
            endpoint=decision.endpoint,
            model=self.fleet.model,
            hardware=self.hardware,
            observed_s=now,
            features=decision.features[chosen],
            upstream_ttft_s=upstream_ttft_s,
            tpot_s=tpot_s,
            total_s=total_s,
            waited_s=waited_s,
            output_tokens=output_tokens,
            use=use,
            predicted_ttft_s=None if said is None else said.ttft_s.item(chosen),
            predicted_tpot_s=None if said is None else said.tpot_s.item(chosen),
            predicted_ttft_p90_s=None if p90_s is None else p90_s.item(0),
            predicted_tpot_p90_s=None if p90_s is None else p90_s.item(1),
            experts=None if said is None else said.experts[:, :, chosen],
        )

    def record(
        self, measurement: Measurement, now: float, refused: ShedReason | None = None
    ) -> RequestRecord:
        """Tell the whole story, as of its end; ``refused`` says why it was, if it was."""
        waiting_s = self.waiting_since_s
        sent, first, arrived = self.dispatched_s, self.first_token_s, self.request.arrived_s
        ttft_s, tpot_s = labels_of(measurement, sent=sent, first=first, ended=now)
        seen = None
        if self.teaches and measurement.outcome == "completed":
            unknown = ttft_s is None and tpot_s is None
            seen = self.observation(
                now,
                upstream_ttft_s=ttft_s,
                tpot_s=tpot_s,
                total_s=now - sent if sent is not None and unknown else None,
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
            upstream_ttft_s=ttft_s,
            tpot_s=tpot_s,
            e2e_s=now - arrived,
            observation=seen,
            failures=self.failures,
        )


def labels_of(
    measurement: Measurement, *, sent: float | None, first: float | None, ended: float
) -> tuple[float | None, float | None]:
    """Derive TTFT and TPOT from our own stamps, else from the endpoint's own.

    Returns:
        Last dispatch to first token, ``None`` if nobody saw it, and the mean gap between
        output tokens, ``None`` for one token or if nobody saw it.

    >>> done = Measurement(outcome="completed", output_tokens=11)
    >>> labels_of(done, sent=1.0, first=1.5, ended=2.5)
    (0.5, 0.1)
    """
    tokens = measurement.output_tokens
    if sent is None or first is None:
        ttft_s, tpot_s = measurement.endpoint_ttft_s, measurement.endpoint_tpot_s
        if sent is not None and ttft_s is not None and ttft_s > ended - sent:
            ttft_s = tpot_s = None  # longer than the whole request took: not a measurement
        return ttft_s, tpot_s
    tpot_s = None if tokens is None or tokens < 2 else (ended - first) / (tokens - 1)
    return first - sent, tpot_s


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
