"""Read what can be learned from traces as columns, a stretch of rows at a time.

The same rows in the same order as :func:`collectors.trace_reader.read_observations` gives
one by one, a hundred times as fast, and in memory bounded by a stretch of each file whose
times overlap, whatever the size of the trace. A stretch is some neighbouring row groups;
their footers say where in time they begin. Called by training.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collectors.trace_reader import TraceFile, TraceProblem, log_problem, open_learnable
from predictor.features import N_FEATURES
from predictor.labels import MeasuredColumns
from predictor.table import Table
from predictor.types import FloatArray

STRETCH_ROWS: Final = 65_536
"""Rows read together, at least: 30 MB of them."""

_LEAVES: Final = (
    "endpoint", "model", "hardware", "observed_at_s", "features", "upstream_ttft_s", "tpot_s",
    "output_tokens",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Name some neighbouring row groups of one file.

    Attributes:
        file: Which file.
        groups: Their numbers.
        first_arrival_s: No row of theirs came earlier.
        rows: How many there are.
    """

    file: TraceFile
    groups: tuple[int, ...]
    first_arrival_s: float
    rows: int


class TraceBatches:
    """Read traces again and again, a fleet at a time.

    Args:
        paths: Files, or folders of ``*.parquet``.
        on_problem: Told, once, of each file that is skipped or cannot be read to its end.

    Attributes:
        files: What there is to read.
    """

    def __init__(
        self,
        paths: Iterable[Path],
        *,
        on_problem: Callable[[TraceProblem], None] = log_problem,
    ) -> None:
        files = open_learnable(paths, on_problem)
        self.files = [file for file in files if "observation" in file.columns]
        self._on_problem = on_problem
        self._broken: set[Path] = set()
        self._stretches = stretches(self.files)

    def only(self, chosen: Sequence[Stretch]) -> "TraceBatches":
        """Give some stretches of some files as if there were no others."""
        other = TraceBatches([], on_problem=self._on_problem)
        other._stretches = list(chosen)  # our own kind
        return other

    def counts(self) -> dict[str, int]:
        """Count what was observed of each fleet."""
        counts: dict[str, int] = {}
        for stretch in self._stretches:
            table = self._read(stretch, ["observation.model"])
            if table is None:
                continue
            names = pc.value_counts(_leaf(table["observation"], "model").drop_null())
            for entry in names.to_pylist():
                counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
        return counts

    def tables(self, fleet: str) -> Iterator[Table]:
        """Yield what can be learned of one fleet, in order of arrival."""
        leaves = [f"observation.{name}" for name in _LEAVES]
        reading = (
            (stretch.first_arrival_s, table)
            for stretch in self._stretches
            if (table := self._read(stretch, ["arrived_at_s", *leaves])) is not None
        )
        for rows in in_order(reading):
            table = table_of(rows, fleet)
            if len(table):
                yield table

    def _read(self, stretch: Stretch, columns: Sequence[str]) -> pa.Table | None:
        path = stretch.file.path
        if path in self._broken:
            return None
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                return file.read_row_groups(stretch.groups, columns=columns, use_threads=False)
        except (OSError, pa.ArrowException) as error:
            self._broken.add(path)
            self._on_problem(TraceProblem(path=path, reason=str(error)))
            return None


def stretches(files: Iterable[TraceFile], rows: int = STRETCH_ROWS) -> list[Stretch]:
    """Divide files into stretches, in order of the time they begin at."""
    found = (stretch for file in files for stretch in stretches_of(file, rows))
    return sorted(found, key=attrgetter("first_arrival_s"))


def stretches_of(file: TraceFile, rows: int = STRETCH_ROWS) -> list[Stretch]:
    """Divide a file into stretches of neighbouring row groups, ``rows`` each at least."""
    found: list[Stretch] = []
    groups: list[int] = []
    for group in range(len(file.group_rows)):
        groups.append(group)
        count = sum(file.group_rows[one] for one in groups)
        if count >= rows or group == len(file.group_rows) - 1:
            first = min(file.group_arrivals_s[one] for one in groups)
            found.append(
                Stretch(file=file, groups=tuple(groups), first_arrival_s=first, rows=count)
            )
            groups = []
    return found


def in_order(reading: Iterable[tuple[float, pa.Table]]) -> Iterator[pa.Table]:
    """Merge tables, given by when they may begin, into ones in order of ``arrived_at_s``.

    >>> tables = [(0.0, pa.table({"arrived_at_s": [0.0, 3.0]})),
    ...     (1.0, pa.table({"arrived_at_s": [1.0]}))]
    >>> [table["arrived_at_s"].to_pylist() for table in in_order(tables)]
    [[0.0], [1.0, 3.0]]
    """
    held: pa.Table | None = None
    for begins_s, table in reading:
        if held is not None:
            # What comes later begins no earlier than this: all before it is complete.
            ready = int(np.searchsorted(held["arrived_at_s"].to_numpy(), begins_s))
            if ready:
                yield held.slice(0, ready)
            held = held.slice(ready)
            table = pa.concat_tables([held, table])  # noqa: PLW2901  # held back until now
        held = table.sort_by("arrived_at_s")
    if held is not None and held.num_rows:
        yield held


def table_of(rows: pa.Table, fleet: str) -> Table:
    """Lay out the rows of one fleet that have a usable label."""
    observation = rows["observation"]
    mine = pc.fill_null(pc.equal(_leaf(observation, "model"), fleet), fill_value=False)
    observation = observation.filter(mine)
    targets = [_numbers(observation, name) for name in ("upstream_ttft_s", "tpot_s")]
    measured = MeasuredColumns(
        features=_features(_leaf(observation, "features")),
        observed_s=_numbers(observation, "observed_at_s"),
        targets_s=np.array(targets),
        output_tokens=_numbers(observation, "output_tokens"),
    )
    endpoints = _leaf(observation, "endpoint").to_pylist()
    return Table.of_columns(measured, endpoints, _leaf(observation, "hardware").to_pylist())


def _leaf(observation: pa.ChunkedArray, name: str) -> pa.Array:
    """Give one part of the observations, null where there is none of them."""
    found = pc.struct_field(observation, name)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _numbers(observation: pa.ChunkedArray, name: str) -> FloatArray:
    column = pc.cast(_leaf(observation, name), pa.float64())
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _features(column: pa.ListArray) -> FloatArray:
    """Lay feature rows out, all NaN where one is missing or of another length."""
    count = len(column)
    values = column.flatten().to_numpy(zero_copy_only=False)
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
    whole = lengths == N_FEATURES
    if whole.all():
        return np.array(values, dtype=np.float64).reshape(count, N_FEATURES)
    features = np.full((count, N_FEATURES), np.nan)
    starts = np.concatenate([[0], np.cumsum(np.maximum(lengths, 0))])[:-1]
    features[whole] = values[starts[whole, None] + np.arange(N_FEATURES)]
    return features
