"""The traffic of a simulated run: requests in chains, one chain per user.

Requests of a chain are sent in order, each as soon as it is due *and* the one before it
has ended. An open loop gives every request its own time; in a closed one only the first
of a chain has one, and think time decides the rest. Written by workloads, sent by the
virtual-time driver.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from simulator.content import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficRequest:
    """Describe one request before it is sent.

    Attributes:
        session_id: Conversation or agent it belongs to; a chain may hold several.
        segments: Its prompt.
        prompt_tokens: Tokens of the prompt, at least 1: the sum over the segments.
        output_tokens: Tokens it will be answered with, at least 1.
        answer_id: Content id of the answer, so that a later turn can repeat it.
        at_s: It is not sent before; ``None`` is as soon as its predecessor allows.
        think_s: Nor earlier than so long after the end of its predecessor in the chain.
        priority: Smaller is served first, as in vLLM.
        tier: Service tier it asks for.
        max_tokens: Most output tokens the client asks for.
        tenant: Who pays for it.
        request_id: What it is called in the run, ``None`` for a number of the run's own.
        objective_ttft_s: Most seconds to its first token that it asks for.
        objective_tpot_s: Most seconds per token after that, likewise.
    """

    session_id: str
    segments: tuple[Segment, ...]
    prompt_tokens: int
    output_tokens: int
    answer_id: int
    at_s: float | None
    think_s: float = 0.0
    priority: int = 0
    tier: str | None = None
    max_tokens: int | None = None
    tenant: str | None = None
    request_id: str | None = None
    objective_ttft_s: float | None = None
    objective_tpot_s: float | None = None

    def due_s(self, predecessor_ended_s: float | None) -> float:
        """Tell when it is sent.

        Args:
            predecessor_ended_s: End of the request before it in the chain, ``None`` for
                the first.

        >>> request = TrafficRequest(session_id="a", segments=((1, 8),), prompt_tokens=8,
        ...     output_tokens=2, answer_id=2, at_s=5.0, think_s=1.0)
        >>> request.due_s(None), request.due_s(3.0), request.due_s(4.5)
        (5.0, 5.0, 5.5)
        """
        at_s = 0.0 if self.at_s is None else self.at_s
        if predecessor_ended_s is None:
            return at_s
        return max(at_s, predecessor_ended_s + self.think_s)


Chain = Iterator[TrafficRequest]
"""Requests of one user, in order; made lazily, for a closed loop may want many."""
