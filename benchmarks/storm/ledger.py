"""What the clients of a storm write down: every request, every attempt, how each ended.

The ledger is the clients' own: it knows nothing of what routers count, so that both can be
held against each other. Written by :mod:`benchmarks.storm.load`, one JSON line a request.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import msgspec

End = Literal["answered", "refused", "cut", "left", "nothing"]
"""How an attempt ended: ``refused`` with a reason, ``cut`` after the first byte of a
response, ``left`` by the client itself, ``nothing`` without a byte of a response."""

ENDS: Final[tuple[End, ...]] = ("answered", "refused", "cut", "left", "nothing")


class Attempt(msgspec.Struct, omit_defaults=True):
    """Hold one sending of a request.

    Attributes:
        request_id: Its own: routers name it so.
        router: Index of the router asked.
        at_s: When it was sent, epoch seconds.
        ended_s: When it ended.
        end: How.
        why: The error's code, or what broke; ``None`` for an answer.
        status: Of the response, ``None`` where none came.
        endpoint: Who served it, as the response says.
    """

    request_id: str
    router: int
    at_s: float
    ended_s: float
    end: End
    why: str | None = None
    status: int | None = None
    endpoint: str | None = None


class Entry(msgspec.Struct):
    """Hold one request: what it was, and its attempts in order."""

    number: int
    kind: str
    attempts: list[Attempt]

    @property
    def end(self) -> End:
        """Say how it ended: as its last attempt did."""
        return self.attempts[-1].end


def read_ledger(path: Path) -> Iterator[Entry]:
    """Give the requests of a ledger in the order they ended."""
    decoder = msgspec.json.Decoder(Entry)
    with path.open("rb") as lines:
        for line in lines:
            yield decoder.decode(line)
