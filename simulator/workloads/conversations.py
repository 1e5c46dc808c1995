"""Chats without a shared prefix, in an open loop.

Decides when conversations begin (a Poisson process) and when their questions come: a
nominal answer time and the user's thinking after the question before, whether or not
the fleet is that fast; a slower answer is waited for. Conversations begin before the
start too, so that the mix of turns and the rate are the same from the first second on.
"""

from random import Random
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from simulator.content import Segment
from simulator.traffic import Chain, TrafficRequest
from simulator.workloads.arrivals import poisson_times
from simulator.workloads.lengths import MOST_TOKENS, Lengths

_CONVERSATION: Final = 1 << 20
"""Content ids of conversation ``n`` are from ``n * _CONVERSATION``."""

_LEAD_THINKS: Final = 3.0
"""Thinking of so many means a turn is what the oldest conversation is taken to have had."""


class Conversations(BaseModel):
    """Configure the chats; sizes are in tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["conversations"]
    first_question: Lengths
    question: Lengths
    """Of the turns after the first."""
    output: Lengths
    another_turn_ratio: float = Field(ge=0.0, lt=1.0)
    """Probability that an answer is followed by another question."""
    max_turns: int = Field(ge=1, le=1000)
    max_prompt_tokens: int = Field(ge=1, le=MOST_TOKENS)
    """A conversation ends where the next prompt would be longer."""
    think_mean_s: float = Field(ge=0.0, le=86_400.0)
    """Mean of the exponential time from an answer to the next question."""
    nominal_ttft_s: float = Field(ge=0.0, le=3600.0)
    nominal_tpot_s: float = Field(ge=0.0, le=60.0)

    @property
    def loop(self) -> Literal["open", "closed"]:
        """Tell that every request has its time."""
        return "open"

    @property
    def most_tokens(self) -> int:
        """Bound prompt and output of any request."""
        return self.max_prompt_tokens + self.output.max

    @property
    def mean_turns(self) -> float:
        """Give the questions of a conversation, on average, long prompts left aside."""
        goes_on = self.another_turn_ratio
        return (1 - goes_on**self.max_turns) / (1 - goes_on)

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:
        """Write the traffic; ``rate`` is in requests per second."""
        lead_s = self.max_turns * (
            self._answer_s(round(self.output.mean)) + _LEAD_THINKS * self.think_mean_s
        )
        rng = Random(f"conversations {seed}")
        begins = poisson_times(rng, rate / self.mean_turns, lead_s + until_s)
        chats = (self._chat(rng, n, at_s - lead_s, until_s) for n, at_s in enumerate(begins))
        return [iter(chat) for chat in chats if chat]

    def _chat(self, rng: Random, number: int, at_s: float, until_s: float) -> list[TrafficRequest]:
        requests: list[TrafficRequest] = []
        prompt: tuple[Segment, ...] = ()
        prompt_tokens = 0
        think_s = 0.0
        for turn in range(self.max_turns):
            tokens = (self.question if turn else self.first_question).draw(rng)
            if not turn:
                tokens = min(tokens, self.max_prompt_tokens)
            output_tokens = self.output.draw(rng)
            content_id = number * _CONVERSATION + 2 * turn
            prompt = (*prompt, (content_id, tokens))
            prompt_tokens += tokens
            if prompt_tokens > self.max_prompt_tokens:
                break
            if 0.0 <= at_s < until_s:
                requests.append(
                    TrafficRequest(
                        session_id=f"chat-{number}",
                        segments=prompt,
                        prompt_tokens=prompt_tokens,
                        output_tokens=output_tokens,
                        answer_id=content_id + 1,
                        at_s=at_s,
                        think_s=think_s if requests else 0.0,
                    )
                )
            if rng.random() >= self.another_turn_ratio:
                break
            prompt = (*prompt, (content_id + 1, output_tokens))
            prompt_tokens += output_tokens
            think_s = rng.expovariate(1.0) * self.think_mean_s
            at_s += self._answer_s(output_tokens) + think_s
        return requests

    def _answer_s(self, output_tokens: int) -> float:
        return self.nominal_ttft_s + self.nominal_tpot_s * output_tokens
