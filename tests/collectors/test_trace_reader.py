from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.trace_reader import TraceProblem, read_observations, read_traces
from collectors.trace_schema import ARROW_SCHEMA, to_table
from predictor.features import NAMES
from predictor.types import Measurement, Objective, RequestFeatures, RequestRecord
from predictor.values import replace

MakeRecord = Callable[[int], RequestRecord]
GOLDEN = Path(__file__).parent / "data" / "trace_schema_1.parquet"


def save(path: Path, *records: RequestRecord) -> Path:
    pq.write_table(to_table(records, epoch_offset_s=1000.0), path, write_page_checksum=True)
    return path


def save_with(path: Path, record: RequestRecord, **metadata: str) -> Path:
    table = to_table([record], epoch_offset_s=0.0)
    facts = {**ARROW_SCHEMA.metadata, **{k.encode(): v.encode() for k, v in metadata.items()}}
    pq.write_table(table.replace_schema_metadata(facts), path)
    return path


def test_observations_come_back_as_they_were(tmp_path: Path, make_record: MakeRecord) -> None:
    record = make_record(3)
    save(tmp_path / "a.parquet", record)

    [observation] = read_observations([tmp_path])

    assert record.observation is not None
    np.testing.assert_array_equal(observation.features, record.observation.features)
    assert replace(observation, features=record.observation.features) == replace(
        record.observation, observed_s=1003.25
    )


def test_unknown_features_stay_nan(tmp_path: Path, make_record: MakeRecord) -> None:
    record = make_record(3)
    assert record.observation is not None
    features = np.full_like(record.observation.features, np.nan)
    observation = replace(record.observation, features=features)
    save(tmp_path / "a.parquet", replace(record, observation=observation))

    [read] = read_observations([tmp_path])

    assert np.isnan(read.features).all()


def test_requests_come_back_for_replay(tmp_path: Path, make_record: MakeRecord) -> None:
    record = make_record(3)
    save(tmp_path / "a.parquet", record)

    [row] = read_traces([tmp_path])

    assert row.request == replace(
        record.request,
        arrived_s=1003.0,
        prompt_tokens=100,
        session_id=row.request.session_id,
        tenant=row.request.tenant,
    )
    assert row.request.session_id is not None
    assert len(row.request.session_id) == 16
    assert row.measurement == record.measurement
    assert (row.candidates, row.chosen, row.endpoint) == (("a:1", "b:2"), 1, "b:2")
    assert row.features is not None
    assert row.features.shape == (2, len(NAMES))
    assert row.feature_names == NAMES
    assert (row.ttft_s, row.upstream_ttft_s, row.tpot_s, row.e2e_s) == (0.06, 0.05, 0.01, 0.25)


def test_requests_without_decision_or_observation_are_replayed_and_not_learned(
    tmp_path: Path, make_shed: MakeRecord
) -> None:
    save(tmp_path / "a.parquet", make_shed(1))

    [row] = read_traces([tmp_path])

    assert (row.features, row.candidates, row.chosen) == (None, (), None)
    assert list(read_observations([tmp_path])) == []


@given(
    files=st.lists(
        st.lists(st.integers(min_value=0, max_value=50), max_size=6), min_size=1, max_size=5
    )
)
def test_rows_of_overlapping_files_come_in_order_of_arrival(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[int]]
) -> None:
    folder = tmp_path_factory.mktemp("traces")
    template = _template()
    for index, arrivals in enumerate(files):
        records = [
            replace(template, request=replace(template.request, arrived_s=float(arrival)))
            for arrival in arrivals
        ]
        pq.write_table(
            to_table(records, epoch_offset_s=0.0), folder / f"{index}.parquet", row_group_size=2
        )

    arrived = [row.request.arrived_s for row in read_traces([folder])]

    assert arrived == sorted(arrival for arrivals in files for arrival in arrivals)


def _template() -> RequestRecord:
    return RequestRecord(
        request=RequestFeatures(request_id="x", arrived_s=0.0, model="m"),
        fleet=None,
        decision=None,
        endpoint=None,
        attempts=0,
        measurement=Measurement(outcome="completed"),
        finished_s=0.0,
    )


def test_broken_and_foreign_files_are_named_and_skipped(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    good = save(tmp_path / "good.parquet", make_record(1))
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(good.read_bytes()[:-20])
    empty = tmp_path / "empty.parquet"
    empty.write_bytes(b"")
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"x": [1]}), foreign)
    later = save_with(tmp_path / "later.parquet", make_record(1), **{"foretoken.trace_schema": "2"})
    missing = tmp_path / "missing.parquet"
    problems: list[TraceProblem] = []

    rows = list(read_traces([tmp_path, missing], on_problem=problems.append))

    assert [row.request.request_id for row in rows] == ["r1"]
    assert {problem.path for problem in problems} == {cut, empty, foreign, later, missing}
    reasons = {problem.path: problem.reason for problem in problems}
    assert reasons[foreign] == "is not a trace of foretoken"
    assert reasons[later] == "has trace schema 2"


def test_flipped_bytes_in_the_data_are_noticed(tmp_path: Path, make_record: MakeRecord) -> None:
    path = save(tmp_path / "a.parquet", *[make_record(number) for number in range(50)])
    footer = pq.read_metadata(path)
    column = footer.row_group(0).column(ARROW_SCHEMA.get_field_index("arrived_at_s"))
    data = bytearray(path.read_bytes())
    data[column.data_page_offset + column.total_compressed_size - 5] ^= 0xFF
    path.write_bytes(data)
    problems: list[TraceProblem] = []

    rows = list(read_traces([path], on_problem=problems.append))

    assert rows == []
    assert [problem.path for problem in problems] == [path]


def test_other_feature_schema_is_refused_for_learning_and_still_replayed(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    path = save_with(tmp_path / "a.parquet", make_record(1), **{"foretoken.features_hash": "old"})
    problems: list[TraceProblem] = []

    observations = list(read_observations([path], on_problem=problems.append))
    rows = list(read_traces([path], on_problem=problems.append))

    assert observations == []
    assert [problem.path for problem in problems] == [path]
    assert "feature schema old" in problems[0].reason
    assert len(rows) == 1


def test_columns_that_are_not_there_yet_are_unknown(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    table = to_table([make_record(1)], epoch_offset_s=0.0).drop_columns(["status", "tier"])
    pq.write_table(table, tmp_path / "a.parquet")

    [row] = read_traces([tmp_path])

    assert (row.measurement.status, row.request.tier) == (None, None)


@pytest.mark.parametrize("name", ["model", "priority", "streamed", "prompt_bytes", "block_bytes"])
def test_a_file_without_what_every_request_has_is_named_and_skipped(
    tmp_path: Path, make_record: MakeRecord, name: str
) -> None:
    table = to_table([make_record(1)], epoch_offset_s=0.0).drop_columns([name])
    pq.write_table(table, tmp_path / "a.parquet")
    problems: list[TraceProblem] = []

    rows = list(read_traces([tmp_path], on_problem=problems.append))

    assert rows == []
    assert problems[0].reason == f"lacks the column {name}"


def test_column_of_another_type_is_refused(tmp_path: Path, make_record: MakeRecord) -> None:
    table = to_table([make_record(1)], epoch_offset_s=0.0)
    index = table.schema.get_field_index("status")
    table = table.set_column(index, "status", pa.array(["200"]))
    pq.write_table(table, tmp_path / "a.parquet")
    problems: list[TraceProblem] = []

    rows = list(read_traces([tmp_path], on_problem=problems.append))

    assert rows == []
    assert "status" in problems[0].reason


def test_skipped_file_is_logged_by_default(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")

    rows = list(read_traces([tmp_path]))

    assert rows == []
    assert "trace_skipped" in caplog.text


def test_trace_recorded_with_schema_1_replays(
    request: pytest.FixtureRequest, make_record: MakeRecord, make_shed: MakeRecord
) -> None:
    if request.config.getoption("--regenerate", default=False):
        save(GOLDEN, make_record(0), make_shed(1), make_record(2))
    problems: list[TraceProblem] = []

    rows = list(read_traces([GOLDEN], on_problem=problems.append))

    assert problems == []
    assert [row.request.request_id for row in rows] == ["r0", "s1", "r2"]
    first = rows[0]
    assert first.request.arrived_s == 1000.0
    assert first.request.objective == Objective(ttft_s=0.5)
    assert first.request.block_hashes == (1, (1 << 64) - 1)
    assert first.request.session_id == "282d957699f7dc38"
    assert (first.request.prompt_tokens, first.measurement.output_tokens) == (100, 20)
    assert first.features is not None
    assert first.features.shape == (2, len(first.feature_names))
    assert "uncached_tokens" in first.feature_names
    assert rows[1].measurement.outcome == "client_gone"
    assert rows[1].request.prompt_tokens is None
