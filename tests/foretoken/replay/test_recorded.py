from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretoken.errors import TraceNotReplayable
from foretoken.replay.recorded import Window, read_traffic


def test_a_window_is_of_time_and_of_requests(trace: Path) -> None:
    whole = read_traffic([trace], Window())
    part = read_traffic([trace], Window(from_s=20.0, until_s=40.0))
    few = read_traffic([trace.parent], Window(limit=100))

    assert whole.model == "llama-3.1-8b"
    assert whole.requests[0].arrived_s == 0.0
    assert part.span_s < 20.0
    assert part.began_s >= whole.began_s + 20.0
    assert (len(few.requests), few.more, whole.more) == (100, True, False)


def test_a_time_of_day_is_a_window_too(trace: Path) -> None:
    whole = read_traffic([trace], Window())

    part = read_traffic([trace], Window(from_s=whole.began_s + 20.0))

    assert part.began_s >= whole.began_s + 20.0


def test_endpoints_are_known_by_what_was_scraped_of_them(trace: Path) -> None:
    found = read_traffic([trace], Window()).endpoints

    assert sorted(found) == ["h100-1", "l40s-0"]
    assert found["l40s-0"].kv_capacity_tokens == 195_760
    assert (found["l40s-0"].max_batched_tokens, found["h100-1"].max_batched_tokens) == (2048, 8192)
    assert found["l40s-0"].hardware is None


def test_a_trace_of_several_models_wants_one_named(trace: Path, tmp_path: Path) -> None:
    table = pq.read_table(trace)
    fleets = ["other" if row % 2 else "llama-3.1-8b" for row in range(len(table))]
    column = table.column_names.index("fleet")
    pq.write_table(table.set_column(column, "fleet", pa.array(fleets)), tmp_path / "t.parquet")

    with pytest.raises(TraceNotReplayable, match="name one with --model"):
        read_traffic([tmp_path], Window())
    with pytest.raises(TraceNotReplayable, match="did you mean other"):
        read_traffic([tmp_path], Window(model="othr"))
    assert len(read_traffic([tmp_path], Window(model="other")).requests) == len(table) // 2


def test_columns_that_are_missing_are_unknown(trace: Path, tmp_path: Path) -> None:
    kept = pq.read_table(trace).drop_columns(["block_hashes", "features", "observation"])
    pq.write_table(kept, tmp_path / "t.parquet")

    traffic = read_traffic([tmp_path], Window())

    assert len(traffic.requests[0].blocks) == 0
    assert {facts.kv_capacity_tokens for facts in traffic.endpoints.values()} == {None}


def test_what_cannot_be_read_is_named(trace: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(trace.read_bytes()[:-100])
    empty = tmp_path / "empty.parquet"
    pq.write_table(pq.read_table(trace).slice(0, 0), empty)

    with pytest.raises(TraceNotReplayable, match="broken"):
        read_traffic([broken], Window())
    with pytest.raises(TraceNotReplayable, match="does not exist"):
        read_traffic([tmp_path / "none.parquet"], Window())
    with pytest.raises(TraceNotReplayable, match="no request is recorded"):
        read_traffic([empty], Window())
    with pytest.raises(TraceNotReplayable, match="between --from and --until"):
        read_traffic([trace], Window(from_s=1000.0))
