"""What one look at all rows must keep of them for a model to be trained at the next look.

Bounded whatever the number of rows: the newest of each endpoint, which physics is fitted
to; a sample, evenly spread, which the bins of the trees' inputs are made of; and the newest
of all, which the evaluation is made on. Called by :mod:`predictor.streaming`.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Hold what was seen of rows.

    Attributes:
        rows: How many there are.
        counts: Labels of each target.
        first_s: When the first was observed, NaN without any.
        last_s: When the last was.
        newest: The newest of each endpoint.
        sample: An even sample.
    """

    rows: int
    counts: tuple[int, int]
    first_s: float
    last_s: float
    newest: Table
    sample: Table

    @classmethod
    def joined(cls, parts: Sequence["Seen"], *, newest_rows: int) -> "Seen":
        """Join what was seen of shares of the same rows."""
        newest = Table.joined([Table.of([]), *(part.newest for part in parts)]).sorted()
        return cls(
            rows=sum(part.rows for part in parts),
            counts=(sum(part.counts[0] for part in parts), sum(part.counts[1] for part in parts)),
            first_s=min((part.first_s for part in parts if part.rows), default=nan),
            last_s=max((part.last_s for part in parts if part.rows), default=nan),
            newest=_newest(newest, newest_rows),
            sample=Table.joined([Table.of([]), *(part.sample for part in parts)]),
        )


class Survey:
    """Look at all rows once.

    Args:
        tables: The rows, oldest first.
        newest_rows: Labels kept of each endpoint and target.
        tail_rows: Newest rows kept of all, at least, as far as there are so many.
        sampled_rows: Rows sampled, about.

    Attributes:
        seen: What was seen.
        tail: The newest of all.
    """

    def __init__(
        self,
        tables: Iterable[Table],
        *,
        newest_rows: int,
        tail_rows: int = 0,
        sampled_rows: int = SAMPLED_ROWS,
    ) -> None:
        rows, counts, first_s, last_s = 0, [0, 0], nan, nan
        newest, sample, tail, held = Table.of([]), EvenSample(sampled_rows), deque[Table](), 0
        for table in tables:
            first_s = first_s if rows else float(table.observed_s[0])
            last_s = float(table.observed_s[-1])
            rows += len(table)
            counts = [sum(both) for both in zip(counts, table.counts, strict=True)]
            sample.add(table)
            newest = _newest(Table.joined([newest, _newest(table, newest_rows)]), newest_rows)
            tail.append(table)
            held += len(table)
            while tail and held - len(tail[0]) >= tail_rows:
                held -= len(tail.popleft())
        self.seen = Seen(
            rows=rows,
            counts=(counts[0], counts[1]),
            first_s=first_s,
            last_s=last_s,
            newest=newest,
            sample=sample.table(),
        )
        self.tail = Table.joined(tail) if tail else Table.of([])


def _newest(table: Table, count: int) -> Table:
    wanted = np.any(newest_of_each(table, count), axis=0)
    return table.only(wanted)
