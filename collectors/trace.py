"""Record every finished request without ever standing in its way.

Decides what happens when recording cannot keep up or the disk is full: rows are
dropped and counted, serving goes on, and recording resumes by itself. Rows become columns
many at a time, a few columns between the event loop's turns: in a thread, which takes the
interpreter from the event loop and gives it back for every column, that costs both twice as
much. A thread writes the columns, without the interpreter. Invariants: one writer thread at
a time, and no row becomes columns while it writes; :meth:`TraceRecorder.record` does no I/O,
never blocks and never raises. Called by the proxy for each finished request; ``build`` runs
:meth:`TraceRecorder.run` and closes it.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pyarrow as pa

from collectors.settings import TraceSettings
from collectors.trace_files import TraceFiles
from collectors.trace_schema import TableMaking, to_table
from predictor.types import RequestRecord

logger = logging.getLogger(__name__)

_CHUNK_ROWS: Final = 1024
"""Become columns together: each costs some microseconds besides its rows."""

_COLUMNS_AT_ONCE: Final = 8
"""Made of a chunk before the event loop has its turn: a millisecond or less."""

_LOOK_S: Final = 0.25
"""How often the buffer is looked at: of one that is full by a quarter columns are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceCounts:
    """Count what became of the records.

    Attributes:
        finished_rows: Rows in finished files.
        dropped_rows: Rows that did not fit into the buffer.
        lost_rows: Rows whose file could not be written.
        failures: Failed attempts to write.
    """

    finished_rows: int = 0
    dropped_rows: int = 0
    lost_rows: int = 0
    failures: int = 0

    @property
    def missing_rows(self) -> int:
        """Count the rows that are in no file and will be in none."""
        return self.dropped_rows + self.lost_rows


class TraceRecorder:
    """Write finished requests to Parquet files in the background.

    Args:
        directory: Where the files go.
        settings: Buffer, rotation and retention.
        epoch_offset_s: Added to a record's times gives epoch seconds.
        wall_clock: Gives epoch seconds, for file names and ages.
        sleep: Waits; tests pass another.
        writer: Tells this recorder's files from others' in the folder, ``None`` for one alone.
    """

    def __init__(
        self,
        directory: Path,
        settings: TraceSettings,
        *,
        epoch_offset_s: float,
        wall_clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        writer: str | None = None,
    ) -> None:
        self._settings = settings
        self._epoch_offset_s = epoch_offset_s
        self._wall_clock = wall_clock
        self._sleep = sleep
        self._files = TraceFiles(directory, settings, writer)
        self._buffer: deque[RequestRecord] = deque()
        self._writing = threading.Lock()  # a cancelled run leaves its thread writing
        self._dropped_rows = 0  # by the event loop
        self._taken_rows = 0  # out of the buffer
        self._failures = 0
        self._tables: list[pa.Table] = []  # made of them, to be written
        self._counts = TraceCounts()

    @property
    def counts(self) -> TraceCounts:
        """Give the totals so far."""
        return replace(self._counts, dropped_rows=self._dropped_rows)

    def record(self, record: RequestRecord) -> None:
        """Take in a finished request, or drop and count it when the buffer is full."""
        if len(self._buffer) >= self._settings.buffer_rows:
            self._dropped_rows += 1
        else:
            self._buffer.append(record)

    async def run(self) -> None:
        """Write what has come in, again and again, until cancelled."""
        while True:
            left_s = self._settings.flush_interval_s
            while left_s > 0:
                await self._sleep(min(left_s, _LOOK_S))
                left_s -= _LOOK_S
                if len(self._buffer) > self._settings.buffer_rows // 4:
                    await self._make_tables()
                if sum(map(len, self._tables)) >= self._settings.buffer_rows:
                    break
            await self._make_tables()
            await asyncio.to_thread(self._write_tables)

    async def close(self) -> None:
        """Write what is left and finish the file; after this nothing is lost."""
        await asyncio.to_thread(self._write_and_finish)

    def _write(self) -> None:
        while self._buffer:
            self._supervised(self._make_table)
        self._write_tables()

    def _write_tables(self) -> None:
        with self._writing:
            self._supervised(self._append_tables, self._files.abandon)

    def _write_and_finish(self) -> None:
        self._write()
        with self._writing:
            self._supervised(lambda: self._files.finish(self._wall_clock()), self._files.abandon)

    def _supervised(
        self, step: Callable[[], None], give_up: Callable[[], None] | None = None
    ) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001  # logged, with its traceback
            if give_up is not None:
                give_up()
            self._failed(error)
        self._count()

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        logger.error("trace_write_failed", exc_info=error)

    def _count(self) -> None:
        finished = self._files.finished_rows
        kept = finished + self._files.unfinished_rows + sum(map(len, self._tables))
        self._counts = TraceCounts(
            finished_rows=finished, lost_rows=self._taken_rows - kept, failures=self._failures
        )

    async def _make_tables(self) -> None:
        """Turn all rows that are there into columns, between the event loop's turns."""
        for _ in range(0, len(self._buffer), _CHUNK_ROWS):
            records = self._oldest()
            try:
                making = TableMaking(records, epoch_offset_s=self._epoch_offset_s)
                while making.go_on(_COLUMNS_AT_ONCE):  # noqa: ASYNC110  # it waits for nothing
                    await asyncio.sleep(0)
                self._tables.append(making.table())
            except asyncio.CancelledError:
                self._buffer.extendleft(reversed(records))
                raise
            except Exception as error:  # noqa: BLE001  # likewise
                self._failed(error)
            self._taken_rows += len(records)
            self._count()

    def _make_table(self) -> None:
        """Turn the oldest rows of the buffer into columns, at once."""
        records = self._oldest()
        self._taken_rows += len(records)
        self._tables.append(to_table(records, epoch_offset_s=self._epoch_offset_s))

    def _oldest(self) -> list[RequestRecord]:
        rows = range(min(len(self._buffer), _CHUNK_ROWS))
        return [self._buffer.popleft() for _ in rows]

    def _append_tables(self) -> None:
        now = self._wall_clock()
        tables, self._tables = self._tables, []
        if tables:
            self._files.append(pa.concat_tables(tables), now)
        self._files.finish_if_old(now)
