"""Training on a Dask cluster of two processes gives what training here gives."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from typer.testing import CliRunner

from collectors.trace_batches import TraceBatches
from foretoken import cluster_work
from foretoken.cli import app
from foretoken.cluster import Cluster, cluster
from foretoken.errors import ClusterUnusable
from models_store import ModelsStore
from predictor import ModelSnapshot, TrainingSettings
from predictor.boosted import BoostedModels
from predictor.settings import PhysicsSettings
from predictor.streaming import Limits, train_streamed
from predictor.table import Table, label
from tests.foretoken.observed import observe
from tests.foretoken.test_offline import record_traces

# Dask and its event loop leave closing sockets to the collector.
pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore::ResourceWarning")]
runner = CliRunner()


@contextmanager
def started() -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Run a scheduler and two workers of one thread, each a process; give address and workers."""
    python = [sys.executable, "-m"]
    local = ["--host", "127.0.0.1", "--no-dashboard"]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    commands = [
        [*python, "distributed.cli.dask_scheduler", *local, "--port", str(port)],
        *2
        * [[*python, "distributed.cli.dask_worker", *local, address, "--nthreads=1", "--no-nanny"]],
    ]
    processes = [
        subprocess.Popen(command, stderr=subprocess.DEVNULL, env=one_thread) for command in commands
    ]
    try:
        with Client(address, timeout=90, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=90)
        yield address, processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with started() as (address, _):
        yield address


def errors(model: ModelSnapshot) -> np.ndarray:
    rows = [label(one)[0] for one in observe(2000, seed=9)]
    table = Table.of([row for row in rows if row is not None])
    models = BoostedModels(model.physics, model.trees)
    said = models.experts(table.features, table.endpoints, table.hardware)[:, 1:].mean(axis=1)
    return np.asarray(np.nanmean(np.abs(said - table.log_target), axis=1))


def test_two_workers_train_what_one_process_trains(address: str, tmp_path: Path) -> None:
    traces, store, figures = tmp_path / "traces", tmp_path / "models", tmp_path / "out.json"
    for part in range(4):
        record_traces(traces / f"{part}", 1000, seed=part, start_s=part * 1000.0)
    folders = [str(traces / f"{part}") for part in range(4)]
    command = ["train", *folders, "--store", str(store), "--dask", address]

    result = runner.invoke(app, [*command, "--json", str(figures)])

    assert result.exit_code == 0, (result.output, result.exception)
    told = json.loads(figures.read_text())["m"]
    assert (told["rows"], told["used_rows"]) == (4000, 4000)
    theirs = ModelSnapshot.load(ModelsStore(store).load("m")[0])
    batches = TraceBatches([Path(folder) for folder in folders])
    ours = train_streamed(lambda: batches.tables("m"), limits=Limits(whole_rows=0))
    assert sorted(theirs.trees) == sorted(ours.model.snapshot.trees)
    assert theirs.physics == ours.model.snapshot.physics
    assert theirs.rows == ours.model.snapshot.rows
    score = ours.model.evaluation.candidate["ttft"]
    assert told["ttft_mdape_ratio"] == pytest.approx(score.mdape)
    np.testing.assert_allclose(errors(theirs), errors(ours.model.snapshot), rtol=0.1)


def test_a_short_trace_is_trained_by_those_who_have_rows(address: str, tmp_path: Path) -> None:
    record_traces(tmp_path, 400)
    with cluster(address) as workers:
        batches = TraceBatches([tmp_path])

        done = workers.train(
            batches, "m", settings=TrainingSettings(), physics=PhysicsSettings(), limits=Limits()
        )

    assert done.used_rows == 400
    assert len(done.model.snapshot.trees) == 4


def test_workers_that_do_not_see_the_trace_are_named(address: str, tmp_path: Path) -> None:
    record_traces(tmp_path, 200)
    with cluster(address) as workers:
        batches = TraceBatches([tmp_path])
        (file,) = batches.files
        file.path.rename(tmp_path / "elsewhere")

        with pytest.raises(ClusterUnusable, match=r"does not see .*the trace must be shared"):
            # What is seen here is what the file was.
            workers.check_sizes([str(file.path)], [1000])


def test_a_file_that_breaks_while_workers_read_is_named(address: str, tmp_path: Path) -> None:
    record_traces(tmp_path, 400)
    with cluster(address) as workers:
        batches = TraceBatches([tmp_path])
        (path,) = tmp_path.glob("*.parquet")
        path.write_bytes(path.read_bytes()[:1000])

        with pytest.raises(ClusterUnusable, match="parquet"):
            workers.train(
                batches, "m", settings=TrainingSettings(), physics=PhysicsSettings(),
                limits=Limits(),
            )  # fmt: skip


def test_workers_of_other_versions_are_named(address: str) -> None:
    with Client(address, timeout=30, set_as_default=False) as client:

        class Other:
            """The cluster, but for what it says of itself."""

            def nthreads(self) -> object:
                return client.nthreads()

            def run(self, call: object, workers: list[str]) -> object:
                return {worker: {**cluster_work.facts(), "lightgbm": "3.0"} for worker in workers}

        with pytest.raises(ClusterUnusable, match=r"has lightgbm 3.0; here is lightgbm 4"):
            Cluster(Other(), address)


def test_a_cluster_that_is_away_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_traces(tmp_path, 200)
    monkeypatch.setattr("foretoken.cluster._CONNECT_S", 1.0)
    command = ["train", str(tmp_path), "--store", str(tmp_path / "s")]

    away = runner.invoke(app, [*command, "--dask", "tcp://127.0.0.1:1"])
    nonsense = runner.invoke(app, [*command, "--dask", "what is this"])

    for result in (away, nonsense):
        assert isinstance(result.exception, ClusterUnusable)
        assert "no Dask scheduler answers" in str(result.exception)


def test_a_worker_that_dies_ends_the_training_with_a_word(tmp_path: Path) -> None:
    record_traces(tmp_path, 400)
    with started() as (address, processes), cluster(address) as workers:
        timer = threading.Timer(1.0, processes[0].send_signal, [signal.SIGKILL])
        timer.start()

        with pytest.raises(ClusterUnusable, match="went away"):
            workers._each(time.sleep, [(60,), (60,)])
