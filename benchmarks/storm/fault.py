"""What a fault is: something that happens to a place, is held, undone, and looked after.

A fault is one coroutine that reads from top to bottom: inject, hold, restore, and wait until
everything is seen to be as before; where it is not, it raises. Faults of one lane follow
each other, lanes run side by side.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

from benchmarks.storm.place import Endpoint, Place

Lane = Literal["endpoints", "routers", "clients"]


@dataclass(slots=True, kw_only=True)
class Injection:
    """Hold one fault that happened.

    Attributes:
        kind: Of the fault.
        began_s: When, epoch seconds.
        whom: Endpoint or router that it hit, ``None`` for the clients.
        ended_s: When all was as before, ``None`` where it never was.
        problem: What was not, ``None`` where all was.
    """

    kind: str
    began_s: float
    whom: str | None = None
    ended_s: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Hold what a fault has to work with.

    Attributes:
        place: Where.
        rng: Draws what is left to chance.
        hold_s: How long the fault lasts.
        injection: Told whom it hits.
    """

    place: Place
    rng: Random
    hold_s: float
    injection: Injection

    def choose(self, *, exact: bool = False) -> Endpoint:
        """Take an endpoint that no other fault has in hand; release it with :meth:`release`."""
        free = [
            one
            for one in self.place.endpoints
            if one.name not in self.place.troubled and (one.exact or not exact)
        ]
        chosen = self.rng.choice(free)
        self.place.troubled.add(chosen.name)
        self.injection.whom = chosen.name
        return chosen

    def release(self, endpoint: Endpoint) -> None:
        """Let other faults have an endpoint."""
        self.place.troubled.discard(endpoint.name)


class Fault(NamedTuple):
    """Name a fault.

    Attributes:
        kind: In words.
        lane: With which others it takes turns.
        happen: Does all of it.
        missing: Says why it cannot be had at a place, ``None`` where it can.
    """

    kind: str
    lane: Lane
    happen: Callable[[Scene], Awaitable[None]]
    missing: Callable[[Place], str | None] = lambda _: None
