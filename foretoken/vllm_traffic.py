"""Make conversations, send them to the proxy and time what comes back, as a client sees it.

For the demonstration on real vLLM. Predictions are read from the response headers, actual
times are taken where the bytes arrive. Several workers share one list of conversations;
the turns of one conversation follow each other, as a user's would.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

CONCURRENCY: Final = 6
TIMEOUT_S: Final = 120.0
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Say what one request brought: text, sizes, and predicted beside actual seconds.

    Attributes:
        ttft_s: Send to first chunk, ``None`` where not streamed.
        tpot_s: Mean gap between output tokens, ``None`` where not streamed or all came at once.
        predicted_ttft_s: From the response header, ``None`` where it is absent.
        predicted_tpot_s: Likewise.
    """

    text: str
    endpoint: str
    reason: str
    prompt_tokens: int
    cached_tokens: int
    ttft_s: float | None = None
    tpot_s: float | None = None
    predicted_ttft_s: float | None = None
    predicted_tpot_s: float | None = None


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
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S) as client:
        await asyncio.gather(*(_work(client, waiting, traffic) for _ in range(CONCURRENCY)))
    traffic.wall_s = time.perf_counter() - started_s
    return traffic


async def _work(
    client: httpx.AsyncClient, waiting: Iterator[Conversation], traffic: Traffic
) -> None:
    for conversation in waiting:
        try:
            await _converse(client, conversation, traffic.answers)
        except (httpx.HTTPError, LookupError, ValueError) as error:
            traffic.errors.append(f"{type(error).__name__}: {error}")


async def _converse(
    client: httpx.AsyncClient, conversation: Conversation, answers: list[Answer]
) -> None:
    messages = [{"role": "system", "content": conversation.system}]
    for turn in conversation.turns:
        messages.append({"role": "user", "content": turn.text})
        body = {
            "model": "tiny",
            "messages": messages,
            "max_tokens": turn.max_tokens,
            "temperature": 0,
            "ignore_eos": True,
        }
        answer = await (_ask_streamed if turn.streamed else _ask_whole)(client, body)
        answers.append(answer)
        messages.append({"role": "assistant", "content": answer.text})


async def _ask_whole(client: httpx.AsyncClient, body: dict[str, object]) -> Answer:
    response = await client.post("/v1/chat/completions", json=body)
    response.raise_for_status()
    content = response.json()
    return _answer(response, content["choices"][0]["message"]["content"], content["usage"])


async def _ask_streamed(client: httpx.AsyncClient, body: dict[str, object]) -> Answer:
    """Stream one answer; only stamp chunks as they come, so that the clock stays true.

    vLLM may put several tokens in a chunk, so ``usage`` says how many there were.
    """
    body = body | {"stream": True, "stream_options": {"include_usage": True}}
    started_s = time.perf_counter()
    async with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        chunks = [(time.perf_counter() - started_s, chunk) async for chunk in response.aiter_raw()]
    lines = b"".join(chunk for _, chunk in chunks).splitlines()
    *events, last = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    deltas = (event["choices"][0]["delta"] for event in events)
    gaps = last["usage"]["completion_tokens"] - 1
    return _answer(
        response,
        "".join(delta.get("content") or "" for delta in deltas),
        last["usage"],
        ttft_s=chunks[0][0],
        tpot_s=(chunks[-1][0] - chunks[0][0]) / gaps if gaps and len(chunks) > 1 else None,
    )


def _answer(
    response: httpx.Response,
    text: str,
    usage: dict[str, Any],  # as parsed from JSON
    *,
    ttft_s: float | None = None,
    tpot_s: float | None = None,
) -> Answer:
    headers = response.headers
    return Answer(
        text=text,
        endpoint=headers["x-foretoken-endpoint"],
        reason=headers["x-foretoken-reason"],
        prompt_tokens=usage["prompt_tokens"],
        cached_tokens=usage["prompt_tokens_details"]["cached_tokens"],
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        predicted_ttft_s=_seconds(headers.get("x-foretoken-predicted-ttft-ms")),
        predicted_tpot_s=_seconds(headers.get("x-foretoken-predicted-tpot-ms")),
    )


def _seconds(milliseconds: str | None) -> float | None:
    return None if milliseconds is None else float(milliseconds) / 1000
