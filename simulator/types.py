"""What passes between an engine and whoever drives it: requests in, tokens out.

Times are seconds on the clock passed to the engine; sizes are tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SimRequest:
    """Describe one request as the engine needs it: sizes and hashes, no text.

    Attributes:
        request_id: Unique while the request lives.
        prompt_tokens: Length of the prompt, at least 1.
        output_tokens: Tokens it will generate, at least 1.
        block_hashes: Chain of block hashes over the prompt and, where it is known,
            the output; blocks beyond it are never found again.
        priority: Smaller is served first, as in vLLM.
        finish_reason: Why the output ends where it does, ``stop`` or ``length``.
    """

    request_id: str
    prompt_tokens: int
    output_tokens: int
    block_hashes: Sequence[int] = ()
    priority: int = 0
    finish_reason: str = "stop"

    def __deepcopy__(self, memo: dict[int, object]) -> "SimRequest":
        """Give itself: nothing of it ever changes."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """Sum up a finished request, as seen by the engine.

    Attributes:
        prompt_tokens: Length of the prompt.
        cached_tokens: Prompt tokens found in the prefix cache when it was first scheduled.
        output_tokens: Tokens generated.
        queued_s: Submission to first scheduled.
        ttft_s: Submission to first token.
        e2e_s: Submission to last token.
        preemptions: Times it was thrown out and computed again.
        finish_reason: As the request said.
    """

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    queued_s: float
    ttft_s: float
    e2e_s: float
    preemptions: int
    finish_reason: str

    @property
    def tpot_s(self) -> float | None:
        """Give the mean gap between output tokens, ``None`` for a single one."""
        gaps = self.output_tokens - 1
        return (self.e2e_s - self.ttft_s) / gaps if gaps else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Report one generated token.

    Attributes:
        request_id: Whose it is.
        index: Position in the output, from 0.
        gap_s: Since the token before; for the first one since submission.
        completion: The sum of it all with the last token, else ``None``.
    """

    request_id: str
    index: int
    gap_s: float
    completion: Completion | None = None


@dataclass(slots=True, kw_only=True)
class Step:
    """Say what an engine step, or each step of a stretch, computes and how long that takes.

    Attributes:
        began_s: When the first one begins.
        ends_s: When each ends, noise included; the engine may still cut a stretch short.
        prefill_tokens: Prompt tokens computed, and tokens computed again.
        decoding: Requests that decode one token.
        context_tokens: Tokens of context these hold in the first step.
    """

    began_s: float
    ends_s: list[float]
    prefill_tokens: int
    decoding: int
    context_tokens: int

    def span_s(self, index: int) -> tuple[float, float]:
        """Tell when one step of the stretch begins and ends."""
        return self.ends_s[index - 1] if index else self.began_s, self.ends_s[index]

    @property
    def duration_s(self) -> float:
        """Give the time from the beginning to the last end."""
        return self.ends_s[-1] - self.began_s


@dataclass(slots=True, kw_only=True)
class Counters:
    """Count what happened since the start; the engine is the only writer."""

    prompt_tokens: int = 0
    generation_tokens: int = 0
    preemptions: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0
    external_hits: int = 0
    steps: int = 0
