"""Tell an endpoint that refuses what the others serve from clients that ask wrongly.

An endpoint with a wrong key or without the model answers 401, 403 or 404 to everything,
at once: it looks idle and healthy and would draw the fleet's traffic. A client with a
wrong key gets the same answers, but wherever its requests go. So an endpoint is doubted
only for a run of refusals that the others do not share, and where too many endpoints
seem to refuse it is the clients. Called by the suspects only.
"""

from dataclasses import dataclass, field
from typing import Final

REFUSALS: Final = frozenset({401, 403, 404})
"""Statuses that may be the endpoint's fault as well as the client's; 400 and 422 never are."""
IN_A_ROW: Final = 5
# The others must meanwhile have served this many times what they refused.
SERVED_PER_REFUSED: Final = 4
# More than this share of a fleet is not misconfigured at the same time.
MOST_OF_FLEET: Final = 0.5


@dataclass(slots=True, kw_only=True)
class _Tally:
    """Count one endpoint's answers; ``others_*`` are the others' as its run began."""

    served: int = 0
    refused: int = 0
    run: int = 0
    others_served: int = 0
    others_refused: int = 0


@dataclass(slots=True, kw_only=True)
class _FleetTally:
    served: int = 0
    refused: int = 0
    endpoints: dict[str, _Tally] = field(default_factory=dict)
    doubted: set[str] = field(default_factory=set)


class Refusals:
    """Count what each endpoint of a fleet serves and refuses.

    >>> refusals = Refusals()
    >>> for _ in range(5):
    ...     refusals.served("m", "a:1")
    >>> [refusals.refused("m", "b:1") for _ in range(2)]
    [False, False]
    """

    def __init__(self) -> None:
        self._fleets: dict[str, _FleetTally] = {}

    def served(self, fleet: str, endpoint: str) -> None:
        """Note a request that the endpoint served."""
        tallies, tally = self._of(fleet, endpoint)
        tallies.served += 1
        tally.served += 1
        tally.run = 0
        tallies.doubted.discard(endpoint)

    def refused(self, fleet: str, endpoint: str) -> bool:
        """Note a request that it refused, and say whether to doubt it for that."""
        tallies, tally = self._of(fleet, endpoint)
        if not tally.run:
            tally.others_served = tallies.served - tally.served
            tally.others_refused = tallies.refused - tally.refused
        tallies.refused += 1
        tally.refused += 1
        tally.run += 1
        served = tallies.served - tally.served - tally.others_served
        refused = tallies.refused - tally.refused - tally.others_refused
        # The others may have had no request since: what they last did counts.
        others_serve = any(
            other.served and not other.run
            for name, other in tallies.endpoints.items()
            if name != endpoint
        )
        if tally.run < IN_A_ROW or not others_serve or served < SERVED_PER_REFUSED * refused:
            return False
        tallies.doubted.add(endpoint)
        return True

    def cleared(self, fleet: str) -> tuple[str, ...]:
        """Give the endpoints to trust again: all doubted, where these are too many to be it."""
        tallies = self._fleets[fleet]
        if len(tallies.doubted) <= MOST_OF_FLEET * len(tallies.endpoints):
            return ()
        cleared = tuple(sorted(tallies.doubted))
        tallies.doubted.clear()
        for tally in tallies.endpoints.values():
            tally.run = 0
        return cleared

    def forget(self, endpoint: str) -> None:
        """Drop an endpoint that has left."""
        for tallies in self._fleets.values():
            tallies.endpoints.pop(endpoint, None)
            tallies.doubted.discard(endpoint)

    def _of(self, fleet: str, endpoint: str) -> tuple[_FleetTally, _Tally]:
        tallies = self._fleets.get(fleet)
        if tallies is None:
            tallies = self._fleets[fleet] = _FleetTally()
        tally = tallies.endpoints.get(endpoint)
        if tally is None:
            tally = tallies.endpoints[endpoint] = _Tally()
        return tallies, tally
