"""Users in groups that share a system prompt, in an open loop: inference-perf's scenario.

Decides who asks what and when. Arrivals are a Poisson process; each is the next question
of the next user in a fixed random order, round robin. With ``multi_turn`` its prompt
repeats the user's conversation, and it waits for the answer before it, as
inference-perf's user sessions do; without, the user asks the same question each time.

Source: inference-perf ``shared_prefix`` data generator and ``LocalUserSession``.
"""

from collections.abc import Iterator, Sequence
from random import Random
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulator.content import Segment, segment_tokens
from simulator.traffic import Chain, TrafficRequest
from simulator.workloads.arrivals import Stage, poisson_times
from simulator.workloads.lengths import MOST_TOKENS, Lengths

MOST_USERS: Final = 1_000_000
"""Of all groups together."""

_USER: Final = 1 << 32
"""Content ids: systems from 0, those of user ``u`` from ``(u + 1) * _USER``."""


class SharedPrefix(BaseModel):
    """Configure the scenario; sizes are in tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["shared_prefix"]
    groups: int = Field(ge=1, le=1_000_000)
    users_per_group: int = Field(ge=1, le=1_000_000)
    system_tokens: int = Field(ge=0, le=MOST_TOKENS)
    question: Lengths
    output: Lengths
    multi_turn: bool = True
    max_prompt_tokens: int = Field(ge=2, le=MOST_TOKENS)
    """A conversation whose next prompt would be longer begins anew."""
    max_turns: int | None = Field(default=None, ge=1, le=1000)
    """So does one of so many turns. Where this is set, users start somewhere within a
    conversation, so that the mix of lengths is the same from the first second on."""
    stages: tuple[Stage, ...] = ()
    """How the rate changes over time; none is a constant one."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.system_tokens >= self.max_prompt_tokens:
            raise ValueError("system_tokens leave no room for a question in max_prompt_tokens")
        if self.groups * self.users_per_group > MOST_USERS:
            raise ValueError(f"groups times users_per_group is above {MOST_USERS}")
        if self.stages and not any(stage.weight for stage in self.stages):
            raise ValueError("one of the stages needs a weight above 0")
        return self

    @property
    def loop(self) -> Literal["open", "closed"]:
        """Tell that every request has its time."""
        return "open"

    @property
    def most_tokens(self) -> int:
        """Bound prompt and output of any request."""
        return self.max_prompt_tokens + self.output.max

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:
        """Write the traffic; ``rate`` is in requests per second."""
        rng = Random(f"shared_prefix {seed}")
        times = poisson_times(rng, rate, until_s, self.stages)
        users = list(range(self.groups * self.users_per_group))
        rng.shuffle(users)
        turns = [(user, times[place :: len(users)]) for place, user in enumerate(users)]
        if self.multi_turn:
            return [self._conversations(seed, user, own) for user, own in turns if own]
        return [
            iter((request,)) for user, own in turns for request in self._repeats(seed, user, own)
        ]

    def _conversations(self, seed: int, user: int, times: Sequence[float]) -> Chain:
        rng = Random(f"shared_prefix {seed} {user}")
        talk = _Talk(self, user)
        if self.max_turns is not None:
            for _ in range(rng.randrange(self.max_turns)):
                talk.add(*talk.next_turn(rng))
        for at_s in times:
            question, output_tokens = talk.next_turn(rng)
            segments = (*talk.prompt, question)
            session_id = f"user-{user}-{talk.number}"
            answer = talk.add(question, output_tokens)
            yield self._request(session_id, user, segments, answer, at_s)

    def _repeats(self, seed: int, user: int, times: Sequence[float]) -> Iterator[TrafficRequest]:
        rng = Random(f"shared_prefix {seed} {user}")
        talk = _Talk(self, user)
        question, _ = talk.next_turn(rng)
        segments = (*talk.prompt, question)
        for turn, at_s in enumerate(times):
            answer = (question[0] + 1 + turn, self.output.draw(rng))
            yield self._request(f"user-{user}", user, segments, answer, at_s)

    def _request(
        self,
        session_id: str,
        user: int,
        segments: tuple[Segment, ...],
        answer: Segment,
        at_s: float,
    ) -> TrafficRequest:
        return TrafficRequest(
            session_id=session_id,
            segments=segments,
            prompt_tokens=segment_tokens(segments),
            output_tokens=answer[1],
            answer_id=answer[0],
            at_s=at_s,
            tenant=f"group-{user // self.users_per_group}",
        )


class _Talk:
    """What one user has asked and been answered so far."""

    def __init__(self, spec: SharedPrefix, user: int) -> None:
        self.number = 0
        """How many conversations this user ended before."""
        self._spec = spec
        self._system = ((user // spec.users_per_group, spec.system_tokens),)
        self._next_id = (user + 1) * _USER
        self._begin()

    def _begin(self) -> None:
        self.prompt: tuple[Segment, ...] = self._system
        self._tokens = self._spec.system_tokens
        self._turns = 0

    def next_turn(self, rng: Random) -> tuple[Segment, int]:
        """Draw a question and the length of its answer; begin anew where it does not fit."""
        spec = self._spec
        room = spec.max_prompt_tokens - spec.system_tokens
        tokens = min(spec.question.draw(rng), room)
        if self._tokens + tokens > spec.max_prompt_tokens or self._turns == spec.max_turns:
            self.number += 1
            self._begin()
        return (self._next_id, tokens), spec.output.draw(rng)

    def add(self, question: Segment, output_tokens: int) -> Segment:
        """Put a question and its answer on record, and give the answer."""
        answer = (question[0] + 1, output_tokens)
        self.prompt = (*self.prompt, question, answer)
        self._tokens += question[1] + output_tokens
        self._turns += 1
        self._next_id += 2
        return answer
