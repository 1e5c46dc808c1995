"""Traces of any length in the form the recorder writes, made of one simulated run.

A run of a mixed fleet is played once; a long trace is blocks of its consecutive requests
in random order, so that what follows what stays as it was. Sizes, rates and times get noise
of a few percent each time a block comes again, so that no two rows are the same. Held-out
rows are of another run, as they are.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.prediction.simulated.cells import Cell, play
from collectors.trace_schema import ARROW_SCHEMA, to_table
from foretoken.simulation.witness import Witness
from predictor.features import FEATURES, N_FEATURES
from predictor.table import Table, label
from predictor.types import RequestRecord
from predictor.values import replace

CELL: Final = Cell(workload="sharegpt", fleet="mixed-8b", load=0.8, requests=4000)
_BLOCK_ROWS: Final = 256
_FILE_ROWS: Final = 50_000  # as the recorder's own
_GROUP_ROWS: Final = 2048
_NOISE: Final = 0.03
_NOISY: Final = np.array(
    [feature.unit in {"tokens", "tokens/s", "1e3 tokens", "Mtok^2", "s"} for feature in FEATURES]
)
_BEGIN_S: Final = 1_700_000_000.0


class _Kept(Witness):
    def __init__(self) -> None:
        self.records: list[RequestRecord] = []

    def ended(self, record: RequestRecord, now: float) -> None:  # noqa: ARG002  # of all witnesses
        if record.observation is not None:
            self.records.append(replace(record, decision=None))


def play_run(data: Path, *, seed: int) -> Sequence[RequestRecord]:
    """Play the run and give its requests in order of arrival, without their decisions."""
    kept = _Kept()
    play(CELL, data, lambda _: kept, seed=seed)
    return sorted(kept.records, key=lambda record: record.request.arrived_s)


def rows_of(records: Sequence[RequestRecord]) -> Table:
    """Lay out what can be learned of requests."""
    rows = [label(record.observation)[0] for record in records if record.observation is not None]
    return Table.of([row for row in rows if row is not None])


def write_trace(records: Sequence[RequestRecord], folder: Path, rows: int, *, seed: int) -> int:
    """Write a trace of so many rows; give its size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    base = _Base(records)
    now_s, size = _BEGIN_S, 0
    for number, start in enumerate(range(0, rows, _FILE_ROWS)):
        count = min(_FILE_ROWS, rows - start)
        table, now_s = base.draw(count, now_s, rng)
        path = folder / f"trace-{number:06d}.parquet"
        pq.write_table(
            table, path, compression="zstd", row_group_size=_GROUP_ROWS, use_dictionary=False,
            write_statistics=["arrived_at_s"], write_page_checksum=True,
        )  # fmt: skip
        size += path.stat().st_size
    return size


class _Base:
    """The run, as columns to draw blocks of."""

    def __init__(self, records: Sequence[RequestRecord]) -> None:
        self._table = to_table(records, epoch_offset_s=0.0)
        arrived = self._table["arrived_at_s"].to_numpy()
        self._gap_s = np.diff(arrived, prepend=arrived[0])
        observed = self._table["observation"].combine_chunks()
        self._delay_s = observed.field("observed_at_s").to_numpy() - arrived
        self._features = (
            observed.field("features").flatten().to_numpy().reshape(len(records), N_FEATURES)
        )

    def draw(self, count: int, now_s: float, rng: np.random.Generator) -> tuple[pa.Table, float]:
        """Give ``count`` rows that begin at a time, and when they end."""
        blocks = -(-count // _BLOCK_ROWS)
        starts = rng.integers(0, len(self._table) - _BLOCK_ROWS, blocks)
        rows = (starts[:, None] + np.arange(_BLOCK_ROWS)).ravel()[:count]
        arrived_s = now_s + np.cumsum(self._gap_s[rows])
        table = self._table.take(pa.array(rows))
        place = table.schema.get_field_index("arrived_at_s")
        table = table.set_column(place, ARROW_SCHEMA.field(place), pa.array(arrived_s))
        place = table.schema.get_field_index("observation")
        observation = self._observation(table["observation"].combine_chunks(), rows, arrived_s, rng)
        table = table.set_column(place, ARROW_SCHEMA.field(place), observation)
        return table.replace_schema_metadata(ARROW_SCHEMA.metadata), float(arrived_s[-1])

    def _observation(
        self,
        drawn: pa.StructArray,
        rows: np.ndarray[tuple[int], np.dtype[np.int64]],
        arrived_s: np.ndarray[tuple[int], np.dtype[np.float64]],
        rng: np.random.Generator,
    ) -> pa.StructArray:
        features = self._features[rows]
        features[:, _NOISY] *= rng.lognormal(0.0, _NOISE, (len(rows), int(_NOISY.sum())))
        offsets = pa.array(np.arange(len(rows) + 1, dtype=np.int32) * N_FEATURES)
        made = {
            "observed_at_s": pa.array(arrived_s + self._delay_s[rows]),
            "features": pa.ListArray.from_arrays(offsets, pa.array(features.ravel())),
        }
        for name in ("upstream_ttft_s", "tpot_s"):
            known = drawn.field(name).to_numpy(zero_copy_only=False)
            noisy = known * rng.lognormal(0.0, _NOISE, len(rows))
            made[name] = pa.array(noisy, from_pandas=True)
        fields = list(ARROW_SCHEMA.field("observation").type)
        parts = [made.get(field.name, drawn.field(field.name)) for field in fields]
        return pa.StructArray.from_arrays(parts, fields=fields)
