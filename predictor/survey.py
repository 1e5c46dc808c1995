"""What one look at all rows must keep of them for a model to be trained at the next look.

Bounded whatever the number of rows: the newest of each endpoint, which physics is fitted
to; a sample, evenly spread, which the bins of the trees' inputs are made of; and the newest
of all, which the evaluation is made on. Called by :mod:`predictor.streaming`.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

import numpy as np

from predictor.table import Table
from predictor.training import newest_of_each

SAMPLED_ROWS: Final = 200_000
"""What LightGBM makes bins of by default."""


class EvenSample:
    """Keep every k-th row, k growing so that at most twice ``rows`` are kept.

    >>> from predictor.features import N_FEATURES
    >>> sample = EvenSample(2)
    >>> for part in range(5):
    ...     sample.add(Table.of([]))
    >>> len(sample.table())
    0
    """

    def __init__(self, rows: int = SAMPLED_ROWS) -> None:
        self._most = 2 * rows
        self._every = 1
        self._seen = 0
        self._kept: list[Table] = []
        self._count = 0

    def add(self, table: Table) -> None:
        """Take in the next rows."""
        places = np.arange(self._seen, self._seen + len(table))
        self._seen += len(table)
        self._keep(table.only(places % self._every == 0))
        while self._count > self._most:
            kept = self.table()
            self._kept, self._count, self._every = [], 0, 2 * self._every
            self._keep(kept.only(np.arange(len(kept)) % 2 == 0))

    def table(self) -> Table:
        """Give what is kept."""
        return Table.joined(self._kept) if self._kept else Table.of([])

    def _keep(self, table: Table) -> None:
        self._kept.append(table)
        self._count += len(table)


class Survey:
    """Look at all rows once.

    Args:
        tables: The rows, oldest first.
        newest_rows: Labels kept of each endpoint and target.
        tail_rows: Newest rows kept of all, at least, as far as there are so many.

    Attributes:
        rows: How many there are.
        counts: Labels of each target.
        first_s: When the first was observed.
        last_s: When the last was.
        newest: The newest of each endpoint.
        tail: The newest of all.
        sample: An even sample.
    """

    def __init__(self, tables: Iterable[Table], *, newest_rows: int, tail_rows: int) -> None:
        self.rows = 0
        self.counts = [0, 0]
        self.first_s = self.last_s = float("nan")
        self.newest = Table.of([])
        sample, tail, held = EvenSample(), deque[Table](), 0
        for table in tables:
            if not self.rows:
                self.first_s = float(table.observed_s[0])
            self.last_s = float(table.observed_s[-1])
            self.rows += len(table)
            self.counts = [sum(both) for both in zip(self.counts, table.counts, strict=True)]
            sample.add(table)
            self.newest = _newest(
                Table.joined([self.newest, _newest(table, newest_rows)]), newest_rows
            )
            tail.append(table)
            held += len(table)
            while held - len(tail[0]) >= tail_rows:
                held -= len(tail.popleft())
        self.sample = sample.table()
        self.tail = Table.joined(tail) if tail else Table.of([])


def _newest(table: Table, count: int) -> Table:
    wanted = np.any(newest_of_each(table, count), axis=0)
    return table.only(wanted)
