"""What every router has in flight at every endpoint: our own row to tell, and the others'.

A writer's rows are replaced or added to by what it tells, never by anybody else, and go when
it falls silent. Instants in bookings are by our clock here; whoever carries them translates.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Final

from predictor.features import UNKNOWN
from scheduler.bookings import NOTHING, Bookings, Sums, together

Row = tuple[float, ...]
"""The numbers of :class:`scheduler.bookings.Bookings`, in its order; a whole one as an integer."""

_FIELDS: Final = len(Bookings._fields)
_SINCE, _OLDEST, _RATED = (
    Bookings._fields.index(name) for name in ("stream_since_s", "oldest_queued_s", "rated_s")
)
_INSTANTS: Final = frozenset((_SINCE, _OLDEST, _RATED))
_MAY_BE_UNKNOWN: Final = frozenset(
    Bookings._fields.index(name) for name in ("recent_ttft_s", "recent_tpot_s")
)
_ROUNDING: Final = 1e-3
"""Sums of floats that are added to and taken from end this far from nothing, at most."""
_MOST: Final = 1e15


class RouterRows:
    """Hold them; the :class:`scheduler.bookings.Ledger` of a router among others.

    Attributes:
        on_change: Called when there is something to tell, once until it is taken.

    >>> rows = RouterRows()
    >>> rows.follow(["a:1"])
    >>> rows.hear("other", {"a:1": Bookings(inflight_requests=2.0)}, whole=True)
    >>> [(name, sum_.inflight_requests) for name, sum_ in rows.changed(0.0)], rows.changed(0.0)
    ([('a:1', 2.0)], ())
    """

    def __init__(self) -> None:
        self.on_change: Callable[[], None] = _nobody
        self._own: dict[str, Bookings] = {}
        self._untold: set[str] = set()
        self._others: dict[str, dict[str, Bookings]] = {}  # by writer and endpoint
        self._followed: set[str] = set()
        self._news: set[str] = set()

    # The ledger

    def follow(self, endpoints: Iterable[str]) -> None:
        """Take in the whole present set of endpoints."""
        wanted = set(endpoints)
        if wanted == self._followed:
            return
        for name in self._followed - wanted:
            if self._own.pop(name, None) is not None:
                self._tell(name)
        self._news |= wanted - self._followed
        self._news &= wanted
        self._followed = wanted

    def booked(self, endpoint: str, sums: Sums) -> None:
        """Write our row of an endpoint; one that has left has a row until its last request ends."""
        bookings = Bookings(*sums)
        if endpoint in self._followed or bookings.inflight_requests:
            self._own[endpoint] = bookings
        else:
            self._own.pop(endpoint, None)
        if not self._untold:
            self.on_change()
        self._untold.add(endpoint)

    def changed(
        self,
        now: float,  # noqa: ARG002  # the ledger's
        *,
        at_once: bool = False,  # noqa: ARG002  # likewise: it always is
    ) -> Iterable[tuple[str, Bookings]]:
        """Give the others' sums wherever they have changed."""
        if not self._news:
            return ()
        news, self._news = self._news, set()
        return [(name, self._sum(name)) for name in news]

    # What is carried

    def take(self) -> dict[str, Bookings]:
        """Give our rows that have changed since they were last taken."""
        untold, self._untold = self._untold, set()
        return {name: self._own.get(name, NOTHING) for name in untold}

    def take_all(self) -> dict[str, Bookings]:
        """Give all our rows that say something."""
        self._untold = set()
        return {name: row for name, row in self._own.items() if row != NOTHING}

    def hear(self, writer: str, rows: Mapping[str, Bookings], *, whole: bool) -> None:
        """Take in what another writer tells; ``whole``: it has nothing anywhere else."""
        before = self._others.setdefault(writer, {})
        changed = {name for name, row in rows.items() if before.get(name) != row}
        if whole:
            changed |= before.keys() - rows.keys()
            self._others[writer] = dict(rows)
        else:
            before.update(rows)
        self._news |= changed & self._followed

    def lose(self, writer: str) -> None:
        """Forget a writer that is gone, and all that it had booked."""
        self._news |= self._others.pop(writer, {}).keys() & self._followed

    def _tell(self, endpoint: str) -> None:
        if not self._untold:
            self.on_change()
        self._untold.add(endpoint)

    def _sum(self, endpoint: str) -> Bookings:
        rows = (rows.get(endpoint, NOTHING) for rows in self._others.values())
        return reduce(together, rows, NOTHING)


def packed(bookings: Bookings, offset_s: float) -> Row:
    """Write a row for others, its instants by the clock that is ``offset_s`` ahead of ours.

    >>> packed(Bookings(inflight_requests=1.0, rated_s=2.0), 100.0)[:9]
    (1, 0, 0, 0, 0, 0, 0, inf, 102)
    """
    shifted = _shifted(bookings, offset_s)
    return tuple(int(value) if value.is_integer() else value for value in map(float, shifted))


def unpacked(row: Row, offset_s: float) -> Bookings:
    """Read a row of another, its instants by ours.

    Raises:
        ValueError: No writer of ours can have written it.

    >>> unpacked(packed(Bookings(streams=2.0, stream_since_s=6.0), 100.0), 100.0).stream_since_s
    6.0
    """
    if len(row) != _FIELDS:
        msg = f"a row of {len(row)} numbers"
        raise ValueError(msg)
    for place, value in enumerate(row):
        if not _is_sound(place, value):
            msg = f"{Bookings._fields[place]} is {value}"
            raise ValueError(msg)
    # One NaN for all: rows are compared, and a NaN equals itself alone.
    values = (UNKNOWN if math.isnan(value) else float(value) for value in row)
    return _shifted(Bookings(*values), -offset_s)


def _is_sound(place: int, value: float) -> bool:
    if place in _INSTANTS:
        return abs(value) < _MOST or (place == _OLDEST and value == math.inf)
    return -_ROUNDING <= value < _MOST or (place in _MAY_BE_UNKNOWN and math.isnan(value))


def _shifted(bookings: Bookings, offset_s: float) -> Bookings:
    values = list(bookings)
    values[_SINCE] += bookings.streams * offset_s
    values[_OLDEST] += offset_s
    values[_RATED] += offset_s
    return Bookings(*values)


def _nobody() -> None:
    """Tell nobody."""
