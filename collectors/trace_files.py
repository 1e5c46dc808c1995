"""Finished trace files in a folder, one being written, the oldest deleted.

Decides when a file ends and which are kept. Invariants: a file named ``trace-*.parquet``
is whole and synced; the one being written is hidden and has another name; after any
failure the next rows start a new file. Called by the recorder, from its writer thread.
"""

import contextlib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from collectors.settings import TraceSettings
from collectors.trace_columns import NAMES

UNFINISHED: Final = ".trace-*.parquet.tmp"
"""What a file that is being written is called, as a pattern."""
_LEFTOVER_AFTER_S: Final = 3600.0  # age of a crash's half file; another process may write younger


class _OpenFile:
    """A file being written, under its hidden name."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._final = path
        self._temporary = path.with_name(f".{path.name}.tmp")
        # Arrow's own file: it writes without the interpreter.
        self._file = pa.OSFile(str(self._temporary), mode="wb")
        self._writer = pq.ParquetWriter(
            self._file,
            schema,
            compression="zstd",
            write_page_checksum=True,
            # Of numbers that hardly repeat a dictionary is built in vain, and of columns
            # that nobody selects by, bounds.
            use_dictionary=_repeating_texts(schema),
            write_statistics=["arrived_at_s"],
        )

    def write(self, table: pa.Table) -> int:
        """Write one row group; return the bytes written so far."""
        self._writer.write_table(table, row_group_size=table.num_rows)
        self._file.flush()
        size_bytes: int = self._file.tell()
        return size_bytes

    def finish(self) -> None:
        """Make it whole and give it its name."""
        self._writer.close()
        self._file.close()
        _sync(self._temporary)
        self._temporary.rename(self._final)

    def abandon(self) -> None:
        """Delete it, whatever state it is in."""
        self._writer.is_open = False  # or it would write its footer when it is collected
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink()


def _repeating_texts(schema: pa.Schema) -> list[str]:
    """Name the columns of text, as Parquet does, but for the one that never repeats."""
    found = [field.name for field in schema if field.type == pa.string()]
    found += [f"{field.name}.list.element" for field in schema if field.type == NAMES]
    for field in schema:
        if pa.types.is_struct(field.type):
            texts = [part.name for part in field.type if part.type == pa.string()]
            found += [f"{field.name}.{name}" for name in texts]
    return [name for name in found if name != "request_id"]


class TraceFiles:
    """Write tables to rotated files; every method may raise ``OSError``.

    Args:
        directory: Where; made when the first row comes.
        settings: When to rotate, how much to keep of all writers' files together.
        writer: Part of the names, where others write to the folder too.

    Attributes:
        finished_rows: Rows in finished files, whether or not these are still kept.
        unfinished_rows: Rows in the file being written: what a crash would lose.
    """

    def __init__(self, directory: Path, settings: TraceSettings, writer: str | None = None) -> None:
        self._directory = directory
        self._settings = settings
        self._mark = "" if writer is None else f"-{writer}"
        self._opened = 0
        self._opened_s = 0.0
        self._file: _OpenFile | None = None
        self.finished_rows = 0
        self.unfinished_rows = 0

    def append(self, table: pa.Table, now: float) -> None:
        """Write rows as one row group; ``now`` is in epoch seconds."""
        if self._file is None:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._file = _OpenFile(self._directory / self._next_name(now), table.schema)
            self._opened_s = now
        size_bytes = self._file.write(table)
        self.unfinished_rows += table.num_rows
        full = self.unfinished_rows >= self._settings.file_rows
        if full or size_bytes >= self._settings.file_bytes:
            self.finish(now)

    def finish_if_old(self, now: float) -> None:
        """End the file being written once its time has come, or the clock was set back."""
        if not 0 <= now - self._opened_s < self._settings.file_age_s:
            self.finish(now)

    def finish(self, now: float) -> None:
        """End the file being written, if there is one, and make room for the next."""
        if self._file is None:
            return
        self._file.finish()
        self._file = None
        self.finished_rows += self.unfinished_rows
        self.unfinished_rows = 0
        _sync(self._directory)
        self._make_room(now)

    def abandon(self) -> None:
        """Give up the file being written, and its rows."""
        self.unfinished_rows = 0
        if self._file is not None:
            self._file.abandon()
            self._file = None

    def _next_name(self, now: float) -> str:
        stamp = datetime.fromtimestamp(now, tz=UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        self._opened += 1
        return f"trace-{stamp}-{self._opened:06d}{self._mark}.parquet"

    def _make_room(self, now: float) -> None:
        for leftover in self._directory.glob(UNFINISHED):
            with contextlib.suppress(FileNotFoundError):  # another writer has just finished it
                if now - leftover.stat().st_mtime > _LEFTOVER_AFTER_S:
                    leftover.unlink(missing_ok=True)
        files = sorted(self._directory.glob("trace-*.parquet"))
        sizes = [_size_bytes(path) for path in files]
        excess = sum(sizes) - self._settings.max_bytes
        for path, size in zip(files[:-1], sizes[:-1], strict=True):
            if excess <= 0:
                break
            path.unlink(missing_ok=True)
            excess -= size


def _sync(path: Path) -> None:
    """Have what was written to a file or folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _size_bytes(path: Path) -> int:
    """Give a file's size, 0 where another writer has deleted it."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
