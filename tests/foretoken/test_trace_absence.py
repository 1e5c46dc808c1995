"""What commands that read traces say where nothing can be read yet."""

from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from collectors import TraceSettings
from collectors.trace_files import TraceFiles
from collectors.trace_schema import ARROW_SCHEMA
from foretoken.cli import app
from foretoken.trace_absence import absence

NOW_S = 1.79e9


@pytest.fixture
def being_written(tmp_path: Path) -> TraceFiles:
    files = TraceFiles(tmp_path / "traces", TraceSettings())
    row = [pa.nulls(1, field.type) for field in ARROW_SCHEMA]
    files.append(pa.table(row, schema=ARROW_SCHEMA), NOW_S)
    return files


@pytest.mark.parametrize("command", [["train", "--store", "models"], ["replay"]])
def test_a_trace_that_is_still_being_written_is_said_to_be_that(
    command: list[str], being_written: TraceFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    told = CliRunner().invoke(app, [*command, "traces"]).exception
    being_written.abandon()

    assert str(told).startswith("nothing is finished yet: traces/.trace-2026")
    assert "stop the server or wait" in str(told)


def test_a_finished_trace_is_enough(being_written: TraceFiles, tmp_path: Path) -> None:
    being_written.finish(NOW_S)

    assert absence([tmp_path, tmp_path / "traces"]) is None


def test_an_empty_folder_says_where_traces_may_be(tmp_path: Path) -> None:
    nowhere = absence([tmp_path])
    (tmp_path / "traces").mkdir()

    assert nowhere is not None
    assert "foretoken serve records to" in nowhere
    assert absence([tmp_path]) == f"no trace file in {tmp_path}; did you mean {tmp_path}/traces?"
