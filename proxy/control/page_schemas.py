"""Shapes of the live page's stream, in the terms of :mod:`proxy.control.schemas`."""

from pydantic import BaseModel, ConfigDict, Field

from proxy.control.schemas import DecidingView, DecisionSummary, EndpointView, FleetView, Mode


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class SecondView(_Part):
    """Means over the requests that finished in one second."""

    at_s: float
    requests: int
    failed: int = Field(description="Refused, or failed through no fault of the client")
    ttft_s: float | None
    predicted_ttft_s: float | None
    tpot_s: float | None
    predicted_tpot_s: float | None


class PointView(_Part):
    """One completed request: what was predicted of it, with the p90 stated, and what came."""

    at_s: float
    predicted_ttft_s: float
    ttft_p90_s: float
    ttft_s: float | None
    predicted_tpot_s: float
    tpot_p90_s: float
    tpot_s: float | None


class DecisionRow(DecisionSummary):
    """A finished request in the list of the last decisions."""

    tier: str
    refused: str | None = Field(description="Why it was refused; null where it was not")
    queued_s: float = Field(description="Time in the scheduler's queue")
    waited_for: str | None
    choices: int = Field(description="How many candidates there were")
    runner_up: str | None = Field(description="The best of the other candidates")
    ahead: float | None = Field(description="Its cost less that of the endpoint chosen")


class TypicalView(_Part):
    """The typical request of a model: medians of its last completed requests."""

    model: str
    prompt_tokens: float
    cached_tokens: float
    output_tokens: float
    requests: int = Field(description="How many these are the medians of; 0 for the default")


class TierView(_Part):
    """A tier of service: what it promises, what came of it, who waits."""

    tier: str
    ttft_s: float | None
    tpot_s: float | None
    judged: int = Field(description="Of the last requests, those that had an objective")
    met: int
    waiting: int
    tenants: list[int] = Field(description="Hashes of the tenants that wait")
    oldest_s: float | None = Field(description="Longest wait of those that wait now")


class TrialView(_Part):
    """A policy in shadow, against the one that decided, over the last requests."""

    model: str
    policy: str
    shadow: str
    requests: int
    same: int = Field(description="Of these, sent where the policy in shadow would have")
    chosen_s: float = Field(description="Expected seconds where they went, summed up")
    shadow_s: float = Field(description="The same where the policy in shadow would have")


class Snapshot(_Part):
    """One event of the live page's stream.

    The first of a connection carries the series and points there are, later ones what
    came since; everything else is whole in each.
    """

    at_s: float
    interval_s: float = Field(description="Time to the next one")
    mode: Mode
    requests: int = Field(description="The last requests, which errors, tiers and trials are of")
    since_at_s: float | None = Field(description="When the first of these finished")
    endpoints: list[EndpointView]
    typical: list[TypicalView]
    models: list[FleetView]
    deciding: list[DecidingView]
    tiers: list[TierView]
    trials: list[TrialView]
    decisions: list[DecisionRow]
    series: list[SecondView]
    points: list[PointView]
