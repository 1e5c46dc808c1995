"""Make conversations and send them to the proxy, each turn after the answer before it.

For the demonstration on real vLLM. Closed loop: several workers share one list of
conversations; the turns of one conversation follow each other, as a user's would.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from foretoken.demo_client import Answer, ask, chat_request
from proxy import Upstream

CONCURRENCY: Final = 6
WORDS: Final = ("import", "return", "class", "value", "index", "self", "name", "data", "file")
"""Each is about one token of a vocabulary learned from Python sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Hold one user message and how its answer is asked for."""

    text: str
    max_tokens: int
    streamed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Hold a system prompt and the turns that follow each other."""

    system: str
    turns: tuple[Turn, ...]


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Collect what a run of traffic brought, in the order it ended."""

    answers: list[Answer] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wall_s: float = 0.0


def conversations(requests: int, rng: random.Random) -> list[Conversation]:
    """Make traffic of exactly ``requests`` turns.

    Most conversations share one of four system prompts and have one to five turns; one in
    five is a single long prompt of its own; one in eight repeats an earlier one.

    >>> made = conversations(40, random.Random(1))
    >>> sum(len(conversation.turns) for conversation in made)
    40
    """
    systems = [_text(rng, rng.randint(150, 600)) for _ in range(4)]
    made: list[Conversation] = []
    left = requests
    while left:
        if made and rng.random() < 1 / 8:
            conversation = rng.choice(made)
        elif rng.random() < 1 / 5:
            conversation = Conversation(
                system=_text(rng, 20), turns=(_turn(rng, rng.randint(200, 2000)),)
            )
        else:
            turns = tuple(_turn(rng, rng.randint(10, 250)) for _ in range(rng.randint(1, 5)))
            conversation = Conversation(system=rng.choice(systems), turns=turns)
        turns = conversation.turns[:left]
        made.append(Conversation(system=conversation.system, turns=turns))
        left -= len(turns)
    return made


def _turn(rng: random.Random, words: int) -> Turn:
    return Turn(text=_text(rng, words), max_tokens=rng.randint(8, 96), streamed=rng.random() < 0.85)


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


async def send(url: str, talks: list[Conversation]) -> Traffic:
    """Send all conversations to ``url``, ``CONCURRENCY`` at a time.

    An error ends its conversation, not the run.
    """
    traffic = Traffic()
    waiting = iter(talks)
    started_s = time.perf_counter()
    async with Upstream() as upstream:
        await asyncio.gather(*(_work(upstream, url, waiting, traffic) for _ in range(CONCURRENCY)))
    traffic.wall_s = time.perf_counter() - started_s
    return traffic


async def _work(
    upstream: Upstream, url: str, waiting: Iterator[Conversation], traffic: Traffic
) -> None:
    for conversation in waiting:
        messages = [{"role": "system", "content": conversation.system}]
        for turn in conversation.turns:
            messages.append({"role": "user", "content": turn.text})
            answer = await ask(upstream, url, chat_request(_body(turn, messages)))
            if answer.error is not None:
                traffic.errors.append(answer.error)
                break
            traffic.answers.append(answer)
            messages.append({"role": "assistant", "content": text_of(answer.body)})


def _body(turn: Turn, messages: list[dict[str, str]]) -> dict[str, object]:
    body = {
        "model": "tiny",
        "messages": messages,
        "max_tokens": turn.max_tokens,
        "temperature": 0,
        "ignore_eos": True,
    }
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    return body | streamed if turn.streamed else body


def text_of(body: bytes) -> str:
    r"""Join the text of a chat answer, streamed or whole.

    >>> text_of(b'{"choices": [{"message": {"content": "hi"}}]}')
    'hi'
    >>> text_of(b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\ndata: [DONE]\n\n')
    'hi'
    """
    if body.startswith(b"{"):
        parts = [choice["message"] for choice in json.loads(body)["choices"]]
    else:
        events = (line[6:] for line in body.splitlines() if line.startswith(b"data: {"))
        parts = [choice["delta"] for data in events for choice in json.loads(data)["choices"]]
    return "".join(part.get("content") or "" for part in parts)
