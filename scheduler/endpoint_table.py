"""What a decision reads of every endpoint, as one row each of shared arrays.

A decision over a hundred endpoints must not make a hundred objects: whoever learns
something writes it into the endpoint's row, and a decision completes rows. Each part has
one writer: the scheduler what scrapes say, the prefix index how far its matches can be
trusted, both at once; the accounting what is in flight and whose turn it was, when a row is
next read. A row keeps its number as long as the endpoint is known or has requests. Called
by these three and by the decider.
"""

from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.feature_rows import EndpointRows, load_columns, outside_columns
from predictor.features import CLOCKS, COLUMN, N_FEATURES, OLDEST, OUTSIDE, OWN, SCRAPED, UNKNOWN
from predictor.types import IDLE, EndpointState, FloatArray
from predictor.values import Value

Rows = NDArray[np.intp]
"""Row numbers of endpoints, ``(n,)``."""

_FIRST_ROWS: Final = 16
_INFLIGHT: Final = COLUMN["inflight_requests"]
_OWN: Final = Struct(f"{OWN.stop - OWN.start}d")
_OWN_CLOCKS: Final = Struct(f"{CLOCKS - OLDEST}d")
_IDLE: Final = load_columns(IDLE)
_IDLE_CLOCKS: Final[tuple[float, ...]] = (UNKNOWN, float("-inf"), 0.0, 0.0)  # from OLDEST on


class Members(Value):
    """Name the endpoints a request may go to, and where each stands in the table.

    Attributes:
        names: ``n`` names.
        rows: ``(n,)`` row numbers.
        hardware: ``n`` hardware labels.
        classes: ``n`` priority classes, empty where all are 0: nobody then looks at them.
    """

    names: tuple[str, ...]
    rows: Rows
    hardware: tuple[str | None, ...]
    classes: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def only(self, kept: Sequence[int]) -> "Members":
        """Keep those at these positions."""
        return Members(
            names=tuple(self.names[i] for i in kept),
            rows=self.rows[list(kept)],
            hardware=tuple(self.hardware[i] for i in kept),
            classes=_told(tuple(self.classes[i] for i in kept)) if self.classes else (),
        )

    def of_class(self, priority_class: int) -> "Members":
        """Keep those of one class, where classes are told."""
        return self.only([i for i, one in enumerate(self.classes) if one == priority_class])


class EndpointTable:
    """Hold one row per endpoint.

    >>> table = EndpointTable()
    >>> table.row("a:1"), table.row("b:1"), table.row("a:1")
    (0, 1, 0)
    """

    def __init__(self) -> None:
        self._row_of: dict[str, int] = {}
        self._free: list[int] = []
        self._values = np.empty((0, N_FEATURES))
        self._clocks = np.empty((0, CLOCKS))
        self._turns = np.empty(0)
        self._trust = np.empty(0)
        self._settle: Callable[[], None] | None = None
        self._grow()

    @property
    def capacity(self) -> int:
        """Give the rows there is room for, a multiple of eight."""
        return len(self._turns)

    def row(self, endpoint: str) -> int:
        """Give the number of an endpoint's row; one not known gets one, idle and unknown."""
        row = self._row_of.get(endpoint)
        if row is None:
            if not self._free:
                self._grow()
            row = self._row_of[endpoint] = self._free.pop()
        return row

    def members(self, states: Iterable[EndpointState]) -> Members:
        """Gather endpoints in the order given."""
        states = tuple(states)
        return Members(
            names=tuple(state.endpoint for state in states),
            rows=np.array([self.row(state.endpoint) for state in states], dtype=np.intp),
            hardware=tuple(state.hardware for state in states),
            classes=_told(tuple(state.priority_class for state in states)),
        )

    def see(self, state: EndpointState) -> None:
        """Write what is known of an endpoint from outside."""
        row = self.row(state.endpoint)
        self._values[row, OUTSIDE] = outside_columns(state)
        self._clocks[row, SCRAPED] = UNKNOWN if state.scraped_s is None else state.scraped_s

    def counted_by(self, settle: Callable[[], None]) -> None:
        """Name who writes what is in flight: asked to whenever that is about to be read."""
        self._settle = settle

    def count(
        self, row: int, own: tuple[float, ...], clocks: tuple[float, ...], *, turn: float
    ) -> None:
        """Write what is in flight: the columns ``OWN``, their clocks, the last dispatch."""
        # Before every decision: half the time of assigning to slices.
        _OWN.pack_into(self._values_bytes, 8 * (row * N_FEATURES + OWN.start), *own)
        _OWN_CLOCKS.pack_into(self._clocks_bytes, 8 * (row * CLOCKS + OLDEST), *clocks)
        self._turns[row] = turn

    def trust(self, row: int, effectiveness: float) -> None:
        """Write which share of a prefix match the endpoint really finds."""
        self._trust[row] = effectiveness

    def forget(self, endpoint: str) -> None:
        """Free the row of an endpoint; another may have it next."""
        row = self._row_of.pop(endpoint, None)
        if row is not None:
            self._clear(row)
            self._free.append(row)

    @property
    def columns(self) -> EndpointRows:
        """Give all rows as they stand, to be completed for a request.

        Only to be read, and before anything else is booked.
        """
        self._be_settled()
        return self._columns

    @property
    def turns(self) -> FloatArray:
        """Give the sequence numbers of our last dispatches, 0 for none, by row.

        Only to be read, and before anything else is booked.
        """
        self._be_settled()
        return self._turns

    def effectiveness(self, rows: Rows) -> FloatArray:
        """Give the share of a match that each really finds, 0 to 1, ``(n,)``."""
        return self._trust.take(rows)

    def inflight(self, rows: Rows) -> FloatArray:
        """Give what each has in flight, by our own count and that of our peers, ``(n,)``."""
        self._be_settled()
        counts: FloatArray = self._values[:, _INFLIGHT].take(rows)
        return np.nan_to_num(counts)

    def scraped_s(self, rows: Rows) -> FloatArray:
        """Give when each was scraped, NaN for never, ``(n,)``."""
        return self._clocks[:, SCRAPED].take(rows)

    def _be_settled(self) -> None:
        if self._settle is not None:
            self._settle()

    def _grow(self) -> None:
        before = len(self._turns)
        more = max(before, _FIRST_ROWS)
        self._values = np.concatenate((self._values, np.empty((more, N_FEATURES))))
        self._clocks = np.concatenate((self._clocks, np.empty((more, CLOCKS))))
        self._values_bytes, self._clocks_bytes = self._values.data, self._clocks.data
        self._columns = EndpointRows(values=self._values, clocks=self._clocks)
        self._turns = np.concatenate((self._turns, np.empty(more)))
        self._trust = np.concatenate((self._trust, np.empty(more)))
        added = range(before, before + more)
        for row in added:
            self._clear(row)
        self._free.extend(reversed(added))  # the lowest number goes first

    def _clear(self, row: int) -> None:
        self._values[row] = UNKNOWN
        self._clocks[row, SCRAPED] = UNKNOWN
        self.count(row, _IDLE, _IDLE_CLOCKS, turn=0.0)
        self._trust[row] = 1.0


def _told(classes: tuple[int, ...]) -> tuple[int, ...]:
    """Give priority classes, none where all are 0."""
    return classes if any(classes) else ()
