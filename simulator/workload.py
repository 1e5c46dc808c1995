"""Traffic for a demonstration: conversations with shared prefixes, fixed beforehand.

Decides arrival times, texts and output lengths from a seed alone (open loop), so that
exactly the same requests can be sent through every policy. A later turn repeats the
conversation so far with the answers simulated endpoints give. The next turn comes after
a nominal answer time and the user's think time, whether or not the answer was there yet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

from simulator.language import TOKEN_BYTES, Language, tokenize_chat

NOMINAL_TTFT_S: Final = 0.3
NOMINAL_TPOT_S: Final = 0.015
"""What a user is taken to wait for before thinking: an 8B model on a busy H100."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request and when it is sent.

    Attributes:
        at_s: Seconds after the start of the workload.
        session_id: Conversation it belongs to.
        group: Index of the system prompt it shares, ``None`` for a one-off prompt.
        turn: Position in the conversation, from 0.
        messages: ``(role, content)`` of the whole prompt.
        prompt_tokens: Length of the prompt, in simulated endpoints' tokens.
        output_tokens: Length of the answer: goes into ``x-sim-output-tokens``.
    """

    at_s: float
    session_id: str
    group: int | None
    turn: int
    messages: tuple[tuple[str, str], ...]
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationMix:
    """Sizes of a conversation workload; ranges are inclusive and drawn from uniformly.

    Attributes:
        groups: System prompts there are; a session picks one, the first most often.
        system_tokens: Length of a system prompt.
        turns: Questions in a conversation.
        question_tokens: Length of a question.
        output_tokens: Length of an answer.
        think_s: Seconds from an answer to the next question.
        oneoff_share: Fraction of requests that are long prompts of no conversation.
        oneoff_tokens: Length of these.
    """

    groups: int = 6
    system_tokens: tuple[int, int] = (1000, 3000)
    turns: tuple[int, int] = (2, 6)
    question_tokens: tuple[int, int] = (100, 600)
    output_tokens: tuple[int, int] = (30, 250)
    think_s: tuple[float, float] = (2.0, 8.0)
    oneoff_share: float = 0.08
    oneoff_tokens: tuple[int, int] = (4000, 8000)


DEFAULT_MIX: Final = ConversationMix()


def conversations(
    seed: int, duration_s: float, rate: float, mix: ConversationMix = DEFAULT_MIX
) -> list[Arrival]:
    """Generate a workload in order of arrival.

    Conversations begin before the start too, so that the mix of turns is the same
    from the first second on.

    Args:
        seed: Fixes everything.
        duration_s: Arrivals lie in ``[0, duration_s)``.
        rate: Mean requests per second.
        mix: Sizes.

    >>> first, again = conversations(1, 5.0, 4.0), conversations(1, 5.0, 4.0)
    >>> first == again, first == conversations(2, 5.0, 4.0)
    (True, False)
    """
    writer = _Writer(Random(seed), mix)
    chat_rate = rate * (1.0 - mix.oneoff_share)
    turns = sum(mix.turns) / 2
    # The longest conversation decides how far back the first must have begun.
    lead_s = mix.turns[1] * (mix.think_s[1] + _answer_s(mix.output_tokens[1]))
    arrivals = [
        arrival
        for number, at_s in enumerate(writer.times(-lead_s, duration_s, chat_rate / turns))
        for arrival in writer.conversation(f"chat-{number}", at_s)
    ]
    oneoffs = writer.times(0.0, duration_s, rate * mix.oneoff_share)
    arrivals += [writer.oneoff(f"once-{number}", at_s) for number, at_s in enumerate(oneoffs)]
    inside = [arrival for arrival in arrivals if 0.0 <= arrival.at_s < duration_s]
    return sorted(inside, key=lambda arrival: (arrival.at_s, arrival.session_id))


class _Writer:
    """Draws times and writes texts; the order of calls is part of what a seed means."""

    def __init__(self, rng: Random, mix: ConversationMix) -> None:
        self._rng = rng
        self._mix = mix
        self._language = Language()
        self._systems = [
            self._text(f"Rules of team {group}.", mix.system_tokens) for group in range(mix.groups)
        ]
        self._weights = [1.0 / (1 + group) for group in range(mix.groups)]

    def times(self, start_s: float, end_s: float, rate: float) -> Iterator[float]:
        if rate <= 0.0:
            return
        at_s = start_s + self._rng.expovariate(rate)
        while at_s < end_s:
            yield at_s
            at_s += self._rng.expovariate(rate)

    def conversation(self, session_id: str, at_s: float) -> Iterator[Arrival]:
        rng, mix = self._rng, self._mix
        group = rng.choices(range(mix.groups), self._weights)[0]
        messages = [("system", self._systems[group])]
        for turn in range(rng.randint(*mix.turns)):
            question = self._text(f"User {session_id} asks:", mix.question_tokens)
            messages.append(("user", question))
            output_tokens = rng.randint(*mix.output_tokens)
            prompt = tokenize_chat(messages)
            yield Arrival(
                at_s=at_s,
                session_id=session_id,
                group=group,
                turn=turn,
                messages=tuple(messages),
                prompt_tokens=len(prompt) // TOKEN_BYTES,
                output_tokens=output_tokens,
            )
            messages.append(("assistant", self._language.answer(prompt, output_tokens)))
            at_s += _answer_s(output_tokens) + rng.uniform(*mix.think_s)

    def oneoff(self, session_id: str, at_s: float) -> Arrival:
        text = self._text(f"Document {session_id}:", self._mix.oneoff_tokens)
        messages = (("user", text),)
        return Arrival(
            at_s=at_s,
            session_id=session_id,
            group=None,
            turn=0,
            messages=messages,
            prompt_tokens=len(tokenize_chat(messages)) // TOKEN_BYTES,
            output_tokens=self._rng.randint(*self._mix.output_tokens),
        )

    def _text(self, opening: str, tokens: tuple[int, int]) -> str:
        start = self._rng.randrange(1 << 30)
        length = self._rng.randint(*tokens)
        return opening + self._language.passage(start, length - len(opening) // TOKEN_BYTES)


def _answer_s(output_tokens: int) -> float:
    return NOMINAL_TTFT_S + NOMINAL_TPOT_S * output_tokens
