"""The scheduler's section of the configuration."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from predictor.types import Objective


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlainPolicySettings(_Section):
    """Choose a policy that has nothing to set."""

    kind: Literal[
        "round_robin",
        "random",
        "least_request",
        "power_of_two",
        "token_load",
        "lmetric",
        "queued_tokens",
    ]


class WeightedBlendSettings(_Section):
    """Choose llm-d's older blend of prefix, queue and KV scores."""

    kind: Literal["weighted_blend"] = "weighted_blend"
    # 3:2:2 are the weights its authors tuned; 1:1:1 was the default before.
    prefix_weight: float = Field(default=3.0, ge=0)
    queue_weight: float = Field(default=2.0, ge=0)
    kv_weight: float = Field(default=2.0, ge=0)


class PrefixAffinitySettings(_Section):
    """Choose llm-d's default: prefix affinity until saturated, then token load."""

    kind: Literal["prefix_affinity"] = "prefix_affinity"
    # Below this share of the prompt in cache an endpoint is not "sticky" (llm-d: 0.80).
    affinity_ratio: float = Field(default=0.8, ge=0, le=1)
    # Sticky endpoints may be this much slower to first token before all are considered
    # (llm-d's guides: 5 s, its code: 18 s).
    max_penalty_s: float = Field(default=5.0, ge=0)
    # Nominal prefill rate that turns tokens into seconds (llm-d: Qwen3-32B on H100).
    prefill_tokens_per_s: float = Field(default=15_928.0, gt=0)


class PredictedLatencySettings(_Section):
    """Choose the lowest predicted latency, what it costs the others counted in."""

    kind: Literal["predicted_latency"] = "predicted_latency"


PolicySettings = Annotated[
    PlainPolicySettings | WeightedBlendSettings | PrefixAffinitySettings | PredictedLatencySettings,
    Field(discriminator="kind"),
]


class TierSettings(_Section):
    """Describe a tier of service; requests choose one by header."""

    # Objectives a request of this tier has unless its own headers say otherwise.
    ttft_s: float | None = Field(default=None, gt=0, le=3600)
    tpot_s: float | None = Field(default=None, gt=0, le=60)
    # An endpoint is feasible when it meets the objective with at least this probability.
    confidence: float = Field(default=0.8, gt=0, lt=1)
    # Larger goes first among waiting requests.
    priority: int = Field(default=0, ge=-1000, le=1000)
    # Refuse (429) rather than serve late when no endpoint is feasible.
    sheddable: bool = False

    @property
    def objective(self) -> Objective:
        """Give the tier's default objective."""
        return Objective(ttft_s=self.ttft_s, tpot_s=self.tpot_s)


class FleetSettings(_Section):
    """Override the scheduler's policy for the fleet of one model."""

    policy: PolicySettings | None = None
    fallback: PolicySettings | None = None


class SchedulerSettings(_Section):
    """Everything the scheduler lets people set."""

    policy: PolicySettings = PredictedLatencySettings()
    # Decides while the predictor is cold or failing, and under the kill switch.
    fallback: PolicySettings = PlainPolicySettings(kind="lmetric")
    # "predicted" lets the policy decide; "shadow" scores and records it but lets the
    # fallback decide; "heuristic" is the kill switch. Changeable at run time.
    mode: Literal["predicted", "shadow", "heuristic"] = "predicted"
    tiers: dict[str, TierSettings] = Field(
        default_factory=lambda: {
            "interactive": TierSettings(priority=10),
            "standard": TierSettings(),
            "batch": TierSettings(priority=-10, sheddable=True),
        }
    )
    default_tier: str = "standard"
    # Dispatches of one request before its first byte, the first included.
    max_attempts: int = Field(default=3, ge=1, le=10)
    # Requests that may wait for an endpoint at once; more are refused.
    max_waiting_requests: int = Field(default=1000, ge=0, le=1_000_000)
    # How long one waits at most; a rolling restart of vLLM outlasts it on purpose:
    # clients then retry instead of piling up.
    max_wait_s: float = Field(default=10.0, ge=0, le=3600)
    # A failed endpoint is left alone this long, doubled per further failure up to 16x,
    # unless a health check finds it up again.
    failure_backoff_s: float = Field(default=0.5, gt=0, le=60)
    # An endpoint whose last scrape is older than this may hang: it is left alone while
    # there is another. Ten scrapes at the default interval.
    stale_after_s: float = Field(default=2.0, gt=0, le=3600)
    # Prefix blocks remembered per endpoint where it does not tell its KV capacity
    # (llm-d's default: 31,250).
    prefix_blocks: int = Field(default=31_250, ge=16, le=10_000_000)
    models: dict[str, FleetSettings] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _default_tier_exists(self) -> "SchedulerSettings":
        if self.default_tier not in self.tiers:
            known = ", ".join(sorted(self.tiers))
            msg = f"default_tier {self.default_tier!r} is not among the tiers: {known}"
            raise ValueError(msg)
        return self
