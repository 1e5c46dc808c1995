"""Shape of the explanation of one request; part of the control plane's OpenAPI.

Everything is as it was when the request was dispatched, but for what says of itself that
it is of now: how far each expert is believed is not kept with every request.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from predictor.types import FailureCause
from proxy.control.schemas import CandidateView, DecisionView


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class AskedView(_Part):
    """What was asked for; never the prompt."""

    streamed: bool
    max_tokens: int | None
    prompt_bytes: int
    session_id: str | None
    tenant: str | None
    tier: str | None = Field(description="Null for the default one")
    priority: int = Field(description="Larger is served first when requests wait")
    objective_ttft_s: float | None
    objective_tpot_s: float | None
    allowed_endpoints: list[str] | None = Field(description="Null for all")


class QueueView(_Part):
    """How long it waited for its turn, and why."""

    queued_s: float
    waited_for: str | None
    refused: str | None = Field(description="Why the scheduler refused it; null: it did not")


class DispatchView(_Part):
    """One time that it was sent to an endpoint."""

    attempt: int
    endpoint: str | None = Field(description="Null where a data plane sent it nobody knows where")
    at_s: float
    seconds: float = Field(description="Until it failed there, or ended")
    failed: FailureCause | None = Field(description="Null for the dispatch it ended with")


class ExpertView(_Part):
    """What one expert said, and how far it is believed."""

    expert: str
    layer: Literal["physics", "boosted", "correction"]
    seconds: float | None = Field(description="Null where it had nothing to say")
    weight_ratio: float | None = Field(description="Of now, among those that spoke")


class TargetPredictionView(_Part):
    """What was predicted of one target at one endpoint."""

    expected_s: float | None = Field(description="By all experts")
    p50_s: float | None
    p90_s: float | None
    p99_s: float | None
    rank_s: float | None = Field(description="What candidates are told apart by")
    experts: list[ExpertView]


class CandidatePredictionView(_Part):
    """What was predicted at one endpoint, and what the request would cost the others there."""

    ttft: TargetPredictionView
    tpot: TargetPredictionView
    prefill_s: float | None = Field(description="Its own prefill: what it delays others by")
    decode_step_s: float | None = Field(description="What it adds to each decoding step")
    prefill_token_s: float | None = Field(description="Of one more uncached prompt token")


class ExplainedCandidate(CandidateView):
    """One endpoint in full: what was seen of it, what was predicted, what it would cost."""

    features: dict[str, float | None] = Field(description="As at dispatch; null is unknown")
    prediction: CandidatePredictionView | None


class ErrorView(_Part):
    """What was predicted of one target where the request ran, against what was measured."""

    predicted_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    actual_s: float
    error_ratio: float = Field(description="(predicted - actual) / actual")
    within_p90: bool


class ErrorsView(_Part):
    """Both targets; null where either side is unknown."""

    ttft: ErrorView | None = Field(description="Of upstream TTFT: last dispatch to first token")
    tpot: ErrorView | None


class FeatureView(_Part):
    """What a column of the features means."""

    name: str
    unit: str
    source: str
    meaning: str


class LeftOutView(_Part):
    """An endpoint of the fleet that was no candidate."""

    endpoint: str
    now: str | None = Field(
        description="What speaks against it now: down, draining, or why it is left alone "
        "(unreachable, failing, refusing, stalled); null: nothing does"
    )


class ServingView(_Part):
    """What predicts the fleet now."""

    version: str | None
    layer: str
    same_version: bool = Field(description="Whether the trained model is still the same one")


class ExplanationView(DecisionView):
    """One finished request: what was known, predicted and decided, and what then happened."""

    fleet: str | None = Field(description="Base model whose fleet served it")
    trace_id: str | None = Field(description="Of its distributed trace; null where none is made")
    why: str = Field(description="One sentence for a person")
    answered: str | None = Field(description="How the router answered it by itself")
    request: AskedView
    queue: QueueView
    dispatches: list[DispatchView] = Field(description="Oldest first")
    likely_ratio: float | None = Field(description="Probability given to its objective")
    errors: ErrorsView
    candidates: list[ExplainedCandidate]  # type: ignore[assignment]  # a subclass, never written
    features: list[FeatureView]
    left_out: list[LeftOutView]
    serving: ServingView | None = Field(description="Null where no fleet served it")
