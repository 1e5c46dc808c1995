"""What belongs to one model's fleet: its policies, its predictor, what its traffic taught.

Constructed by ``foretoken.build``; owned by the scheduler.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from predictor import OutputLengths
from predictor.protocol import Predictor
from predictor.types import RequestFeatures
from scheduler.policies import Policy, build_policy
from scheduler.promises import Pressure, Promises
from scheduler.reserve import Reserve
from scheduler.settings import FleetSettings, SchedulerSettings

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
        promises: Objectives its requests in flight were sent with.
        pressure: Which share of them is broken lately.
        reserve: Which endpoints are kept for the more urgent while many are.
    """

    model: str
    policy: Policy
    fallback: Policy
    predictor: Predictor
    output_lengths: OutputLengths
    token_ratio: TokenRatio = field(default_factory=TokenRatio)
    promises: Promises = field(default_factory=Promises)
    pressure: Pressure = field(default_factory=Pressure)
    reserve: Reserve = field(default_factory=Reserve)

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
