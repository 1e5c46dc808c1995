"""Who the other routers are to the exchange, and who hears what they tell."""

from dataclasses import dataclass
from typing import Protocol

from foretoken.routers.frames import Name, Told
from foretoken.workers.messages import Fed


class Ear(Protocol):
    """Take in what other routers tell; called on the event loop."""

    def heard(self, writer: str, message: Told | Fed) -> None:
        """Take in a message of a writer of another router."""
        ...

    def lost(self, writer: str) -> None:
        """Note that such a writer is gone, or that something of it was missed."""
        ...

    def decreed(self, endpoint: str, *, draining: bool) -> None:
        """Note that somebody elsewhere said whether an endpoint is to be drained."""
        ...


@dataclass(slots=True)
class Writer:
    """Hold what is known of another writer.

    Attributes:
        name: Who.
        heard_s: When it last said something, by our clock.
        said_s: When that was written, likewise.
        number: Of that frame.
        store: Names the models store it reads.
        token: Of the lease by which it trains, 0 where it does not.
    """

    name: Name
    heard_s: float
    said_s: float
    number: int
    store: str
    token: int
