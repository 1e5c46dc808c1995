import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from collectors.trace_schema import to_table
from foretoken.cli import app
from foretoken.errors import ForetokenError
from foretoken.parquet_trace import read_parquet
from predictor.types import Measurement, Objective, RequestFeatures, RequestRecord
from predictor.values import replace
from simulator.content import block_hashes
from simulator.errors import WorkloadInvalid
from simulator.workloads import read_trace

runner = CliRunner()

COMPLETED = Measurement(outcome="completed", prompt_tokens=300, cached_tokens=0, output_tokens=40)


def _record(number: int, measurement: Measurement = COMPLETED) -> RequestRecord:
    return RequestRecord(
        request=RequestFeatures(
            request_id=f"r{number}",
            arrived_s=10.0 + number,
            model="m",
            prompt_bytes=1200,
            prompt_tokens=300,
            max_tokens=100,
            streamed=True,
            # The first two blocks are shared by all, one above the signed numbers.
            block_hashes=((1 << 64) - 5, 7, 100 + number),
            block_bytes=256,
            session_id="chat",
            tenant=None,
            tier="gold",
            priority=3,
            objective=Objective(),
        ),
        fleet="m",
        decision=None,
        measurement=measurement,
        endpoint="e",
        attempts=1,
        finished_s=20.0 + number,
    )


def _save(path: Path, *records: RequestRecord) -> Path:
    pq.write_table(to_table(records, epoch_offset_s=1.7e9), path)
    return path


def test_recorded_requests_keep_times_sizes_and_what_their_prompts_share(tmp_path: Path) -> None:
    path = _save(tmp_path / "t.parquet", _record(1), _record(0))

    trace = read_parquet(path)

    first, second = trace.requests
    assert trace.loop == "open"
    assert (first.at_s, second.at_s) == (0.0, pytest.approx(1.0))
    assert (first.prompt_tokens, first.output_tokens, first.max_tokens) == (300, 40, 100)
    assert (first.tier, first.priority, first.session_id == second.session_id) == ("gold", -3, True)
    keys, others = (block_hashes(request.segments, 64) for request in trace.requests)
    assert [a == b for a, b in zip(keys, others, strict=True)] == [True, True, False, False]


def test_requests_without_an_answer_are_left_out(tmp_path: Path) -> None:
    shed = replace(COMPLETED, outcome="shed", output_tokens=None)

    trace = read_parquet(_save(tmp_path / "t.parquet", _record(0), _record(1, shed), _record(2)))

    assert [request.at_s for request in trace.requests] == [0.0, pytest.approx(2.0)]
    with pytest.raises(WorkloadInvalid, match="holds no request"):
        read_parquet(_save(tmp_path / "none.parquet", _record(1, shed)))


def test_a_file_that_is_no_trace_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1")

    with pytest.raises(ForetokenError, match=r"t\.parquet"):
        read_parquet(path)


def test_import_writes_what_replay_reads(tmp_path: Path) -> None:
    path = _save(tmp_path / "t.parquet", _record(0), _record(1))
    out = tmp_path / "out.jsonl.gz"

    result = runner.invoke(app, ["traces", "import", "parquet", str(path), "--out", str(out)])

    assert result.exit_code == 0, result.output
    assert "2 requests, open loop, on average 300 tokens in and 40 out" in result.output
    assert read_trace("canonical", out).requests == read_parquet(path).requests


def test_import_names_its_file_after_the_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"at_s": 1.0, "prompt_tokens": 5, "output_tokens": 6}
    (tmp_path / "mine.v1.jsonl").write_text(json.dumps(row))
    monkeypatch.chdir(tmp_path)

    result = runner.invoke(app, ["traces", "import", "jsonl", "mine.v1.jsonl"])

    assert result.exit_code == 0, result.output
    assert read_trace("canonical", tmp_path / "mine.trace.jsonl.gz").requests[0].at_s == 1.0


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["csv", "bad.csv"], r"bad\.csv, line 2: .*>= 1"),
        (["csv", "absent.csv"], r"absent\.csv: No such file"),
        (["csv", "good.csv", "--out", "absent/out.jsonl"], r"absent/out\.jsonl: No such file"),
        (["parquet", "absent.parquet"], r"absent\.parquet"),
    ],
)
def test_import_refuses_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], problem: str
) -> None:
    (tmp_path / "bad.csv").write_text("prompt_tokens,output_tokens\n0,1\n")
    (tmp_path / "good.csv").write_text("prompt_tokens,output_tokens\n1,1\n")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ForetokenError, match=problem):
        runner.invoke(app, ["traces", "import", *arguments], catch_exceptions=False)


def test_an_unknown_kind_lists_those_there_are() -> None:
    result = runner.invoke(app, ["traces", "import", "tape", "file"])

    assert result.exit_code == 2
    assert "mooncake" in result.output
