import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from collectors.trace_schema import ARROW_SCHEMA, TRACE_SCHEMA, to_table
from predictor.features import NAMES, SCHEMA_HASH
from predictor.types import RequestRecord
from predictor.values import replace

MakeRecord = Callable[[int], RequestRecord]
EPOCH = 1_800_000_000.0


def row(record: RequestRecord) -> dict[str, object]:
    cells: dict[str, object] = to_table([record], epoch_offset_s=EPOCH).to_pylist()[0]
    return cells


def test_file_metadata_names_version_features_and_their_hash() -> None:
    metadata = ARROW_SCHEMA.metadata

    assert metadata[b"foretoken.trace_schema"] == str(TRACE_SCHEMA).encode()
    assert metadata[b"foretoken.features_hash"] == SCHEMA_HASH.encode()
    assert [name for name, _ in json.loads(metadata[b"foretoken.features"])] == list(NAMES)


def test_times_are_epoch_seconds_or_durations(make_record: MakeRecord) -> None:
    cells = row(make_record(7))

    assert cells["arrived_at_s"] == EPOCH + 7
    assert cells["dispatched_after_s"] == pytest.approx(0.01)
    assert (cells["ttft_s"], cells["e2e_s"]) == (0.06, 0.25)


def test_all_candidates_are_kept(make_record: MakeRecord) -> None:
    record = make_record(7)
    assert record.decision is not None

    cells = row(record)

    assert cells["candidates"] == ["a:1", "b:2"]
    np.testing.assert_allclose(np.array(cells["features"]), record.decision.features, rtol=1e-6)
    assert cells["predicted_ttft_s"] == pytest.approx([0.1, 0.2])
    assert cells["predicted_tpot_p90_s"] == pytest.approx([0.02, 0.04])
    assert (cells["costs"], cells["chosen"], cells["shadow_chosen"]) == ([1.5, 0.5], 1, 0)
    assert (cells["policy"], cells["reason"]) == ("predicted_latency", "objective")


def test_session_and_tenant_are_hashes_and_no_text_remains(make_record: MakeRecord) -> None:
    cells = row(make_record(1))

    assert cells["session_hash"] == xxhash.xxh3_64_intdigest(b"session text")
    assert "session text" not in str(cells)
    assert "tenant text" not in str(cells)


def test_unknown_is_null_never_zero(make_shed: MakeRecord) -> None:
    cells = row(make_shed(1))

    known = {name for name, value in cells.items() if value is not None}
    assert known == {
        "request_id", "arrived_at_s", "model", "priority", "streamed", "prompt_bytes",
        "block_hashes", "block_bytes", "attempts", "outcome",
    }  # fmt: skip


def test_decision_without_predictions_keeps_its_candidates(make_record: MakeRecord) -> None:
    record = make_record(1)
    assert record.decision is not None

    cells = row(replace(record, decision=replace(record.decision, predictions=None)))

    assert cells["candidates"] == ["a:1", "b:2"]
    assert cells["predicted_ttft_s"] is None


def test_rows_of_different_fleets_stand_in_one_table(
    make_record: MakeRecord, make_shed: MakeRecord
) -> None:
    wide = make_record(2)
    assert wide.decision is not None
    three = replace(
        wide.decision,
        endpoints=("a", "b", "c"),
        features=np.zeros((3, 2)),
        matched_tokens=np.zeros(3),
        costs=np.zeros(3),
    )
    records = [make_shed(0), make_record(1), replace(wide, decision=three), make_shed(3)]

    table = to_table(records, epoch_offset_s=0.0)

    table.validate(full=True)
    lengths = [None if cell is None else len(cell) for cell in table["features"].to_pylist()]
    assert lengths == [None, 2, 3, None]
    assert [len(cell) for cell in table["features"].to_pylist()[2]] == [2, 2, 2]
    assert table.schema.equals(ARROW_SCHEMA)


def test_what_a_client_may_write_beyond_all_bounds_breaks_nothing(make_shed: MakeRecord) -> None:
    record = make_shed(1)
    wild = replace(
        record.request,
        request_id="\ud800",
        model="\udfff",
        session_id="\ud800",
        tier="\ud800",
        max_tokens=10**30,
        priority=-(10**30),
        block_hashes=(-1,),
    )

    cells = row(replace(record, request=wild))

    assert cells["max_tokens"] == (1 << 63) - 1
    assert cells["block_hashes"] == [(1 << 64) - 1]
    assert cells["request_id"] == "?"


def test_no_rows_make_an_empty_table() -> None:
    table = to_table([], epoch_offset_s=0.0)

    assert table.num_rows == 0
    assert isinstance(table, pa.Table)


def test_many_rows_are_what_each_is_alone(make_record: MakeRecord, make_shed: MakeRecord) -> None:
    full, other = make_record(1), make_record(2)
    assert full.decision is not None
    assert other.decision is not None
    blind = replace(full, decision=replace(full.decision, predictions=None))
    one = replace(
        other.decision,
        endpoints=("a",),
        features=np.ones((1, other.decision.features.shape[1])),
        matched_tokens=np.ones(1),
        costs=np.ones(1),
        predictions=None,
        chosen=0,
    )
    untaught = replace(full, observation=None)
    records = [full, make_shed(3), other, blind, replace(other, decision=one), untaught, full]

    for rows in (records, [full, other], [make_shed(1), make_shed(2)]):
        table = to_table(rows, epoch_offset_s=EPOCH)
        alone = pa.concat_tables(to_table([each], epoch_offset_s=EPOCH) for each in rows)

        table.validate(full=True)
        assert repr(table.to_pylist()) == repr(alone.to_pylist())  # NaN is not equal to itself
