import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from collectors.trace_schema import ARROW_SCHEMA, TRACE_SCHEMA, to_table
from predictor.features import NAMES, SCHEMA_HASH
from predictor.types import (
    Decision,
    Measurement,
    Objective,
    Observation,
    Predictions,
    RequestFeatures,
    RequestRecord,
)
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


TOLD_APART = RequestRecord(
    request=RequestFeatures(
        request_id="request",
        arrived_s=7.0,
        model="model",
        prompt_bytes=12,
        max_tokens=2,
        streamed=True,
        block_hashes=(101, 102),
        block_bytes=3,
        session_id="session",
        tenant="tenant",
        tier="tier",
        priority=4,
        objective=Objective(ttft_s=0.01, tpot_s=0.02),
    ),
    fleet="fleet",
    decision=Decision(
        endpoints=("one", "other"),
        features=np.array([[1.0, 2.0], [3.0, 4.0]]),
        matched_tokens=np.array([5.0, 6.0]),
        predictions=Predictions(
            ttft_s=np.array([7.0, 8.0]),
            tpot_s=np.array([9.0, 10.0]),
            quantiles_s=np.arange(11.0, 23.0).reshape(2, 3, 2),
            rank_ttft_s=np.array([23.0, 24.0]),
            rank_tpot_s=np.array([25.0, 26.0]),
            prefill_s=np.array([27.0, 28.0]),
            decode_step_s=np.array([29.0, 30.0]),
            prefill_token_s=np.array([31.0, 32.0]),
            experts=np.zeros((2, 1, 2)),
            layer="mixture",
            version="version",
        ),
        costs=np.array([33.0, 34.0]),
        chosen=0,
        order=(0, 1),
        policy="policy",
        reason="reason",
        prompt_tokens=5,
        decided_s=7.25,
        shadow_chosen=1_000,
        shadow_policy="shadow",
        predicted_s=0.03,
        shadow_predicted_s=0.04,
    ),
    endpoint="endpoint",
    attempts=6,
    measurement=Measurement(
        outcome="cut",
        prompt_tokens=7,
        cached_tokens=8,
        output_tokens=9,
        token_events=10,
        endpoint_ttft_s=0.05,
        endpoint_tpot_s=0.06,
        status=200,
    ),
    finished_s=9.0,
    dispatched_s=7.5,
    ttft_s=0.07,
    upstream_ttft_s=0.08,
    tpot_s=0.09,
    e2e_s=0.1,
    observation=Observation(
        endpoint="observed endpoint",
        model="observed model",
        hardware="hardware",
        observed_s=8.0,
        features=np.array([35.0, 36.0]),
        upstream_ttft_s=0.11,
        tpot_s=0.12,
        output_tokens=11,
        predicted_ttft_s=0.13,
        predicted_tpot_s=0.14,
        predicted_ttft_p90_s=0.15,
        predicted_tpot_p90_s=0.16,
    ),
)
"""No two cells of its row are equal."""


def test_every_cell_stands_in_the_column_of_its_name() -> None:
    assert row(TOLD_APART) == {
        "request_id": "request",
        "arrived_at_s": EPOCH + 7.0,
        "model": "model",
        "fleet": "fleet",
        "session_hash": xxhash.xxh3_64_intdigest(b"session"),
        "tenant_hash": xxhash.xxh3_64_intdigest(b"tenant"),
        "tier": "tier",
        "priority": 4,
        "streamed": True,
        "prompt_bytes": 12,
        "prompt_tokens": 7,
        "prompt_tokens_estimate": 5,
        "cached_tokens": 8,
        "output_tokens": 9,
        "max_tokens": 2,
        "objective_ttft_s": 0.01,
        "objective_tpot_s": 0.02,
        "block_hashes": [101, 102],
        "block_bytes": 3,
        "candidates": ["one", "other"],
        "features": [[1.0, 2.0], [3.0, 4.0]],
        "matched_tokens": [5.0, 6.0],
        "predicted_ttft_s": [7.0, 8.0],
        "predicted_ttft_p90_s": [13.0, 14.0],
        "predicted_tpot_s": [9.0, 10.0],
        "predicted_tpot_p90_s": [19.0, 20.0],
        "layer": "mixture",
        "model_version": "version",
        "costs": [33.0, 34.0],
        "chosen": 0,
        "shadow_chosen": 1_000,
        "shadow_policy": "shadow",
        "predicted_s": 0.03,
        "shadow_predicted_s": 0.04,
        "policy": "policy",
        "reason": "reason",
        "endpoint": "endpoint",
        "attempts": 6,
        "dispatched_after_s": 0.5,
        "ttft_s": 0.07,
        "upstream_ttft_s": 0.08,
        "tpot_s": 0.09,
        "e2e_s": 0.1,
        "endpoint_ttft_s": 0.05,
        "endpoint_tpot_s": 0.06,
        "outcome": "cut",
        "status": 200,
        "observation": {
            "endpoint": "observed endpoint",
            "model": "observed model",
            "hardware": "hardware",
            "observed_at_s": EPOCH + 8.0,
            "features": [35.0, 36.0],
            "upstream_ttft_s": 0.11,
            "tpot_s": 0.12,
            "output_tokens": 11,
            "predicted_ttft_s": 0.13,
            "predicted_tpot_s": 0.14,
            "predicted_ttft_p90_s": 0.15,
            "predicted_tpot_p90_s": 0.16,
        },
    }


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
