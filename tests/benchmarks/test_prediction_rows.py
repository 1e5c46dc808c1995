import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.prediction import b200, h200
from benchmarks.prediction.b200 import EARLY_S
from benchmarks.prediction.rowset import (
    DELAYED,
    EARLY,
    ROW_BY_ROW,
    Dispatch,
    Label,
    RowSet,
    RowsUnreadable,
)
from foretoken.simulation.llmd_rows import PREFIX, TTFT_COLUMNS
from predictor.features import COLUMN


def h200_row(**changes: object) -> dict[str, object]:
    row = {
        "kv_cache_percentage": 0.25,
        "input_token_length": 1000,
        "num_request_waiting": 0,
        "num_request_running": 3,
        "num_tokens_generated": 0,
        "actual_ttft_ms": 500,
        "actual_tpot_ms": 0,
        "prefix_cache_score": 0.9,
        "prefill_tokens_in_flight": 200,
        "decode_tokens_in_flight": 0,
    }
    return row | changes


def write_h200(
    tmp_path: Path, rows: list[dict[str, object]], name: str = "quiet-h200.jsonl"
) -> Path:
    folder = tmp_path / h200.FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def kinds(rows: RowSet) -> list[tuple[str, int]]:
    return [("sent" if isinstance(e, Dispatch) else "label", e.request) for e in rows.events]


def test_h200_rows_have_what_the_router_saw_and_one_label(tmp_path: Path) -> None:
    path = write_h200(tmp_path, [h200_row(), h200_row(actual_ttft_ms=0, actual_tpot_ms=20.5)])

    at_once, _ = h200.read(path)

    features = at_once.requests[0].features
    assert h200.paths(tmp_path) == [path]
    assert (at_once.name, at_once.order) == ("quiet", ROW_BY_ROW)
    assert features[COLUMN["uncached_tokens"]] == 1000  # prefix caching was off
    assert features[COLUMN["inflight_requests"]] == 3
    assert np.isnan(features[COLUMN["max_tokens"]])
    labels = [event for event in at_once.events if isinstance(event, Label)]
    assert [(label.target, label.seconds) for label in labels] == [("ttft", 0.5), ("tpot", 0.0205)]
    assert at_once.observation(labels[1]).upstream_ttft_s is None


def test_h200_keeps_the_reference_row_as_recorded(tmp_path: Path) -> None:
    at_once, _ = h200.read(write_h200(tmp_path, [h200_row(num_request_waiting=2)]))

    row = dict(zip(TTFT_COLUMNS, at_once.requests[0].reference_row.tolist(), strict=True))

    assert row["is_queued"] == 1
    assert row["num_request_running"] == 3
    assert row["prefix_cache_score"] == 0.9
    assert row["effective_input_tokens"] == pytest.approx(100)
    assert row["prefill_score_bucket"] == 3


def test_h200_label_delay_predicts_earlier_than_it_learns(tmp_path: Path) -> None:
    rows = [h200_row() for _ in range(3)] + [h200_row(num_request_waiting=2)]

    at_once, late = h200.read(write_h200(tmp_path, rows))

    assert kinds(at_once)[-2:] == [("sent", 3), ("label", 3)]
    assert late.order == DELAYED
    assert kinds(late)[2:] == [
        ("sent", 1), ("sent", 3), ("label", 1), ("sent", 2), ("label", 2), ("label", 3),
    ]  # fmt: skip


def test_h200_labels_change_from_the_middle_on(tmp_path: Path) -> None:
    at_once, _ = h200.read(write_h200(tmp_path, [h200_row()] * 4), factor=1.7)

    labels = [event.seconds for event in at_once.events if isinstance(event, Label)]

    assert labels == pytest.approx([0.5, 0.5, 0.85, 0.85])


@pytest.mark.parametrize("line", ["not json", "{}", '{"actual_ttft_ms": 1, "actual_tpot_ms": 0}'])
def test_h200_says_which_line_it_cannot_read(tmp_path: Path, line: str) -> None:
    path = write_h200(tmp_path, [h200_row()])
    path.write_text(path.read_text() + line + "\n")

    with pytest.raises(RowsUnreadable, match=r"quiet-h200.jsonl, line 2"):
        h200.read(path)


def write_b200(
    tmp_path: Path, runs: list[tuple[str, int, int, str, int]], *, hits: int = 0, readings: int = 30
) -> Path:
    """Write runs of (name, tp, concurrency, offload, requests); one request a second."""
    sent: dict[str, list[object]] = {name: [] for name in b200._REQUEST_COLUMNS}
    seen: dict[str, list[object]] = {name: [] for name in b200._READING_COLUMNS}
    for number, (name, tp, concurrency, offload, count) in enumerate(runs):
        for row in range(count):
            values = {
                "run": name, "tp": tp, "conc": concurrency, "offload": offload,
                "relative_time_sec": float(row), "start_time_ms": 1e6 * (number + 1) + 1e3 * row,
                "ttft_ms": 500.0, "tpot_ms": 100.0, "latency_ms": 10_400.0,
                "input_num_tokens": 1000, "output_num_tokens": 100, "approx_cached_percent": 60.0,
            }  # fmt: skip
            for column, value in values.items():
                sent[column].append(value)
        for second in range(readings):
            values = {
                "run": name, "relative_time_sec": float(second), "kv_cache_usage_pct": 50.0,
                "num_requests_running": second, "num_requests_waiting": 0,
                "prefix_cache_hits": hits * second, "prefix_cache_queries": 1000 * second,
                "num_preemptions_total": 0,
            }  # fmt: skip
            for column, value in values.items():
                seen[column].append(value)
    folder = tmp_path / b200.FOLDER
    folder.mkdir(parents=True)
    pq.write_table(pa.table(sent), folder / "requests.parquet")
    pq.write_table(pa.table(seen), folder / "server_metrics_1hz.parquet")
    return tmp_path


def test_b200_features_are_what_was_known_when_a_request_was_sent(tmp_path: Path) -> None:
    data = write_b200(tmp_path, [("a", 1, 4, "off", 8)], hits=600)

    at_once, _, _ = b200.read(data)[0]

    features = at_once.requests[6].features
    assert features[COLUMN["inflight_requests"]] == 6
    assert features[COLUMN["queued_requests"]] == 0  # first tokens came half a second later
    assert features[COLUMN["decoding_requests"]] == 6
    assert features[COLUMN["running_requests"]] == 5  # of second 5: second 6 is not seen yet
    assert features[COLUMN["scrape_age_s"]] == pytest.approx(1.0)
    assert features[COLUMN["recent_ttft_s"]] == pytest.approx(0.5)
    assert np.isnan(features[COLUMN["recent_tpot_s"]])  # none has ended
    assert np.isnan(at_once.requests[0].features[COLUMN["running_requests"]])


def test_b200_unlearns_a_predicted_match_that_the_server_does_not_find(tmp_path: Path) -> None:
    data = write_b200(tmp_path, [("a", 1, 4, "off", 25)], hits=0)

    at_once, _, _ = b200.read(data)[0]

    cached = [request.features[COLUMN["cached_tokens"]] for request in at_once.requests]
    assert cached[0] == 600
    assert cached[-1] < 300
    assert at_once.requests[-1].reference_row[PREFIX] == pytest.approx(600 / 960)


def test_b200_labels_come_when_they_are_known_and_early_ones_sooner(tmp_path: Path) -> None:
    data = write_b200(tmp_path, [("a", 1, 4, "off", 1)])

    at_once, late, early = b200.read(data)[0]

    assert (at_once.order, late.order, early.order) == (ROW_BY_ROW, DELAYED, EARLY)
    assert [event.at_s for event in at_once.events] == [0, 0, 0]
    assert [event.at_s for event in late.events] == pytest.approx([0, 0.5, 10.4])
    assert [event.at_s for event in early.events] == pytest.approx([0, 0.5, 0.5 + EARLY_S])
    last = [rows.events[-1] for rows in (late, early)]
    assert [label.output_tokens for label in last] == [100, 31]
    assert last[0].seen == (0.0, 0.5)


def test_b200_puts_runs_of_the_fewest_gpus_in_sequence_and_different_ones_side_by_side(
    tmp_path: Path,
) -> None:
    runs = [
        ("two", 2, 4, "off", 3), ("one-on", 1, 4, "on", 3), ("one-off", 1, 4, "off", 3),
        ("one-8", 1, 8, "on", 3),
    ]  # fmt: skip
    data = write_b200(tmp_path, runs)

    sequence, beside = (orders[0] for orders in b200.read(data))

    assert (sequence.name, len(sequence.requests)) == ("B200 tp1", 9)
    assert {request.endpoint for request in sequence.requests} == {"recorded:1"}
    assert (beside.name, len(beside.requests)) == ("B200 het", 9)
    assert len({request.endpoint for request in beside.requests}) == 3
    assert [run.name for run in b200.different(b200.read_runs(data / b200.FOLDER))] == [
        "one-off", "two", "one-8",
    ]  # fmt: skip


def test_b200_says_which_file_it_cannot_read(tmp_path: Path) -> None:
    data = write_b200(tmp_path, [("a", 1, 4, "off", 1)])
    (data / b200.FOLDER / "requests.parquet").write_text("no parquet")

    with pytest.raises(RowsUnreadable, match=r"requests\.parquet"):
        b200.read(data)


def test_a_data_folder_without_b200_has_no_such_sets(tmp_path: Path) -> None:
    assert b200.read(tmp_path) == []
