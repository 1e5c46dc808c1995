"""Columns of traces are what their rows one by one are: the same ones, in the same order."""

import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from collectors.trace_batches import TraceBatches, stretches_of
from collectors.trace_reader import TraceProblem, open_learnable, read_observations
from collectors.trace_schema import to_table
from predictor.features import N_FEATURES
from predictor.table import Table, label
from predictor.types import Measurement, Observation, RequestFeatures, RequestRecord
from predictor.values import replace


def observation(rng: random.Random, number: int, model: str) -> Observation:
    """Make one that may have any of the faults an observation can have."""
    features = np.array([rng.choice((0.0, 1.0, np.nan, 50.0)) for _ in range(N_FEATURES)])
    features[0] = rng.choice((100.0, 100.0, np.nan, 1e9))
    return Observation(
        endpoint=rng.choice(("a:1", "b:1")),
        model=model,
        hardware=rng.choice((None, "h100")),
        observed_s=float(number),
        features=features[: rng.choice((N_FEATURES, N_FEATURES, N_FEATURES, 3))],
        upstream_ttft_s=rng.choice((None, 0.2, 0.0, -1.0, 1e9, float("nan"))),
        tpot_s=rng.choice((None, 0.02, 0.5, 100.0)),
        output_tokens=rng.choice((None, 0, 1, 200, -5, 1 << 40)),
    )


def records(count: int, *, seed: int) -> list[RequestRecord]:
    rng = random.Random(seed)
    found = []
    for number in range(count):
        model = rng.choice(("m", "m", "other"))
        observed = observation(rng, number, model) if rng.random() < 0.9 else None
        found.append(
            RequestRecord(
                request=RequestFeatures(
                    request_id=f"{number}", arrived_s=number + rng.uniform(-5, 5), model=model
                ),
                fleet=model,
                decision=None,
                endpoint="a:1",
                attempts=1,
                measurement=Measurement(outcome="completed"),
                finished_s=float(number),
                observation=observed,
            )
        )
    return found


def save(path: Path, rows: list[RequestRecord], *, group: int) -> None:
    table = to_table(rows, epoch_offset_s=0.0)
    pq.write_table(
        table, path, row_group_size=group, write_page_checksum=True, use_dictionary=False,
        write_statistics=["arrived_at_s"],
    )  # fmt: skip


def in_rows(folder: Path, fleet: str) -> Table:
    seen = [one for one in read_observations([folder]) if one.model == fleet]
    rows = [label(one)[0] for one in seen]
    return Table.of([row for row in rows if row is not None])


def assert_equal(found: Table, wanted: Table) -> None:
    np.testing.assert_array_equal(found.features, wanted.features)
    np.testing.assert_allclose(found.log_target, wanted.log_target, rtol=1e-12)
    np.testing.assert_allclose(
        np.where(np.isfinite(found.log_target), found.weight, 0),
        np.where(np.isfinite(wanted.log_target), wanted.weight, 0),
    )
    np.testing.assert_array_equal(found.observed_s, wanted.observed_s)
    assert (found.endpoints, found.hardware) == (wanted.endpoints, wanted.hardware)


def test_columns_are_what_rows_are_over_overlapping_files_and_fleets(tmp_path: Path) -> None:
    rows = records(900, seed=3)
    save(tmp_path / "a.parquet", rows[:400:2] + rows[400:500], group=37)
    save(tmp_path / "b.parquet", rows[1:400:2], group=500)
    save(tmp_path / "c.parquet", rows[500:], group=64)
    batches = TraceBatches([tmp_path])

    tables = list(batches.tables("m"))

    assert_equal(Table.joined(tables), in_rows(tmp_path, "m"))
    assert_equal(Table.joined(list(batches.tables("other"))), in_rows(tmp_path, "other"))
    observed = [one.observation.model for one in rows if one.observation is not None]
    assert batches.counts() == {name: observed.count(name) for name in ("m", "other")}


def test_a_file_is_read_a_stretch_at_a_time(tmp_path: Path) -> None:
    save(tmp_path / "a.parquet", records(1000, seed=1), group=100)
    (file,) = open_learnable([tmp_path], lambda _: None)

    stretches = stretches_of(file, 250)

    assert [stretch.rows for stretch in stretches] == [300, 300, 300, 100]
    assert [stretch.groups[0] for stretch in stretches] == [0, 3, 6, 9]


def test_damaged_data_is_named_once_and_the_other_files_are_read(tmp_path: Path) -> None:
    save(tmp_path / "a.parquet", records(200, seed=1), group=50)
    save(tmp_path / "b.parquet", [replace(one) for one in records(200, seed=2)], group=50)
    path = tmp_path / "a.parquet"
    chunk = pq.read_metadata(path).row_group(2).column(1)  # arrived_at_s
    data = bytearray(path.read_bytes())
    data[chunk.data_page_offset + chunk.total_compressed_size - 1] ^= 0xFF
    path.write_bytes(bytes(data))
    problems: list[TraceProblem] = []
    batches = TraceBatches([tmp_path], on_problem=problems.append)

    found = [list(batches.tables("m")) for _ in range(2)]

    assert [problem.path for problem in problems] == [path]
    assert sum(map(len, found[1])) > 0


def test_a_fleet_that_was_never_seen_has_no_rows(tmp_path: Path) -> None:
    save(tmp_path / "a.parquet", records(50, seed=1), group=50)

    assert list(TraceBatches([tmp_path]).tables("never")) == []
