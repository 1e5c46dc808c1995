"""One live request inside an engine."""

from dataclasses import dataclass, field

from simulator.kv_cache import Holding
from simulator.types import Completion, SimRequest, Token


@dataclass(slots=True, kw_only=True, eq=False)
class Sequence:
    """Track one request: ``computed`` of its ``tokens`` have their KV in the cache.

    While it decodes it belongs to the :class:`~simulator.decoding.DecodeBatch`, which
    counts for all its members at once: ``generated`` and ``computed`` then stand as of
    joining and are brought up to date on leaving.
    """

    request: SimRequest
    rank: tuple[int, int]
    submitted_s: float
    generated: int = 0
    computed: int = 0
    cached: int | None = None
    holding: Holding = field(default_factory=lambda: Holding([], 0))
    admitted: bool = False
    """Whether it holds blocks."""
    decoding: bool = False
    joined: int = 0
    """The batch's step at which it began to decode."""
    loaded: bool = False
    scheduled_s: float | None = None
    first_token_s: float = 0.0
    last_token_s: float = 0.0
    preemptions: int = 0

    @property
    def tokens(self) -> int:
        """Count prompt and generated tokens, as far as they are up to date."""
        return self.request.prompt_tokens + self.generated

    def token(self, gap_s: float, completion: Completion | None = None) -> Token:
        """Report the last token it generated, as far as its count is up to date."""
        return Token(
            request_id=self.request.request_id,
            index=self.generated - 1,
            gap_s=gap_s,
            completion=completion,
        )

    def completion(self, now: float) -> Completion:
        """Sum it up; its last token came at ``now``."""
        request = self.request
        return Completion(
            prompt_tokens=request.prompt_tokens,
            cached_tokens=self.cached or 0,
            output_tokens=self.generated,
            queued_s=now - self.submitted_s
            if self.scheduled_s is None
            else self.scheduled_s - self.submitted_s,
            ttft_s=self.first_token_s - self.submitted_s,
            e2e_s=now - self.submitted_s,
            preemptions=self.preemptions,
            finish_reason=request.finish_reason,
        )
