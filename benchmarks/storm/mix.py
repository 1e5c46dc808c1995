"""What the clients of a storm ask: all that real ones do, in stated shares.

Streams and whole answers, chats and completions, conversations that come back with all
that was said, three tiers, objectives, a model that nobody serves, clients that read slowly
and clients that leave. Everything follows from one generator.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Final

MODEL: Final = "llama-3.1-8b"

_WORDS: Final = (
    "the",
    "fleet",
    "serves",
    "while",
    "endpoints",
    "come",
    "and",
    "go",
    "nothing",
    "lost",
)
_SYSTEM: Final = [f"You are assistant {n}. " + "Answer briefly and kindly. " * 30 for n in range(4)]
_TIERS: Final = ("interactive", "interactive", "standard", "standard", "batch")
_SESSIONS: Final = 40
_TURNS: Final = 6
_PROMPT_WORDS: Final = (4.6, 0.8)  # log-normal: 100 words in the middle
_LONG_TOKENS: Final = 300
"""Output of a client that reads slowly: 80 KB of events, more than a narrow socket holds."""


@dataclass(slots=True)
class Shares:
    """Hold how many of the clients misbehave; changed while the load runs."""

    slow: float = 0.02
    leave: float = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Describe one request.

    Attributes:
        kind: In a word, for the ledger.
        path: Asked for.
        headers: Beside host, length and id.
        body: JSON.
        fresh: Whether it comes on a connection of its own.
        slow: Whether its client reads slowly.
        leave_after_s: When its client leaves, ``None`` to stay.
    """

    kind: str
    path: str
    headers: dict[str, str]
    body: bytes
    fresh: bool
    slow: bool
    leave_after_s: float | None


def requests(rng: Random, shares: Shares) -> Iterator[Asked]:
    """Make requests without end.

    >>> made = requests(Random(1), Shares(slow=0.0, leave=0.0))
    >>> [next(made).kind for _ in range(4)]
    ['completion', 'streamed chat', 'streamed chat', 'streamed chat']
    """
    talks: list[list[dict[str, str]]] = [[] for _ in range(_SESSIONS)]
    while True:
        draw = rng.random()
        if draw < 0.01:
            yield _asked(rng, "unknown model", {"model": "nobody", "messages": _question(rng)})
        elif draw < 0.15:
            yield _completion(rng)
        else:
            yield _chat(rng, shares, talks)


def _chat(rng: Random, shares: Shares, talks: list[list[dict[str, str]]]) -> Asked:
    session = rng.randrange(len(talks))
    talk = talks[session]
    if len(talk) >= 2 * _TURNS or not talk:
        talk[:] = [{"role": "system", "content": rng.choice(_SYSTEM)}]
    talk += _question(rng)
    tokens = min(120, max(4, round(rng.lognormvariate(3.2, 0.6))))
    draw = rng.random()
    slow = draw < shares.slow
    leaves = not slow and draw < shares.slow + shares.leave
    streamed = slow or rng.random() < 0.75
    body = {"model": MODEL, "messages": list(talk), "max_tokens": tokens, "stream": streamed}
    if slow:
        body["max_tokens"] = tokens = _LONG_TOKENS
    if streamed and rng.random() < 0.3:
        body["stream_options"] = {"include_usage": True}
    talk.append({"role": "assistant", "content": _text(rng, tokens)})
    kind = "streamed chat" if streamed else "whole chat"
    return _asked(
        rng,
        "slow reader" if slow else "leaver" if leaves else kind,
        body,
        session=f"session-{session}",
        slow=slow,
        leave_after_s=rng.uniform(0.02, 1.5) if leaves else None,
    )


def _completion(rng: Random) -> Asked:
    body = {"model": MODEL, "prompt": _text(rng, 80), "max_tokens": rng.randrange(2, 40)}
    return _asked(rng, "completion", body, path="/v1/completions")


def _asked(
    rng: Random,
    kind: str,
    body: dict[str, object],
    *,
    path: str = "/v1/chat/completions",
    session: str | None = None,
    slow: bool = False,
    leave_after_s: float | None = None,
) -> Asked:
    headers = {"content-type": "application/json", "x-slo-tier": rng.choice(_TIERS)}
    if session is not None:
        headers["x-session-id"] = session
    if rng.random() < 0.1:
        headers |= {"x-slo-ttft-ms": "2000", "x-slo-tpot-ms": "150"}
    if "max_tokens" in body:
        headers["x-sim-output-tokens"] = str(body["max_tokens"])
    return Asked(
        kind=kind,
        path=path,
        headers=headers,
        body=json.dumps(body).encode(),
        fresh=slow or rng.random() < 0.3,
        slow=slow,
        leave_after_s=leave_after_s,
    )


def _question(rng: Random) -> list[dict[str, str]]:
    words = min(600, max(3, round(rng.lognormvariate(*_PROMPT_WORDS))))
    return [{"role": "user", "content": _text(rng, words)}]


def _text(rng: Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words))
