"""What the workers of one machine share in memory: bookings, and who is there.

One anonymous file mapped by all. Invariants: a worker writes its own row of every part and
reads the others'; the rows of a dead one are cleared by the supervisor, its only other
writer; a number is written in one store, and readers look at a count that is raised after
the row, so that no reader waits for a writer. A row read while it is written mixes two
states one booking apart, and is read again within milliseconds. Which endpoint has which
slot is agreed by the hash of its name, under a lock of the file that only a change of the
endpoints takes.
"""

import fcntl
import logging
import mmap
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple, Self

import numpy as np
from xxhash import xxh3_64_intdigest

from scheduler.bookings import NOTHING, Bookings, Sums, together

log = logging.getLogger(__name__)

SLOTS: Final = 1024
"""Endpoints whose bookings are shared; those beyond are each worker's own."""

REFRESH_S: Final = 0.005
"""Others' bookings are looked at again after so long: a look costs some microseconds per
endpoint they changed, and they are to be seen within 10 ms."""

BEAT_S: Final = 0.25
ABSENT_S: Final = 2.0
"""Who has not been heard of for so long is not counted on; a busy event loop is late by
tenths of a second."""

_BEAT, _STARTED, _TOTAL, _CONNECTIONS, _READY, _RESTARTS = range(6)
_HEADER: Final = 8
_FIELDS: Final = len(Bookings._fields)
_ROW: Final = struct.Struct(f"{_FIELDS}d")
_DOUBLE: Final = 8


class _Layout(NamedTuple):
    """Say where the parts begin, in doubles; all but the directory have a row per worker."""

    header: int
    held: int
    counts: int
    rows: int
    directory: int
    size: int


def _layout(workers: int) -> _Layout:
    held = workers * _HEADER
    counts = held + workers * SLOTS
    rows = counts + workers * SLOTS
    directory = rows + workers * SLOTS * _FIELDS
    return _Layout(0, held, counts, rows, directory, directory + SLOTS)


class SharedTable:
    """Hold the mapping; a worker's :class:`scheduler.bookings.Ledger`.

    Args:
        descriptor: Of the file, as made by :meth:`create`.
        workers: How many rows it has.
        worker: Whose row is ours.
    """

    def __init__(self, descriptor: int, *, workers: int, worker: int) -> None:
        self.descriptor = descriptor
        self._workers = workers
        self._worker = worker
        layout = _layout(workers)
        self._map = mmap.mmap(descriptor, layout.size * _DOUBLE)
        self._doubles = memoryview(self._map).cast("d")
        whole = np.frombuffer(self._map, dtype=np.float64)
        self._header = whole[: layout.held].reshape(workers, _HEADER)
        self._held = whole[layout.held : layout.counts].reshape(workers, SLOTS)
        self._counts = whole[layout.counts : layout.rows].reshape(workers, SLOTS)
        self._rows = whole[layout.rows : layout.directory].reshape(workers, SLOTS, _FIELDS)
        self._directory = whole[layout.directory :].view(np.uint64)
        first_rows = [(layout.rows + one * SLOTS * _FIELDS) * _DOUBLE for one in range(workers)]
        self._first_row = first_rows[worker]
        self._first_count = layout.counts + worker * SLOTS
        self._total = worker * _HEADER + _TOTAL
        self._others = [other for other in range(workers) if other != worker]
        self._others_rows = [first_rows[other] for other in self._others]
        self._followed: set[str] = set()
        self._slot_of: dict[str, int] = {}
        self._endpoint_of: dict[int, str] = {}
        self._due_s = 0.0
        self._seen_totals: list[float] = []
        # Counts by other and slot, as far as we use any.
        self._seen: list[list[float]] = [[] for _ in self._others]

    @classmethod
    def create(cls, workers: int) -> Self:
        """Make the file, in memory where the system can; nobody is there, nothing is booked."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("foretoken")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, _layout(workers).size * _DOUBLE)
        table = cls(descriptor, workers=workers, worker=0)
        for worker in range(workers):
            table.clear(worker)
        return table

    # Bookings

    def follow(self, endpoints: Iterable[str]) -> None:
        """Take in the whole present set of endpoints."""
        wanted = set(endpoints)
        if wanted == self._followed:
            return
        self._followed = wanted
        with self._locked():
            for name in self._slot_of.keys() - wanted:
                self._give_up(name)
            for name in sorted(wanted - self._slot_of.keys()):
                self._claim(name)
        # What others have there is news to us.
        used = max(self._endpoint_of, default=-1) + 1
        self._seen = [[-1.0] * used for _ in self._others]
        self._seen_totals = []

    def booked(self, endpoint: str, sums: Sums) -> None:
        """Write our row of an endpoint."""
        slot = self._slot_of.get(endpoint)
        if slot is None:
            return
        _ROW.pack_into(self._map, self._first_row + slot * _ROW.size, *sums)
        doubles = self._doubles
        doubles[self._first_count + slot] += 1.0
        doubles[self._total] += 1.0

    def changed(self, now: float, *, at_once: bool = False) -> Iterable[tuple[str, Bookings]]:
        """Give the others' sums wherever they have changed; every 5 ms, unless at once."""
        if 0.0 < self._due_s - now <= REFRESH_S and not at_once:
            return ()
        self._due_s = now + REFRESH_S
        doubles = self._doubles
        totals = [doubles[other * _HEADER + _TOTAL] for other in self._others]
        if totals == self._seen_totals:
            return ()
        self._seen_totals = totals
        slots: set[int] = set()
        for place, other in enumerate(self._others):
            before = self._seen[place]
            counts: list[float] = self._counts[other, : len(before)].tolist()
            if counts != before:
                self._seen[place] = counts
                slots.update(slot for slot, count in enumerate(counts) if count != before[slot])
        endpoint_of = self._endpoint_of
        return [(endpoint_of[slot], self._sum(slot)) for slot in slots if slot in endpoint_of]

    # Who is there

    def join(self, now: float) -> None:
        """Begin to be there."""
        own = self._header[self._worker]
        own[_STARTED], own[_BEAT] = now, now

    def beat(self, now: float) -> None:
        """Say that we still are."""
        self._header[self._worker, _BEAT] = now

    def eldest(self, now: float) -> int | None:
        """Name the worker that has been there for longest, of those heard of lately."""
        there = [
            (started_s, worker)
            for worker, (beat_s, started_s) in enumerate(self._header[:, :2].tolist())
            if beat_s and now - beat_s <= ABSENT_S
        ]
        return min(there)[1] if there else None

    def set_ready(self) -> None:
        """Say that we serve."""
        self._header[self._worker, _READY] = 1.0

    def ready(self) -> list[bool]:
        """Tell of every worker whether it serves."""
        return [bool(flag) for flag in self._header[:, _READY].tolist()]

    def set_connections(self, count: int) -> None:
        """Say how many connections we have."""
        self._doubles[self._worker * _HEADER + _CONNECTIONS] = count

    def fewest_connections(self, now: float) -> float:
        """Give the least that any other worker that serves has; infinite without one."""
        serving = [
            row
            for row in self._header[self._others].tolist()
            if row[_READY] and now - row[_BEAT] <= ABSENT_S
        ]
        return min((row[_CONNECTIONS] for row in serving), default=float("inf"))

    def connections(self) -> list[int]:
        """Give every worker's connections."""
        return [int(count) for count in self._header[:, _CONNECTIONS].tolist()]

    def restarted(self, worker: int) -> None:
        """Count that a worker was started again."""
        self._header[worker, _RESTARTS] += 1.0

    def restarts(self) -> list[int]:
        """Give how often every worker was started again."""
        return [int(count) for count in self._header[:, _RESTARTS].tolist()]

    def clear(self, worker: int) -> None:
        """Forget a worker that has died, and all that it had booked."""
        self._header[worker, [_BEAT, _STARTED, _CONNECTIONS, _READY]] = 0.0
        self._held[worker] = 0.0
        self._rows[worker] = NOTHING
        self._counts[worker] += 1.0
        self._header[worker, _TOTAL] += 1.0

    # How

    def _sum(self, slot: int) -> Bookings:
        first, *rest = self._others_rows
        total = self._row(first + slot * _ROW.size)
        for other in rest:
            total = together(total, self._row(other + slot * _ROW.size))
        return total

    def _row(self, start: int) -> Bookings:
        return Bookings(*_ROW.unpack_from(self._map, start))

    def _claim(self, endpoint: str) -> None:
        name = np.uint64(xxh3_64_intdigest(endpoint.encode()) or 1)
        found = np.flatnonzero(self._directory == name)
        if not len(found):
            found = np.flatnonzero(self._held.sum(axis=0) == 0.0)  # free, or nobody's any more
        if not len(found):
            log.warning("bookings_not_shared", extra={"endpoint": endpoint, "slots": SLOTS})
            return
        slot = int(found[0])
        self._directory[slot] = name
        self._held[self._worker, slot] = 1.0
        self._slot_of[endpoint], self._endpoint_of[slot] = slot, endpoint

    def _give_up(self, endpoint: str) -> None:
        self.booked(endpoint, NOTHING)
        slot = self._slot_of.pop(endpoint)
        del self._endpoint_of[slot]
        self._held[self._worker, slot] = 0.0

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)
