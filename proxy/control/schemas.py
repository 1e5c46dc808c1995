"""Shapes of the control plane's answers and bodies; together they are its OpenAPI.

Seconds and fractions throughout. A field named ``..._at_s`` is Unix time. ``null`` is
unknown, never zero.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl

from predictor.types import SpillReason
from scheduler import CanarySettings, PolicySettings

Mode = Literal["predicted", "shadow", "heuristic"]
"""Who decides: the policy; the fallback while the policy is recorded; the fallback."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ErrorDetail(_Answer):
    """OpenAI's error object."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(_Answer):
    """What every refused call gets."""

    error: ErrorDetail


class EndpointView(_Answer):
    """One endpoint: as scraped, as booked here, and how well it is predicted."""

    endpoint: str
    url: str
    model: str | None = Field(description="Base model it serves; null until it has told")
    hardware: str | None
    up: bool
    draining: bool
    running_requests: float | None
    waiting_requests: float | None
    kv_cache_usage: float | None = Field(description="Fraction of KV blocks in use")
    inflight_requests: int = Field(description="Sent by this router, not ended")
    queued_requests: int = Field(description="Of these, without a first token")
    queued_prefill_tokens: float
    inflight_tokens: float = Field(
        description="Sent by this router: prompts to be computed, and contexts that decode"
    )
    suspicion: str | None = Field(
        description="Why it is left alone for now, as a circuit breaker does; null where it is not"
    )
    priority_class: int = Field(default=0, description="0 is asked first; those above stand by")
    scrape_age_s: float | None
    typical_ttft_s: float | None = Field(
        default=None, description="What a typical request is predicted to see there now"
    )
    typical_ttft_p90_s: float | None = None
    typical_tpot_s: float | None = None
    typical_tpot_p90_s: float | None = None
    ttft_error_ratio: float | None = Field(description="Median relative error of late")
    tpot_error_ratio: float | None


class CandidateView(_Answer):
    """What one endpoint would have meant for the request."""

    endpoint: str
    chosen: bool
    predicted_ttft_s: float | None = None
    predicted_ttft_p90_s: float | None = None
    predicted_tpot_s: float | None = None
    predicted_tpot_p90_s: float | None = None
    matched_tokens: float | None = Field(description="Prompt tokens believed cached there")
    cost: float | None = Field(description="Score of the deciding policy; the lowest wins")
    terms: dict[str, float | None] = Field(description="Parts the cost is the sum of")


class ResultView(_Answer):
    """What then happened."""

    outcome: str
    status: int | None
    finished_at_s: float
    ttft_s: float | None = Field(description="Receipt to first token")
    upstream_ttft_s: float | None = Field(description="Last dispatch to first token")
    tpot_s: float | None
    e2e_s: float | None
    prompt_tokens: int | None
    cached_tokens: int | None
    output_tokens: int | None


class DecisionSummary(_Answer):
    """One finished request: where it went, why, and how it ended."""

    request_id: str
    received_at_s: float
    model: str
    endpoint: str | None = Field(description="Where it ran; null when it was refused")
    reason: str | None = Field(description="Null when it was refused before a decision")
    policy: str | None
    layer: str | None = Field(description="What the prediction rests on; null without one")
    priority_class: int | None = Field(
        default=None, description="That of the candidates, above 0 for endpoints that stand by"
    )
    spilled: SpillReason | None = Field(
        default=None, description="Why it went past the lowest class; null where it did not"
    )
    attempts: int
    predicted_ttft_s: float | None = Field(description="Upstream TTFT expected where it ran")
    predicted_tpot_s: float | None
    result: ResultView


class DecisionView(DecisionSummary):
    """A finished request with every candidate of its last decision, best first."""

    prompt_tokens: int | None = Field(description="The count the features were made with")
    version: str | None = Field(description="Trained model that took part")
    shadow_policy: str | None = Field(description="Scored beside the one that decided")
    shadow_endpoint: str | None = Field(description="What the policy in shadow would pick")
    predicted_s: float | None = Field(description="Expected dispatch to last token where it went")
    shadow_predicted_s: float | None = Field(description="The same at the shadow's pick")
    candidates: list[CandidateView]


class TargetView(_Answer):
    """How one target is predicted in one fleet."""

    target: Literal["ttft", "tpot"]
    mdape_ratio: float | None = Field(description="Prequential median absolute relative error")
    coverage_ratio: float | None = Field(description="Share of actuals below the stated p90")
    weights: dict[str, float] = Field(description="By expert; they sum to 1")
    errors: dict[str, float | None] = Field(
        default_factory=dict,
        description="By expert: prequential mean absolute log error; null before a label",
    )


class TrainingView(_Answer):
    """How the trainer is and what its last run gave."""

    alive: bool
    enabled: bool = Field(default=True, description="False where none is meant to run")
    last_result: str | None = None
    last_run_at_s: float | None = None
    seconds: float | None = None
    rows: int | None = None
    message: str | None = Field(default=None, description="Why a run failed or was refused")
    way: str | None = Field(default=None, description="full, or continued from the last model")
    refused: dict[str, int] = Field(
        default_factory=dict, description="Labels its window has refused, by reason"
    )


class FleetView(_Answer):
    """The models that predict one fleet."""

    model: str = Field(description="Base model the fleet serves")
    version: str | None = Field(description="Trained model being served; null without one")
    layer: Literal["cold", "prior", "mixture"]
    targets: list[TargetView]
    observations: int
    labels: dict[str, int] = Field(default_factory=dict, description="Learned from, by target")
    refused: dict[str, int] = Field(default_factory=dict, description="Observations, by reason")
    training: TrainingView
    problem: str | None = Field(
        default=None, description="Why the stored version in use is not being served"
    )


class DecidingView(_Answer):
    """Who decides in one fleet, and what is on trial there."""

    model: str
    level: Literal["mixture", "prior", "heuristic", "least_request"] | None = Field(
        description="What decided last; null before the first decision"
    )
    reason: str | None = Field(description="Why")
    since_at_s: float | None
    problem: str | None = Field(
        default=None, description="What the predictor last failed with, however long ago"
    )
    policy: str
    fallback: str
    shadow: str | None = Field(description="Null for the usual one")
    canary: str | None
    canary_share_ratio: float
    session: Literal["prefer", "strict", "off"]


class OtherRouterView(_Answer):
    """Another router, heard of within two seconds."""

    name: str
    heard_age_s: float = Field(
        description="Since the writing of the last thing heard of it; of several processes, of "
        "the one that has been silent for longest"
    )
    same_store: bool = Field(description="Whether it reads the models store that this one reads")
    training: bool = Field(description="Whether it trains for all that read its models store")


class RoutersView(_Answer):
    """How this router stands with others in front of the same endpoints."""

    configured: bool = Field(description="False where it is to know of none: routers.url is unset")
    name: str | None = Field(description="Its own among them")
    connected: bool = Field(description="With the server they meet at; of every worker")
    problem: Literal["refused", "timeout", "deaf", "login", "error"] | None = Field(
        description="What the connection ended with, or could not be made for; null while it "
        "stands, and before the first attempt has ended"
    )
    shares_store: bool = Field(description="Whether others could read its models store at all")
    training: bool = Field(description="Whether it trains for all that read its models store")
    others: list[OtherRouterView]


class TrialsBody(_Body):
    """What to try beside the policies, in place of what the configuration says."""

    model: str | None = Field(
        default=None, max_length=512, description="Whose fleet; null for all without their own"
    )
    shadow: PolicySettings | None = None
    canary: CanarySettings | None = None


class ModeBody(_Body):
    """The mode, as read and as set."""

    mode: Mode


def _no_more_than_a_base(url: HttpUrl) -> HttpUrl:
    if url.username or url.password or url.query or url.fragment or url.path != "/":
        msg = "give scheme, host and port only"
        raise ValueError(msg)
    return url


class NewEndpoint(_Body):
    """An endpoint to add."""

    url: Annotated[HttpUrl, AfterValidator(_no_more_than_a_base)]
    hardware: str | None = Field(default=None, min_length=1, max_length=64)

    @property
    def base_url(self) -> str:
        """Give the URL without a trailing slash."""
        return str(self.url).rstrip("/")


class HypotheticalRequest(_Body):
    """A request to predict and not to send."""

    model: str = Field(min_length=1, max_length=512)
    prompt_tokens: int = Field(ge=1, le=100_000_000)
    max_tokens: int | None = Field(default=None, ge=1, le=100_000_000)
    streamed: bool = True
    tier: str | None = None


class PredictionView(_Answer):
    """What a hypothetical request would see at each endpoint, best first."""

    model: str
    layer: str | None
    version: str | None
    policy: str
    reason: str
    candidates: list[CandidateView]


class ReloadView(_Answer):
    """What a reload changed."""

    changed: list[str] = Field(description="Paths of the settings now in force")


class ClearedView(_Answer):
    """What clearing the response cache removed."""

    answers: int
