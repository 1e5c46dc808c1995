"""What belongs to one model's fleet: its policies, its predictor, what its traffic taught.

Constructed by ``foretoken.build``; owned by the scheduler.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from predictor import OutputLengths
from predictor.protocol import Predictor
from predictor.types import RequestFeatures
from scheduler.exploration import Exploration
from scheduler.leanings import Leanings
from scheduler.pace import Pace
from scheduler.policies import Policy, build_policy
from scheduler.promises import Pressure, Promises
from scheduler.reserve import Reserve
from scheduler.retry_budget import RetryBudget
from scheduler.settings import FleetSettings, SchedulerSettings, SessionMode
from scheduler.trust import Trust
from scheduler.warm_up import WarmUp

# Bytes per token of English text under common BPE vocabularies; corrected by traffic.
DEFAULT_BYTES_PER_TOKEN: Final = 4.0
# More tokens than bytes, beyond what a chat template may add, is not a count.
TEMPLATE_TOKENS: Final = 4096
# Older prompts count a third (1/e) after this many tokens: vocabulary is constant, topics drift.
MEMORY_TOKENS: Final = 200_000.0


class TokenRatio:
    """Learn how many prompt bytes make a token, from what ``usage`` reports.

    >>> ratio = TokenRatio()
    >>> ratio.tokens(400)
    100
    >>> ratio.learn(prompt_bytes=30_000, prompt_tokens=10_000)
    >>> ratio.tokens(300)
    95
    """

    def __init__(self) -> None:
        self._tokens = 2_000.0
        self._bytes = 2_000.0 * DEFAULT_BYTES_PER_TOKEN

    @property
    def bytes_per_token(self) -> float:
        """Give the present estimate."""
        return self._bytes / self._tokens

    def tokens(self, prompt_bytes: int) -> int:
        """Estimate the tokens of a prompt."""
        return round(prompt_bytes / self.bytes_per_token)

    def learn(self, *, prompt_bytes: int, prompt_tokens: int) -> None:
        """Take in one prompt whose exact length became known."""
        if not 0 < prompt_tokens <= prompt_bytes + TEMPLATE_TOKENS or prompt_bytes <= 0:
            return
        keep = MEMORY_TOKENS / (MEMORY_TOKENS + prompt_tokens)
        self._tokens = self._tokens * keep + prompt_tokens
        self._bytes = self._bytes * keep + prompt_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """Hold a policy on trial.

    Attributes:
        policy: Decides for its share.
        share: Of the requests, 0 to 1.
    """

    policy: Policy
    share: float


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Hold the long-lived parts of one model's fleet.

    Attributes:
        model: Base model its endpoints serve.
        policy: Decides where the predictor is warm.
        fallback: Decides otherwise.
        predictor: Predicts and learns for this fleet's endpoints.
        output_lengths: What outputs have been like.
        token_ratio: What prompts have been like.
        shadow: Scored beside the one that decides, ``None`` for the usual one.
        canary: Decides for a share of the requests, ``None`` for none.
        session: What a conversation's last endpoint counts.
        trust: What speaks against the predictions.
        leanings: How far the ranking of each endpoint is off for good.
        exploration: When to try an endpoint passed over for long.
        warm_up: Which endpoints are new, and how much each may have.
        promises: Objectives its requests in flight were sent with.
        pressure: Which share of them is broken lately.
        reserve: Which endpoints are kept for the more urgent while many are.
        pace: Which requests teach, where there are many.
        retries: How many of its requests may be dispatched again.
    """

    model: str
    policy: Policy
    fallback: Policy
    predictor: Predictor
    output_lengths: OutputLengths
    token_ratio: TokenRatio = field(default_factory=TokenRatio)
    shadow: Policy | None = None
    canary: Canary | None = None
    session: SessionMode = "prefer"
    trust: Trust = field(default_factory=Trust)
    leanings: Leanings = field(default_factory=Leanings)
    exploration: Exploration = field(default_factory=Exploration)
    warm_up: WarmUp = field(default_factory=WarmUp)
    promises: Promises = field(default_factory=Promises)
    pressure: Pressure = field(default_factory=Pressure)
    reserve: Reserve = field(default_factory=Reserve)
    pace: Pace = field(default_factory=Pace)
    retries: RetryBudget = field(default_factory=RetryBudget)

    def configure(self, settings: SchedulerSettings) -> None:
        """Take other settings into force, its policies among them."""
        self.policy, self.fallback = policies_of(settings, self.model)
        self.configure_trials(settings)

    def configure_trials(self, settings: SchedulerSettings) -> None:
        """Take the settings into force of what goes on beside its policies."""
        own = settings.models.get(self.model, FleetSettings())
        shadow, canary = own.shadow or settings.shadow, own.canary or settings.canary
        self.shadow = None if shadow is None else build_policy(shadow)
        self.canary = None
        if canary is not None and canary.share > 0:
            self.canary = Canary(policy=build_policy(canary.policy), share=canary.share)
        self.session = own.session or settings.session
        self.trust.configure(settings.ladder)
        self.pace.most_per_s = settings.learned_requests_per_s
        self.retries.configure(settings.retries)
        self.warm_up.seconds = settings.warm_up_s

    def prompt_tokens(self, request: RequestFeatures) -> int:
        """Give the prompt's length, exact where known."""
        if request.prompt_tokens is not None:
            return request.prompt_tokens
        return self.token_ratio.tokens(request.prompt_bytes)

    def block_tokens(self, request: RequestFeatures) -> float:
        """Give the tokens one of the request's prefix blocks stands for."""
        if request.prompt_tokens is not None and request.prompt_bytes:
            return request.block_bytes * request.prompt_tokens / request.prompt_bytes
        return request.block_bytes / self.token_ratio.bytes_per_token


def policies_of(settings: SchedulerSettings, model: str) -> tuple[Policy, Policy]:
    """Build a fleet's policy and its fallback: its own, else everyone's."""
    own = settings.models.get(model, FleetSettings())
    return build_policy(own.policy or settings.policy), build_policy(
        own.fallback or settings.fallback
    )


FleetFactory = Callable[[str], Fleet]
