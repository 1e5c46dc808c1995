"""Read recorded traces back: observations to train on, requests to replay.

Decides which files count. A broken or foreign file, or one of an unknown trace schema,
is named and skipped. Rows of another feature table are refused for training, where a
column would silently mean something else; their requests still replay, for that is
what old traces are for. Both come in order of arrival over all files, and memory holds
only the files whose times overlap. Called by training, replay and evaluation.
"""

import heapq
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from collectors.errors import TraceUnreadable
from collectors.trace_row import Row, TraceRow, to_observation, to_trace_row
from collectors.trace_schema import (
    ARROW_SCHEMA,
    KEY_FEATURES,
    KEY_FEATURES_HASH,
    KEY_VERSION,
    TRACE_SCHEMA,
)
from predictor.features import SCHEMA_HASH
from predictor.types import Observation

logger = logging.getLogger(__name__)

_IN_ALL: Final = (
    "request_id", "arrived_at_s", "model", "priority", "streamed", "prompt_bytes",
    "block_bytes", "outcome",
)  # fmt: skip
"""Columns of every version whose cells are never null: no request is read without them."""

_NOT_REPLAYED: Final = {
    "predicted_ttft_s", "predicted_ttft_p90_s", "predicted_tpot_s", "predicted_tpot_p90_s",
    "costs", "matched_tokens", "layer", "model_version", "shadow_chosen", "observation",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceProblem:
    """Name a file that was skipped and say why."""

    path: Path
    reason: str


def log_problem(problem: TraceProblem) -> None:
    """Log a file that was skipped."""
    fields = {"path": str(problem.path), "reason": problem.reason}
    logger.warning("trace_skipped", extra=fields)


def read_observations(
    paths: Iterable[Path], *, on_problem: Callable[[TraceProblem], None] = log_problem
) -> Iterator[Observation]:
    """Yield what can be learned from traces, in order of arrival.

    Args:
        paths: Files, or folders of ``*.parquet``.
        on_problem: Told of each file that is skipped.
    """
    files = open_learnable(paths, on_problem)
    for _, row in _in_order(files, ["observation"], on_problem):
        if row["observation"] is not None:
            yield to_observation(row["observation"])


def open_learnable(
    paths: Iterable[Path], on_problem: Callable[[TraceProblem], None]
) -> "list[TraceFile]":
    """Read the footers of files that models can be trained on.

    Args:
        paths: Files, or folders of ``*.parquet``.
        on_problem: Told of each file that is skipped.
    """
    files = []
    for file in _open_all(paths, on_problem):
        if file.features_hash == SCHEMA_HASH:
            files.append(file)
        else:
            reason = f"has feature schema {file.features_hash}, the running code has {SCHEMA_HASH}"
            on_problem(TraceProblem(path=file.path, reason=reason))
    return files


def read_traces(
    paths: Iterable[Path], *, on_problem: Callable[[TraceProblem], None] = log_problem
) -> Iterator[TraceRow]:
    """Yield every recorded request, in order of arrival.

    Args:
        paths: Files, or folders of ``*.parquet``.
        on_problem: Told of each file that is skipped.
    """
    columns = [name for name in ARROW_SCHEMA.names if name not in _NOT_REPLAYED]
    for file, row in _in_order(_open_all(paths, on_problem), columns, on_problem):
        yield to_trace_row(row, file.feature_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFile:
    """Hold what the footer of a readable trace says.

    Attributes:
        path: Where it is.
        features_hash: Of the feature table it was recorded with.
        feature_names: Names of the features, in order.
        columns: Names of its columns.
        group_rows: Rows of each row group.
        group_arrivals_s: The earliest arrival in each; before everything where not told.
    """

    path: Path
    features_hash: str
    feature_names: tuple[str, ...]
    columns: frozenset[str]
    group_rows: tuple[int, ...]
    group_arrivals_s: tuple[float, ...]

    @property
    def first_arrival_s(self) -> float:
        """Give the earliest arrival."""
        return min(self.group_arrivals_s, default=-np.inf)


def _open_all(paths: Iterable[Path], on_problem: Callable[[TraceProblem], None]) -> list[TraceFile]:
    files = []
    for path in paths:
        for one in sorted(path.glob("*.parquet")) if path.is_dir() else [path]:
            try:
                file = _open(one)
            except TraceUnreadable as error:
                on_problem(TraceProblem(path=error.path, reason=error.reason))
                continue
            files.append(file)
    return files


def _open(path: Path) -> TraceFile:
    try:
        footer = pq.read_metadata(path)
        schema = footer.schema.to_arrow_schema()
    except (OSError, pa.ArrowException) as error:
        raise TraceUnreadable(path, str(error)) from error
    facts = schema.metadata or {}
    version = facts.get(KEY_VERSION)
    if version is None:
        raise TraceUnreadable(path, "is not a trace of foretoken")
    if version != str(TRACE_SCHEMA).encode():
        raise TraceUnreadable(path, f"has trace schema {version.decode(errors='replace')}")
    try:
        names = tuple(str(name) for name, _ in json.loads(facts[KEY_FEATURES]))
        features_hash = facts[KEY_FEATURES_HASH].decode()
    except (KeyError, ValueError, TypeError) as error:
        raise TraceUnreadable(path, "does not name its features") from error
    _check_columns(path, schema)
    return TraceFile(
        path=path,
        features_hash=features_hash,
        feature_names=names,
        columns=frozenset(schema.names),
        group_rows=tuple(footer.row_group(n).num_rows for n in range(footer.num_row_groups)),
        group_arrivals_s=tuple(_arrivals(footer)),
    )


def _check_columns(path: Path, schema: pa.Schema) -> None:
    for name in _IN_ALL:
        if name not in schema.names:
            raise TraceUnreadable(path, f"lacks the column {name}")
    for name in schema.names:
        if name in ARROW_SCHEMA.names and schema.field(name).type != ARROW_SCHEMA.field(name).type:
            raise TraceUnreadable(path, f"has column {name} of type {schema.field(name).type}")


def _arrivals(footer: pq.FileMetaData) -> Iterator[float]:
    """Find the earliest arrival of each row group without reading rows."""
    column = ARROW_SCHEMA.get_field_index("arrived_at_s")
    for group in range(footer.num_row_groups):
        chunk = footer.row_group(group).column(column)
        told = chunk.path_in_schema == "arrived_at_s" and chunk.is_stats_set
        yield chunk.statistics.min if told and chunk.statistics.has_min_max else -np.inf


def _in_order(
    files: Sequence[TraceFile],
    columns: Sequence[str],
    on_problem: Callable[[TraceProblem], None],
) -> Iterator[tuple[TraceFile, Row]]:
    """Merge the rows of all files by arrival; a file is read when its first row is due."""
    waiting = sorted(files, key=lambda file: file.first_arrival_s, reverse=True)
    rows: list[tuple[float, int, Row, TraceFile, Iterator[Row]]] = []
    opened = 0
    while waiting or rows:
        while waiting and (not rows or waiting[-1].first_arrival_s <= rows[0][0]):
            file = waiting.pop()
            opened += 1
            _push_next(rows, opened, file, _rows(file, columns, on_problem))
        if rows:
            _, number, row, file, rest = heapq.heappop(rows)
            yield file, row
            _push_next(rows, number, file, rest)


def _push_next(
    rows: list[tuple[float, int, Row, TraceFile, Iterator[Row]]],
    number: int,
    file: TraceFile,
    rest: Iterator[Row],
) -> None:
    row = next(rest, None)
    if row is not None:
        heapq.heappush(rows, (row["arrived_at_s"], number, row, file, rest))


def _rows(
    file: TraceFile, columns: Sequence[str], on_problem: Callable[[TraceProblem], None]
) -> Iterator[Row]:
    wanted = [name for name in dict.fromkeys(["arrived_at_s", *columns]) if name in file.columns]
    missing = dict.fromkeys(name for name in columns if name not in file.columns)
    try:
        table = pq.read_table(file.path, columns=wanted, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as error:
        on_problem(TraceProblem(path=file.path, reason=str(error)))
        return
    for batch in table.sort_by("arrived_at_s").to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            yield {**missing, **row}
