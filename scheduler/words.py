"""What schedulers that share endpoints tell each other of their requests.

Made and heard by :mod:`scheduler.peers`; encoded by whoever carries them.
"""

from typing import Literal

import msgspec


class Sent(msgspec.Struct, frozen=True, array_like=True, tag="sent"):
    """Tell that a request went to an endpoint.

    Attributes:
        request_id: Unique among those of one writer.
        fleet: Base model.
        endpoint: Where it went.
        model: The name it asked for.
        session_id: Its conversation, ``None`` for none.
        block_hashes: Chain of its prefix blocks.
        ttft_s: Objective it was sent with, ``None`` without one.
        tpot_s: Likewise.
        priority: How urgent that is.
    """

    request_id: str
    fleet: str
    endpoint: str
    model: str
    session_id: str | None
    block_hashes: tuple[int, ...]
    ttft_s: float | None
    tpot_s: float | None
    priority: int


class Left(msgspec.Struct, frozen=True, array_like=True, tag="left"):
    """Tell that a request with an objective is no longer where it was sent."""

    request_id: str


class Shown(msgspec.Struct, frozen=True, array_like=True, tag="shown"):
    """Tell what a completed request showed of prompts and outputs; ``None`` for nothing.

    Attributes:
        fleet: Base model.
        endpoint: Where it ran.
        tenant: Whom it was served for.
        session_id: Its conversation.
        prompt_bytes: Length of its prompt.
        prompt_tokens: What the endpoint counted, ``None`` where we had counted.
        output_tokens: Of the answer.
        matched_tokens: Tokens it was estimated to find cached.
        cached_tokens: Those it found, ``None`` where matches are not estimated.
    """

    fleet: str
    endpoint: str
    tenant: str | None
    session_id: str | None
    prompt_bytes: int
    prompt_tokens: int | None
    output_tokens: int | None
    matched_tokens: float
    cached_tokens: int | None


class Served(msgspec.Struct, frozen=True, array_like=True, tag="served"):
    """Tell that a request that waited was served in its turn.

    Attributes:
        fleet: Base model.
        priority: Its band.
        tenant: Who pays for it.
        start_s: Where its tenant stood (:mod:`scheduler.fair_queue`).
        cost_s: By how much its tenant goes on.
        was_first: Whether it was first of its band there; else it passed one that could not go.
        after_long: Priority of its tier where it had waited long enough to go whatever was
            at risk, ``None`` where it went as others do.
    """

    fleet: str
    priority: int
    tenant: str | None
    start_s: float
    cost_s: float
    was_first: bool
    after_long: int | None


class First(msgspec.Struct, frozen=True, array_like=True, tag="first"):
    """Tell who is first of those of a band that wait at one scheduler.

    Attributes:
        fleet: Base model.
        priority: The band.
        start_s: Where the tenant of that request stands, ``None`` where nobody waits any more.
        due_s: Its deadline, on the clock that all share.
        virtual_s: Time of the band's queue.
    """

    fleet: str
    priority: int
    start_s: float | None = None
    due_s: float = 0.0
    virtual_s: float = 0.0


class Suspected(msgspec.Struct, frozen=True, array_like=True, tag="suspected"):
    """Tell that an endpoint failed just now.

    Attributes:
        endpoint: Which.
        reason: How, a :data:`scheduler.suspects.Suspicion`.
    """

    endpoint: str
    reason: Literal["unreachable", "failing", "refusing", "stalled"]


Word = Sent | Left | Shown | Suspected
Queued = First | Served
"""Of requests that wait: for those that keep one order of them."""
