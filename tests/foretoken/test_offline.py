"""From recorded traces to a published version, through the command line."""

import asyncio
import json
from pathlib import Path

from typer.testing import CliRunner

from collectors import TraceRecorder, TraceSettings
from foretoken.cli import app
from foretoken.errors import ForetokenError, NothingToTrainOn, NotThere
from models_store import ModelsStore
from predictor.types import Measurement, RequestFeatures, RequestRecord
from predictor.values import replace
from tests.foretoken.observed import observe

runner = CliRunner()


def record_traces(folder: Path, count: int, *, seed: int = 0, start_s: float = 0.0) -> None:
    recorder = TraceRecorder(
        folder, TraceSettings(), epoch_offset_s=0.0, wall_clock=lambda: 1_700_000_000.0
    )
    for number, seen in enumerate(observe(count, seed=seed, start_s=start_s)):
        request = RequestFeatures(request_id=f"r{number}", arrived_s=start_s + number, model="m")
        record = RequestRecord(
            request=request,
            fleet="m",
            decision=None,
            endpoint=seen.endpoint,
            attempts=1,
            measurement=Measurement(outcome="completed"),
            finished_s=float(number),
        )
        recorder.record(replace(record, observation=seen))
    asyncio.run(recorder.close())


def test_traces_become_a_version_that_can_be_listed_and_verified(tmp_path: Path) -> None:
    traces, store, figures = tmp_path / "traces", tmp_path / "models", tmp_path / "out.json"
    record_traces(traces, 400)

    trained = runner.invoke(
        app, ["train", str(traces), "--store", str(store), "--json", str(figures)]
    )
    listed = runner.invoke(app, ["models", "list", "--store", str(store), "--json"])
    verified = runner.invoke(app, ["models", "verify", "--store", str(store)])

    assert trained.exit_code == 0, trained.output
    assert "m: published 20" in trained.output
    assert json.loads(figures.read_text())["m"]["ttft_mdape_ratio"] < 0.3
    (row,) = json.loads(listed.output)
    assert row["in_use"]
    assert row["rows"] == 400
    assert verified.output == "1 versions are whole\n"


def test_versions_can_be_promoted_and_rolled_back(tmp_path: Path) -> None:
    traces, store = tmp_path / "traces", tmp_path / "models"
    record_traces(traces, 200)
    for _ in range(2):
        runner.invoke(app, ["train", str(traces), "--store", str(store)])
    first, second = ModelsStore(store).versions("m")

    back = runner.invoke(app, ["models", "rollback", "--store", str(store), "--fleet", "m"])
    on_first = ModelsStore(store).latest("m")
    runner.invoke(app, ["models", "promote", second, "--store", str(store), "--fleet", "m"])

    assert back.output == f"m: {first} is in use\n"
    assert on_first == first
    assert ModelsStore(store).latest("m") == second


def test_a_broken_version_is_found(tmp_path: Path) -> None:
    traces, store = tmp_path / "traces", tmp_path / "models"
    record_traces(traces, 200)
    runner.invoke(app, ["train", str(traces), "--store", str(store)])
    (model,) = store.rglob("model.json")
    model.write_bytes(model.read_bytes()[:100])

    result = runner.invoke(app, ["models", "verify", "--store", str(store)])

    assert result.exit_code == 1
    assert "model.json" in result.output


def test_a_broken_trace_file_is_named_and_skipped(tmp_path: Path) -> None:
    traces, store = tmp_path / "traces", tmp_path / "models"
    record_traces(traces, 200)
    (traces / "broken.parquet").write_bytes(b"PAR1 not really")

    result = runner.invoke(app, ["train", str(traces), "--store", str(store)])

    assert result.exit_code == 1
    assert "broken.parquet" in result.output
    assert ModelsStore(store).latest("m") is not None


def test_too_few_rows_and_missing_paths_are_said_plainly(tmp_path: Path) -> None:
    traces = tmp_path / "traces"
    record_traces(traces, 5)

    few = runner.invoke(app, ["train", str(traces), "--store", str(tmp_path / "s")])
    absent = runner.invoke(app, ["train", str(tmp_path / "x"), "--store", str(tmp_path / "s")])

    assert isinstance(few.exception, NothingToTrainOn)
    assert isinstance(absent.exception, ForetokenError)
    assert "does not exist" in str(absent.exception)


def test_a_version_of_another_schema_is_not_promoted(tmp_path: Path) -> None:
    store = ModelsStore(tmp_path)
    foreign = store.publish("m", b"{}", schema_hash="0" * 16, model_format="other", now=1.0)

    result = runner.invoke(
        app, ["models", "promote", foreign, "--store", str(tmp_path), "--fleet", "m"]
    )

    assert isinstance(result.exception, ForetokenError)
    assert "0" * 16 in str(result.exception)


def test_a_version_and_traces_are_shown_to_people_and_programs(tmp_path: Path) -> None:
    traces, store = tmp_path / "traces", tmp_path / "models"
    record_traces(traces, 200)
    trained = runner.invoke(app, ["train", str(traces), "--store", str(store), "--json", "-"])
    (version,) = ModelsStore(store).versions("m")

    shown = runner.invoke(app, ["models", "show", "--store", str(store), "--json"])
    people = runner.invoke(app, ["models", "show", version, "--store", str(store)])
    absent = runner.invoke(app, ["models", "show", "x", "--store", str(store)])
    held = runner.invoke(app, ["traces", "show", str(traces), "--json"])
    read = runner.invoke(app, ["traces", "show", str(traces)])

    assert json.loads(trained.stdout)["m"]["version"] == version
    facts = json.loads(shown.stdout)
    assert (facts["version"], facts["fleet"], facts["in_use"]) == (version, "m", True)
    assert "ttft_mdape_ratio" in people.stdout
    assert isinstance(absent.exception, NotThere)
    assert json.loads(held.stdout)["requests"] == 200
    assert "completed 200" in read.stdout


def test_a_trace_that_is_none_is_named_when_traces_are_shown(tmp_path: Path) -> None:
    record_traces(tmp_path, 5)
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")

    result = runner.invoke(app, ["traces", "show", str(tmp_path)])

    assert result.exit_code == 1
    assert "broken.parquet" in result.stderr
    assert "completed 5" in result.stdout
