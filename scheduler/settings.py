"""The scheduler's section of the configuration."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from predictor.types import Objective
from scheduler.scaling_settings import ScalingSettings


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
        "queued_tokens",
        "queued_tokens_speed",
        "lmetric",
        "lmetric_own",
        "lmetric_speed",
        "session_affinity",
    ]
    """Which policy: docs/policies.md says what each does."""


class WeightedBlendSettings(_Section):
    """Choose llm-d's older blend of prefix, queue and KV scores."""

    kind: Literal["weighted_blend"] = "weighted_blend"
    prefix_weight: float = Field(default=3.0, ge=0)
    """Weight of the prefix score. 3:2:2 are the weights its authors tuned; 1:1:1 was the default
    before."""
    queue_weight: float = Field(default=2.0, ge=0)
    """Weight of the score for few waiting requests."""
    kv_weight: float = Field(default=2.0, ge=0)
    """Weight of the score for a free KV cache."""
    cold_weight: float = Field(default=0.0, ge=0)
    """Weight of the longest unused endpoint for a prompt that none holds (its no-hit-lru scorer; 2
    in the guide that had it)."""


class PrefixAffinitySettings(_Section):
    """Choose llm-d's default: prefix affinity until saturated, then the least load."""

    kind: Literal["prefix_affinity"] = "prefix_affinity"
    affinity_ratio: float = Field(default=0.8, ge=0, le=1)
    """Below this share of the prompt in cache an endpoint is not "sticky" (llm-d: 0.80)."""
    max_penalty_s: float = Field(default=18.0, ge=0)
    """Sticky endpoints may be this much slower to first token before all are considered (llm-d's
    code and its default guide: 18 s, 286,720 tokens; its predictor's guide: 5 s)."""
    prefill_tokens_per_s: float = Field(default=15_928.0, gt=0)
    """Nominal prefill rate that turns tokens into seconds (llm-d: Qwen3-32B on 2xH100)."""
    load: Literal["queued_tokens", "token_load", "least_request"] = "queued_tokens"
    """What decides among those considered. llm-d's default lets tokens go at the first token, as
    queued_tokens does; for decode-bound traffic it counts active requests."""


class RadixCacheAwareSettings(_Section):
    """Choose the cache-aware default of the Rust routers."""

    kind: Literal["radix_cache_aware"] = "radix_cache_aware"
    affinity_ratio: float = Field(default=0.3, ge=0, le=1)
    """A best match of this share of the prompt or less is none."""
    imbalance_requests: int = Field(default=64, ge=0)
    """Load is out of balance past both: this gap in requests in flight ..."""
    imbalance_ratio: float = Field(default=1.5, ge=1)
    """... and this ratio of the most to the fewest."""


class BoundedLoadHashSettings(_Section):
    """Choose consistent hashing of the prompt's beginning with bounded loads."""

    kind: Literal["bounded_load_hash"] = "bounded_load_hash"
    load_factor: float = Field(default=1.25, ge=1)
    """An endpoint takes up to this many times the mean requests in flight (KubeAI: 125 %)."""
    prefix_blocks: int = Field(default=4, ge=1, le=100_000)
    """Leading prefix blocks that are hashed: 256 tokens at our 64 a block, as SMG's."""


class PredictedLatencySettings(_Section):
    """Choose the lowest predicted latency, what it costs the others counted in."""

    kind: Literal["predicted_latency"] = "predicted_latency"
    objective: Literal["total", "own", "ttft"] = "total"
    """What is minimised: everyone's seconds, the request's own, or its first token's. The last two
    lose against good heuristics wherever caches or batches are shared."""


AnyPolicySettings = (
    PlainPolicySettings
    | WeightedBlendSettings
    | PrefixAffinitySettings
    | RadixCacheAwareSettings
    | BoundedLoadHashSettings
    | PredictedLatencySettings
)

POLICIES: Final[dict[str, AnyPolicySettings]] = {
    "bounded_load_hash": BoundedLoadHashSettings(),
    "least_request": PlainPolicySettings(kind="least_request"),
    "lmetric": PlainPolicySettings(kind="lmetric"),
    "lmetric_own": PlainPolicySettings(kind="lmetric_own"),
    "lmetric_speed": PlainPolicySettings(kind="lmetric_speed"),
    "power_of_two": PlainPolicySettings(kind="power_of_two"),
    "predicted_latency": PredictedLatencySettings(),
    "prefix_affinity": PrefixAffinitySettings(),
    "prefix_affinity_5s": PrefixAffinitySettings(max_penalty_s=5.0),
    "prefix_affinity_requests": PrefixAffinitySettings(load="least_request"),
    "queued_tokens": PlainPolicySettings(kind="queued_tokens"),
    "queued_tokens_speed": PlainPolicySettings(kind="queued_tokens_speed"),
    "radix_cache_aware": RadixCacheAwareSettings(),
    "random": PlainPolicySettings(kind="random"),
    "round_robin": PlainPolicySettings(kind="round_robin"),
    "session_affinity": PlainPolicySettings(kind="session_affinity"),
    "token_load": PlainPolicySettings(kind="token_load"),
    "weighted_blend": WeightedBlendSettings(),
    "weighted_blend_111": WeightedBlendSettings(prefix_weight=1.0, queue_weight=1.0, kv_weight=1.0),
    "weighted_blend_3222": WeightedBlendSettings(cold_weight=2.0),
}
"""Every policy one can choose by name alone, with its settings."""


def _by_name(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in POLICIES:
        msg = f"not the name of a policy; there are: {', '.join(POLICIES)}"
        raise ValueError(msg)
    return POLICIES[value]


PolicySettings = Annotated[
    AnyPolicySettings, Field(discriminator="kind"), BeforeValidator(_by_name)
]
"""A table with its ``kind`` and settings, or the name of one of :data:`POLICIES`."""


class TierSettings(_Section):
    """Describe a tier of service; requests choose one by header."""

    ttft_s: float | None = Field(default=None, gt=0, le=3600)
    """Time to first token that requests of this tier shall have unless their own headers say
    otherwise."""
    tpot_s: float | None = Field(default=None, gt=0, le=60)
    """Time per output token, likewise."""
    confidence: float = Field(default=0.8, gt=0, lt=1)
    """An endpoint is feasible when it meets the objective with at least this probability."""
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Larger goes first among waiting requests."""
    sheddable: bool = False
    """Refuse (429) rather than serve late when no endpoint is feasible."""
    headroom: Literal["lowest", "least", "most"] = "lowest"
    """Among feasible endpoints: the lowest cost; the least headroom, which packs and leaves others
    free for what is more urgent; or the most."""
    max_wait_s: float | None = Field(default=None, ge=0, le=86_400)
    """How long one of this tier waits at most; unset: the scheduler's max_wait_s. Then a sheddable
    one is refused, another goes wherever is best."""

    standby: bool = True
    """May go to standby endpoints while the class below takes requests. Off, it waits or is refused
    instead; where that class is down it goes there all the same."""

    @property
    def objective(self) -> Objective:
        """Give the tier's default objective."""
        return Objective(ttft_s=self.ttft_s, tpot_s=self.tpot_s)


class CanarySettings(_Section):
    """Let another policy decide for a share of the requests."""

    policy: PolicySettings
    """The policy on trial."""
    share: float = Field(ge=0, le=1)
    """Share of the conversations, else of the requests, that it decides for, by a hash that does
    not change. 0 is none."""


class LadderSettings(_Section):
    """Say when predictions must not decide, and when they may again."""

    failures: int = Field(default=5, ge=1, le=1000)
    """So many of the last decisions without a usable prediction, or over the budget, leave the
    predictor alone for hold_s: one lost prediction is its own request's matter."""
    of_last_decisions: int = Field(default=20, ge=1, le=1000)
    """How many decisions those are counted in."""
    decision_budget_s: float = Field(default=0.02, gt=0, le=10)
    """Time of a whole decision. One over a hundred endpoints takes about a millisecond; twenty of
    them are felt by the streams that share the event loop."""
    max_error_factor: float = Field(default=3.0, gt=1, le=100)
    """Predictions do not decide when the median of the last labels is further off than this factor,
    either way, in TTFT or TPOT; times below a millisecond count as one ..."""
    good_error_factor: float = Field(default=2.0, gt=1, le=100)
    """... until it has been within this one for hold_s. Ranking bears a factor common to all
    endpoints, so both are wide: they catch a broken model, not a bad day."""
    error_labels: int = Field(default=100, ge=10, le=10_000)
    """Labels of each target in the median: ten seconds at ten requests a second."""
    hold_s: float = Field(default=10.0, gt=0, le=3600)
    """How long a step of the ladder is kept at least: longer than a burst, shorter than anyone
    looks at a graph."""

    @model_validator(mode="after")
    def _bounds_apart(self) -> "LadderSettings":
        if self.good_error_factor >= self.max_error_factor:
            msg = (
                f"good_error_factor = {self.good_error_factor:g} must be less than "
                f"max_error_factor = {self.max_error_factor:g}"
            )
            raise ValueError(msg)
        if self.failures > self.of_last_decisions:
            msg = (
                f"failures = {self.failures} must not be more than "
                f"of_last_decisions = {self.of_last_decisions}"
            )
            raise ValueError(msg)
        return self


class RetrySettings(_Section):
    """Bound how many requests are dispatched again, so that no outage is multiplied."""

    max_ratio: float = Field(default=0.2, ge=0, le=10)
    """Retries of a fleet over its requests, both within the window, at most. Finagle's and
    Linkerd's default."""
    window_s: float = Field(default=10.0, ge=0.1, le=3600)
    """Time over which both are counted."""
    floor_per_s: float = Field(default=10.0, ge=0, le=10_000)
    """Retries a second allowed whatever the share: a quiet service may retry, and what was in
    flight at one crashed endpoint goes to the others."""


class StandbySettings(_Section):
    """Say when requests go to endpoints of a higher priority class, and when no more."""

    ttft_s: float | None = Field(default=2.0, gt=0, le=3600)
    """Requests without an objective go to the next class when their TTFT is not likely to be within
    this at any endpoint of the class below; unset: only when none can start them."""
    spill_ratio: float = Field(default=1.0, gt=0, le=10)
    """Share of an objective (or of ttft_s) that a class must be likely to meet, while the next one
    is closed ..."""
    return_ratio: float = Field(default=0.8, gt=0, le=10)
    """... and while it is open: less, so that requests return only once there is room to spare."""
    dwell_s: float = Field(default=30.0, ge=0, le=3600)
    """A class counts as open so long after the last request that needed it: longer than a burst's
    answers decode."""

    @model_validator(mode="after")
    def _returns_below(self) -> "StandbySettings":
        if self.return_ratio > self.spill_ratio:
            msg = (
                f"return_ratio = {self.return_ratio:g} must not be more than "
                f"spill_ratio = {self.spill_ratio:g}"
            )
            raise ValueError(msg)
        return self


SessionMode = Literal["prefer", "strict", "off"]
"""What a conversation's last endpoint is: the first among near-ties, the only one while it
can take requests, nothing."""


class FleetSettings(_Section):
    """Override the scheduler's policy for the fleet of one model."""

    policy: PolicySettings | None = None
    """Decides for this model's fleet; not set: the scheduler's."""
    fallback: PolicySettings | None = None
    """Likewise for the fallback."""
    shadow: PolicySettings | None = None
    """Likewise for the policy in shadow."""
    canary: CanarySettings | None = None
    """Likewise for the canary."""
    session: SessionMode | None = None
    """Likewise for what a session decides."""


class SchedulerSettings(_Section):
    """Everything the scheduler lets people set."""

    policy: PolicySettings = PredictedLatencySettings()
    """Decides where a request goes: a name, or a table with a kind and its settings
    (docs/policies.md)."""
    fallback: PolicySettings = PlainPolicySettings(kind="lmetric")
    """Decides while the predictor is cold or failing, and under the kill switch."""
    mode: Literal["predicted", "shadow", "heuristic"] = "predicted"
    """"predicted" lets the policy decide; "shadow" scores and records it but lets the fallback
    decide; "heuristic" is the kill switch. Changeable at run time."""
    shadow: PolicySettings | None = None
    """Scored beside the policy that decides and recorded with it. Not set: where predictions decide
    the fallback, in shadow mode the policy."""
    canary: CanarySettings | None = None
    """Another policy that decides for a share of the requests; not set: none."""
    session: SessionMode = "prefer"
    """What a conversation's last endpoint is: "prefer", the first among near-ties; "strict", the
    only one while it can take requests; "off", nothing."""
    ladder: LadderSettings = LadderSettings()
    tiers: dict[str, TierSettings] = Field(
        default_factory=lambda: {
            "interactive": TierSettings(priority=10),
            "standard": TierSettings(),
            "batch": TierSettings(priority=-10, sheddable=True),
        }
    )
    """Tiers of service by name. Naming any replaces these three."""
    default_tier: str = "standard"
    """The tier of requests that name none."""
    max_attempts: int = Field(default=3, ge=1, le=10)
    """Dispatches of one request before its first byte, the first included."""
    retries: RetrySettings = RetrySettings()
    standby: StandbySettings = StandbySettings()
    scaling: ScalingSettings = ScalingSettings()
    max_waiting_requests: int = Field(default=1000, ge=0, le=1_000_000)
    """Requests that may wait for an endpoint at once; more are refused."""
    max_wait_s: float = Field(default=10.0, ge=0, le=3600)
    """How long a request waits at most; a rolling restart of vLLM outlasts it on purpose: clients
    then retry instead of piling up."""
    max_waiting_bytes: int = Field(default=1 << 28, ge=0, le=1 << 40)
    """Prompt bytes that may wait at once: bodies are held in memory (256 MiB)."""
    max_tenant_ratio: float = Field(default=0.5, gt=0, le=1)
    """Of both bounds, the share one named tenant may take up."""
    flow_control: bool = True
    """Hold requests back while endpoints are full or what others were promised is at risk. Without,
    requests wait only where no endpoint is up."""
    turn_after_s: float = Field(default=5.0, gt=0, le=3600)
    """Whoever is first in a priority band has a turn after so long, whatever is at risk: a lower
    band trickles on under overload instead of starving."""
    failure_backoff_s: float = Field(default=0.5, gt=0, le=60)
    """A failed endpoint is left alone this long, doubled per further failure up to 4x, unless a
    health check finds it up again."""
    warm_up_s: float = Field(default=30.0, ge=0, le=3600)
    """How long an endpoint that has just come, or come back with empty caches, has in flight at
    most a growing share of what the others have; 0: no such bound (docs/decisions/discovery.md)."""
    stale_after_s: float = Field(default=2.0, gt=0, le=3600)
    """An endpoint whose last scrape is older than this may hang: it is left alone while there is
    another. Ten scrapes at the default interval."""
    still_after_s: float = Field(default=5.0, gt=0, le=3600)
    """An endpoint that has requests in its batch while its counters stand still for so long hangs,
    whatever its health check says. No step of an accelerator takes seconds; an endpoint wrongly
    blamed, on a processor say, is only taken last until it moves."""
    prefix_blocks: int = Field(default=31_250, ge=16, le=10_000_000)
    """Prefix blocks remembered per endpoint where it does not tell its KV capacity (llm-d's
    default: 31,250)."""
    prefix_total_blocks: int = Field(default=4_000_000, ge=16, le=100_000_000)
    """Prefix blocks of all endpoints together, shared out equally: 0.2 KB each, 0.8 GB in all."""
    announced_blocks: int = Field(default=2_000_000, ge=16, le=100_000_000)
    """Distinct blocks remembered of what endpoints announce: 0.25 KB each, 0.5 GB in all, and 50
    bytes per further endpoint that holds one; 32 million tokens at vLLM's 16 a block."""
    early_label_s: float = Field(default=3.0, gt=0, le=3600)
    """A stream's TPOT is learned this long after its first token, not only at its end: short enough
    for a cold start, long enough for tens of tokens."""
    cold_label_s: float = Field(default=0.5, gt=0, le=3600)
    """The same while nothing is known of the fleet: anything measured is better then."""
    early_label_tokens: int = Field(default=8, ge=2)
    """Fewer tokens than this make a mean too noisy: it is then learned when there are so many."""
    learned_requests_per_s: float = Field(default=250.0, gt=0, le=100_000)
    """Of each fleet so many requests a second teach, beyond it an even share of them. Learning one
    costs about what serving one does; models need some hundred to follow a change in a second, and
    the trainer's window holds no more than minutes of this."""
    models: dict[str, FleetSettings] = Field(default_factory=dict)
    """Overrides for the fleet of one model, by the model's name."""

    @model_validator(mode="after")
    def _default_tier_exists(self) -> "SchedulerSettings":
        if self.default_tier not in self.tiers:
            known = ", ".join(sorted(self.tiers))
            msg = f"default_tier {self.default_tier!r} is not among the tiers: {known}"
            raise ValueError(msg)
        return self

    def longest_wait_s(self, tier: TierSettings) -> float:
        """Say how long a request of a tier waits at most."""
        return self.max_wait_s if tier.max_wait_s is None else tier.max_wait_s
