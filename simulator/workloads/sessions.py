"""Sessions of several turns, in a closed loop: a fixed number of users, always busy.

Decides what a session says. Its prompt is a system prompt all share, a context of its
own (a code base, say), and the conversation so far. A user whose session ends begins
the next one after thinking. Users begin spread over ``ramp_s``, so that their first
prompts do not come as one.
"""

from collections.abc import Iterator
from random import Random
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulator.content import Segment, segment_tokens
from simulator.traffic import Chain, TrafficRequest
from simulator.workloads.lengths import MOST_TOKENS, Lengths

_SHARED_ID: Final = 0
_USER: Final = 1 << 40
_SESSION: Final = 1 << 16
"""Content ids of session ``s`` of user ``u`` are from ``(u + 1) * _USER + s * _SESSION``."""


class Sessions(BaseModel):
    """Configure the sessions; sizes are in tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["sessions"]
    shared_tokens: int = Field(ge=0, le=MOST_TOKENS)
    """System prompt of every session."""
    context: Lengths | None = None
    """Of each session's own, at its beginning."""
    turns: Lengths
    question: Lengths
    output: Lengths
    max_prompt_tokens: int = Field(ge=2, le=MOST_TOKENS)
    """A session ends where the next prompt would be longer."""
    think_mean_s: float = Field(ge=0.0, le=86_400.0)
    """Mean of the exponential time from an answer to the next question."""
    ramp_s: float = Field(default=30.0, ge=0.0, le=86_400.0)
    """Users begin evenly spread over this time."""

    @model_validator(mode="after")
    def _first_prompt_fits(self) -> Self:
        context = 0 if self.context is None else self.context.max
        if self.shared_tokens + context + self.question.max > self.max_prompt_tokens:
            raise ValueError(
                "shared_tokens, context.max and question.max exceed max_prompt_tokens together"
            )
        if self.turns.max * 2 + 1 > _SESSION:
            raise ValueError(f"turns.max is above {_SESSION // 2 - 1}")
        return self

    @property
    def loop(self) -> Literal["open", "closed"]:
        """Tell that the fleet's answers set the pace."""
        return "closed"

    @property
    def most_tokens(self) -> int:
        """Bound prompt and output of any request."""
        return self.max_prompt_tokens + self.output.max

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:  # noqa: ARG002
        """Write the traffic without end; ``rate`` is the number of users, rounded."""
        users = max(1, round(rate))
        return [self._user(seed, user, self.ramp_s * user / users) for user in range(users)]

    def _user(self, seed: int, user: int, begin_s: float) -> Chain:
        rng = Random(f"sessions {seed} {user}")
        at_s: float | None = begin_s
        number = 0
        while True:
            for request in self._session(rng, user, number, at_s):
                yield request
                at_s = None
            number += 1

    def _session(
        self, rng: Random, user: int, number: int, at_s: float | None
    ) -> Iterator[TrafficRequest]:
        content_id = (user + 1) * _USER + number * _SESSION
        prompt: tuple[Segment, ...] = ((_SHARED_ID, self.shared_tokens),)
        if self.context is not None:
            prompt = (*prompt, (content_id, self.context.draw(rng)))
        for turn in range(self.turns.draw(rng)):
            question_id = content_id + 1 + 2 * turn
            prompt = (*prompt, (question_id, self.question.draw(rng)))
            prompt_tokens = segment_tokens(prompt)
            if prompt_tokens > self.max_prompt_tokens:
                return
            output_tokens = self.output.draw(rng)
            think_s = rng.expovariate(1.0) * self.think_mean_s
            first = turn == 0 and at_s is not None  # of the user: there is nothing to think about
            yield TrafficRequest(
                session_id=f"session-{user}-{number}",
                segments=prompt,
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
                answer_id=question_id + 1,
                at_s=at_s if first else None,
                think_s=0.0 if first else think_s,
                tenant=f"user-{user}",
            )
            prompt = (*prompt, (question_id + 1, output_tokens))
