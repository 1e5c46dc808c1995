"""One ledger of several, where a process has others of more than one kind.

Workers of this router write into memory that they share, routers elsewhere by way of Redis;
the scheduler reads the sums of all of them. Called by the scheduler only.
"""

from collections.abc import Iterable

from scheduler.bookings import Bookings, Ledger, Sums, together


class Ledgers:
    """Keep one ledger of several, whose others are different ones.

    Args:
        ledgers: Each of one kind of others.
    """

    def __init__(self, *ledgers: Ledger) -> None:
        self._ledgers = ledgers
        self._latest: list[dict[str, Bookings]] = [{} for _ in ledgers]

    def follow(self, endpoints: Iterable[str]) -> None:
        """Take in the whole present set of endpoints."""
        names = set(endpoints)
        for ledger, latest in zip(self._ledgers, self._latest, strict=True):
            ledger.follow(names)
            for gone in latest.keys() - names:
                del latest[gone]

    def booked(self, endpoint: str, sums: Sums) -> None:
        """Write our own row of an endpoint."""
        for ledger in self._ledgers:
            ledger.booked(endpoint, sums)

    def changed(self, now: float, *, at_once: bool = False) -> Iterable[tuple[str, Bookings]]:
        """Give the sums of all others wherever they have changed."""
        changed: set[str] = set()
        for ledger, latest in zip(self._ledgers, self._latest, strict=True):
            for endpoint, bookings in ledger.changed(now, at_once=at_once):
                latest[endpoint] = bookings
                changed.add(endpoint)
        return [(endpoint, self._sum(endpoint)) for endpoint in changed] if changed else ()

    def _sum(self, endpoint: str) -> Bookings:
        known = [latest[endpoint] for latest in self._latest if endpoint in latest]
        first, *rest = known
        for bookings in rest:
            first = together(first, bookings)
        return first
