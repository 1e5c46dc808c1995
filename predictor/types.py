"""The vocabulary every folder speaks: requests, endpoints, predictions, observations.

Decides what passes between the proxy, the scheduler, the predictor and the
collectors, and in which units: seconds, tokens, bytes and fractions, never
milliseconds or percents. Unknown is ``None`` (NaN inside arrays), never 0.
All is immutable; whoever wants a different value makes another one. What comes once a
request is a :class:`Value`: a msgspec struct here, a native class in the compiled build.
"""

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from predictor.endpoints import IDLE, EndpointLoad, EndpointState, SpillReason
from predictor.kv_cache import TokenBlocks
from predictor.values import Value

__all__ = [
    "BLOCK_BYTES",
    "IDLE",
    "LEVELS",
    "LONGEST_OUTPUT_TOKENS",
    "NO_OBJECTIVE",
    "P50",
    "P90",
    "P99",
    "Decision",
    "EndpointLoad",
    "EndpointState",
    "FailedDispatch",
    "FailureCause",
    "FloatArray",
    "Layer",
    "Measurement",
    "Objective",
    "Observation",
    "Outcome",
    "Predictions",
    "RequestFeatures",
    "RequestRecord",
    "SpillReason",
    "TraceContext",
    "Use",
]

FloatArray = NDArray[np.float64]

BLOCK_BYTES: Final = 256
"""Prompt bytes per prefix block: 64 tokens of text, or 64 token ids of 4 bytes."""

LONGEST_OUTPUT_TOKENS: Final = 1 << 20
"""Longer bounds and answers count as this: no context is longer, and senders write 2^31."""

LEVELS: Final[tuple[float, ...]] = (0.5, 0.9, 0.99)
"""The quantiles that every prediction states."""
P50, P90, P99 = range(len(LEVELS))

Layer = Literal["cold", "prior", "mixture"]
"""What the served numbers rest on: nothing yet, the physics prior, or all experts."""

Use = Literal["fully", "teaching", "scoring"]
"""What an observation is for, where a request gives more than one TPOT label.

``teaching`` comes early and moves point predictions only; ``scoring`` follows it with the
whole answer, which says nothing the early label has not taught: quantiles and reported
errors count it, so that every request counts once. ``fully`` is both at once.
"""

Outcome = Literal[
    "completed", "client_gone", "upstream_error", "client_error", "cut", "shed", "shutdown"
]
"""How a request ended: ``client_error`` is a 4xx of the endpoint, ``upstream_error`` a
failure before the first byte, ``cut`` a response that broke after its first byte, ``shed``
one that the scheduler refused or gave up, ``shutdown`` one that this router's end broke off.
"""


class Objective(Value):
    """Hold a request's latency targets; each is optional and independent.

    Attributes:
        ttft_s: Most seconds from receipt to the first output token, or ``None``.
        tpot_s: Most seconds per output token after the first, or ``None``.
    """

    ttft_s: float | None = None
    tpot_s: float | None = None

    def __bool__(self) -> bool:
        return self.ttft_s is not None or self.tpot_s is not None


NO_OBJECTIVE = Objective()


class TraceContext(Value):
    """Name the place of a request in a distributed trace: ids, and what was asked for.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: Of the request as a whole; those of its dispatches follow it by number.
        parent_id: Of the caller's span, ``None`` where the trace begins here.
        sampled: Whether it is exported.
        state: The caller's ``tracestate``, ``None`` without one.
        method: HTTP method.
        path: Path of the request, without its query.
    """

    trace_id: str
    span_id: int
    parent_id: int | None = None
    sampled: bool = True
    state: str | None = None
    method: str = "POST"
    path: str = ""


class RequestFeatures(Value):
    """Describe one request as the scheduler sees it: sizes, hashes and wishes, no text.

    Attributes:
        request_id: Unique while the request lives.
        arrived_s: When the proxy received it, on the clock passed as ``now``.
        model: The model or adapter name the client asked for.
        prompt_bytes: UTF-8 bytes of the prompt text, 0 where there is none.
        prompt_tokens: Exact count, ``None`` to have it estimated from ``prompt_bytes``.
        max_tokens: The client's own bound on output tokens.
        streamed: Whether the client asked for server-sent events.
        block_hashes: Chain of prefix block hashes, each covering all before it.
        block_bytes: Prompt bytes a block stands for (the last partial block is left out).
        token_blocks: The prompt's blocks by its tokens, empty where these are not known.
        trace: Its place in a distributed trace, ``None`` where none are made.
        session_id: Conversation the request belongs to.
        tenant: Whom it is served for.
        tier: Name of the service tier, ``None`` for the default one.
        priority: Larger is served first when requests wait.
        objective: Latency targets.
        allowed_endpoints: Endpoints the caller restricts the choice to, ``None`` for all.
        trace_id: Trace it belongs to, 32 lower-case hex digits; ``None`` for no trace.
    """

    request_id: str
    arrived_s: float
    model: str
    prompt_bytes: int = 0
    prompt_tokens: int | None = None
    max_tokens: int | None = None
    streamed: bool = False
    block_hashes: tuple[int, ...] = ()
    block_bytes: int = BLOCK_BYTES
    token_blocks: TokenBlocks = msgspec.field(default_factory=dict)
    trace: TraceContext | None = None
    session_id: str | None = None
    tenant: str | None = None
    tier: str | None = None
    priority: int = 0
    objective: Objective = NO_OBJECTIVE
    allowed_endpoints: frozenset[str] | None = None
    trace_id: str | None = None


class Predictions(Value):
    """Hold what one request would see at each of ``n`` candidate endpoints.

    Arrays have shape ``(n,)`` where none is named and are finite and non-negative, in seconds.

    Attributes:
        ttft_s: Expected ``upstream_ttft_s``, by all experts.
        tpot_s: Expected ``tpot_s``, by all experts.
        quantiles_s: ``(2, len(LEVELS), n)`` calibrated quantiles by target (TTFT, TPOT) and
            level, not falling along the levels.
        rank_ttft_s: TTFT by smooth physics and corrections the candidates share, to rank by.
        rank_tpot_s: TPOT likewise.
        prefill_s: Time this request's own prefill takes there: what it delays others by.
        decode_step_s: What one more decoding sequence of this size adds to each step.
        prefill_token_s: Marginal seconds per uncached prompt token.
        experts: ``(2, n_experts, n)`` log seconds by target (TTFT, TPOT) and expert; NaN
            where an expert has nothing to say.
        layer: What the numbers rest on.
        version: Version of the trained model that took part, ``None`` without one.
    """

    ttft_s: FloatArray
    tpot_s: FloatArray
    quantiles_s: FloatArray
    rank_ttft_s: FloatArray
    rank_tpot_s: FloatArray
    prefill_s: FloatArray
    decode_step_s: FloatArray
    prefill_token_s: FloatArray
    experts: FloatArray
    layer: Layer
    version: str | None = None

    @property
    def ttft_p90_s(self) -> FloatArray:
        """Give the 90 % quantile of TTFT, ``(n,)``."""
        p90_s: FloatArray = self.quantiles_s[0, P90]
        return p90_s

    @property
    def tpot_p90_s(self) -> FloatArray:
        """Give the 90 % quantile of TPOT, ``(n,)``."""
        p90_s: FloatArray = self.quantiles_s[1, P90]
        return p90_s


class Observation(Value):
    """Pair the features as seen at dispatch with what was then measured.

    Attributes:
        endpoint: Where the request ran.
        model: Base model of the fleet.
        hardware: The endpoint's hardware label.
        observed_s: When the measurement was complete.
        features: ``(n_features,)`` row of ``features.FEATURES`` at dispatch.
        upstream_ttft_s: Last dispatch to first output token; ``None`` if not measured here.
        tpot_s: Mean gap between output tokens; ``None`` for one token or if not measured.
        total_s: Last dispatch to last token, where only that is known: a label of
            ``ttft + tpot x (output_tokens - 1)`` for requests that were not streamed.
        waited_s: Time it had waited for its first token when it was past the p90 stated
            at dispatch: alone, the miss counts at once; beside a TTFT label, it has counted.
        output_tokens: Tokens the labels cover: all of the answer, or those generated
            when a TPOT label was taken early. ``None`` where unknown.
        use: What its labels are for.
        predicted_ttft_s: What was predicted for this endpoint at dispatch.
        predicted_tpot_s: Likewise.
        predicted_ttft_p90_s: Likewise.
        predicted_tpot_p90_s: Likewise.
        experts: ``(2, n_experts)`` log seconds by expert at dispatch, ``None`` without prediction.
    """

    endpoint: str
    model: str
    hardware: str | None
    observed_s: float
    features: FloatArray
    upstream_ttft_s: float | None = None
    tpot_s: float | None = None
    total_s: float | None = None
    waited_s: float | None = None
    output_tokens: int | None = None
    use: Use = "fully"
    predicted_ttft_s: float | None = None
    predicted_tpot_s: float | None = None
    predicted_ttft_p90_s: float | None = None
    predicted_tpot_p90_s: float | None = None
    experts: FloatArray | None = None


class Measurement(Value):
    """Report how a request ended, as the one who relayed it saw it.

    Attributes:
        outcome: How it ended.
        prompt_tokens: From ``usage``, ``None`` where the endpoint did not say.
        cached_tokens: Prompt tokens found in the prefix cache, from ``usage``.
        output_tokens: From ``usage``, else the number of token events seen.
        token_events: Events of a stream that carried tokens, ``None`` where none was seen.
        endpoint_ttft_s: Dispatch to first token by the endpoint's own per-request
            metrics: a TTFT label for requests that were not streamed.
        endpoint_tpot_s: Mean inter-token latency by the endpoint's own metrics.
        status: HTTP status of the endpoint, ``None`` if it never answered.
    """

    outcome: Outcome
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    token_events: int | None = None
    endpoint_ttft_s: float | None = None
    endpoint_tpot_s: float | None = None
    status: int | None = None


class Decision(Value):
    """Say where a request goes, what was predicted for every candidate, and why.

    Attributes:
        endpoints: Names of the candidates, ``n`` of them.
        features: ``(n, n_features)`` matrix the prediction was made from.
        matched_tokens: ``(n,)`` prompt tokens believed to be in each one's cache.
        announced: Whether the chosen one itself announced what it holds of the prompt.
        predictions: What the predictor said, ``None`` when it could not be asked.
        costs: ``(n,)`` score of the policy that decided; the lowest wins.
        chosen: Index of the endpoint dispatched to.
        order: Indices of all candidates, best first.
        policy: Name of the policy that decided.
        reason: Why it was this policy and this path, from a small closed set.
        prompt_tokens: The count the features were made with.
        decided_s: When.
        terms: Named parts that sum up to the cost, ``(n,)`` each, in the policy's unit.
        shadow_chosen: Index another policy would have picked, when one runs in shadow.
        shadow_policy: Name of that policy.
        predicted_s: Expected seconds from dispatch to the last token where it goes,
            ``None`` without predictions.
        shadow_predicted_s: The same where the policy in shadow would have sent it.
        likely: Probability that the request's objective is met, ``None`` without one.
        broken: Promises to others that it is expected to break, ``None`` without an objective.
        priority_class: That of its candidates, above 0 for endpoints that stand by.
        spilled: Why it went past the lowest class, ``None`` where it did not.
    """

    endpoints: tuple[str, ...]
    features: FloatArray
    matched_tokens: FloatArray
    predictions: Predictions | None
    costs: FloatArray
    chosen: int
    order: tuple[int, ...]
    policy: str
    reason: str
    prompt_tokens: int
    decided_s: float
    terms: Mapping[str, FloatArray] = msgspec.field(default_factory=dict)
    shadow_chosen: int | None = None
    shadow_policy: str | None = None
    predicted_s: float | None = None
    shadow_predicted_s: float | None = None
    announced: bool = False
    likely: float | None = None
    broken: float | None = None
    priority_class: int = 0
    spilled: SpillReason | None = None

    @property
    def endpoint(self) -> str:
        """Name the endpoint the request goes to."""
        return self.endpoints[self.chosen]


FailureCause = Literal["unreachable", "turned_away", "stalled"]
"""How an endpoint failed a request: the connection did; it answered that it will not or
cannot; it was silent for too long."""


class FailedDispatch(Value):
    """Say how a request came away from an endpoint before its first token.

    Attributes:
        endpoint: Where it was.
        dispatched_s: Since when.
        failed_s: Until when.
        cause: How it failed there.
    """

    endpoint: str
    dispatched_s: float
    failed_s: float
    cause: FailureCause


class RequestRecord(Value):
    """Tell the whole story of one finished request: the row of a trace, a log line, a metric.

    Times are on the clock that was passed as ``now``; the recorder adds the epoch.

    Attributes:
        request: As it came in.
        fleet: Base model whose fleet served it, ``None`` when none did.
        decision: The last decision, ``None`` if it was shed before one; without predictions
            where a data plane sent the request nobody knows where.
        endpoint: Where it was when it ended, ``None`` if it was at none or nobody knows.
        attempts: Dispatches made; a data plane's own are not counted.
        failures: Those of them that came to nothing, in their order.
        measurement: How it ended.
        refused: Why the scheduler refused it, from a small closed set; ``None`` if it did not.
        waited_for: Why it last waited in the scheduler's queue, likewise.
        queued_s: How long it waited there.
        finished_s: When.
        dispatched_s: Last dispatch, ``None`` if there was none.
        ttft_s: Receipt to first token.
        upstream_ttft_s: Last dispatch to first token.
        tpot_s: Mean gap between output tokens.
        e2e_s: Receipt to the end.
        observation: What the models learn from it, ``None`` when nothing can be learned.
        answered: How the router answered it by itself, from a small closed set.
    """

    request: RequestFeatures
    fleet: str | None
    decision: Decision | None
    endpoint: str | None
    attempts: int
    measurement: Measurement
    finished_s: float
    refused: str | None = None
    waited_for: str | None = None
    queued_s: float = 0.0
    dispatched_s: float | None = None
    ttft_s: float | None = None
    upstream_ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None
    observation: Observation | None = None
    answered: str | None = None
    failures: tuple[FailedDispatch, ...] = ()
