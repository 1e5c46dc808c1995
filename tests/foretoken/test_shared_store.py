"""Models in a bucket: served from it, trained into it, and its absence harming nobody."""

import asyncio
import logging
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from foretoken.cli import app, run
from foretoken.config_check import check
from foretoken.errors import ForetokenError, StoreRefused
from foretoken.model_updates import ModelUpdates
from foretoken.serve import prepare
from foretoken.settings import Settings
from foretoken.stores import stored_fleets
from foretoken.training import FleetTraining
from foretoken.training import publish as publish_model
from models_store import ModelsStore, StoreSettings, shown
from predictor import LatencyPredictor, PredictorSettings, train
from proxy import ModelMetrics
from tests.foretoken.observed import observe
from tests.foretoken.test_offline import record_traces
from tests.models_store.places import files_of, s3_keys, s3_server

pytestmark = pytest.mark.anyio
runner = CliRunner()


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    with s3_server() as url, s3_keys(url):
        yield files_of("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = uuid.uuid4().hex
    s3.mkdir(name)
    return f"s3://{name}/models"


@pytest.fixture
def silent() -> Iterator[None]:
    """Point S3 clients to a server that takes connections and never answers."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        s3_keys(f"http://127.0.0.1:{listener.getsockname()[1]}"),
    ):
        yield


@contextmanager
def nobody() -> Iterator[None]:
    """Point S3 clients to a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with s3_keys(f"http://127.0.0.1:{taken.getsockname()[1]}"):
            yield


def make_updates(store: ModelsStore) -> ModelUpdates:
    return ModelUpdates(store, ModelMetrics(CollectorRegistry()))


async def test_a_version_in_a_bucket_reaches_the_running_predictor(bucket: str) -> None:
    store, predictor = ModelsStore(bucket), LatencyPredictor()
    updates = make_updates(store)
    version = publish_model(store, "m", train(observe(200)))

    updates.adopt("m", predictor)
    at_first = predictor.report().version
    running = asyncio.create_task(updates.run(lambda: (0, 0)))
    while predictor.report().version is None:
        await asyncio.sleep(0.01)
    running.cancel()

    assert at_first is None  # the event loop has not waited for it
    assert predictor.report().version == version


async def test_an_event_loop_does_not_wait_for_a_store_that_hangs(silent: None) -> None:
    updates = make_updates(ModelsStore("s3://bucket/models"))
    updates.adopt("m", LatencyPredictor())

    refreshing = asyncio.create_task(updates.refresh())
    turns = 0
    while turns < 100:
        await asyncio.sleep(0.001)
        turns += 1

    assert not refreshing.done()
    refreshing.cancel()


async def test_a_store_that_is_away_is_named_once_and_what_is_served_stays(
    bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    store, predictor = ModelsStore(bucket), LatencyPredictor()
    version = publish_model(store, "m", train(observe(200)))
    updates = make_updates(store)
    updates.adopt("m", predictor)
    await updates.refresh()

    with nobody(), caplog.at_level(logging.WARNING):
        updates._store = ModelsStore(bucket)
        await updates.refresh()
        await updates.refresh()
        fleets = stored_fleets(updates._store)

    names = [record.message for record in caplog.records]
    assert names.count("model_skipped") == 1
    assert names.count("store_unreachable") == 1
    assert fleets == []
    assert "no answer" in updates.problems["m"]
    assert predictor.report().version == version


def test_a_trainer_without_its_store_reports_so_and_goes_on_when_it_is_back(bucket: str) -> None:
    training = FleetTraining(ModelsStore(bucket), "m", PredictorSettings())
    away = FleetTraining(ModelsStore("s3://never-made/models"), "m", PredictorSettings())
    for observation in observe(200):
        training.add(observation)
        away.add(observation)

    refused, accepted = away.train(), training.train()

    assert (refused.reason, accepted.accepted) == ("store", True)
    assert "no such bucket" in str(refused.detail)
    assert ModelsStore(bucket).latest("m") == accepted.version


def test_commands_take_a_url(bucket: str, tmp_path: Path) -> None:
    record_traces(tmp_path, 200)

    trained = runner.invoke(app, ["train", str(tmp_path), "--store", bucket])
    listed = runner.invoke(app, ["models", "list", "--store", bucket])
    shown_ = runner.invoke(app, ["models", "show", "--store", bucket])
    verified = runner.invoke(app, ["models", "verify", "--store", bucket])
    back = runner.invoke(app, ["models", "rollback", "--store", bucket, "--fleet", "m"])

    assert trained.exit_code == 0, trained.output
    (version,) = ModelsStore(bucket).versions("m")
    assert version in listed.output
    assert version in shown_.output
    assert verified.output == "1 versions are whole\n"
    assert "no earlier version" in str(back.exception)


def test_commands_say_in_one_line_that_nobody_answers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with nobody():
        status = run(["models", "list", "--store", "s3://bucket/models"])

    assert status == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot read s3://bucket/models" in line


def test_a_url_is_kept_as_it_is_and_a_path_is_a_path() -> None:
    assert StoreSettings.model_validate({"directory": "s3://b/m"}).directory == "s3://b/m"
    assert StoreSettings.model_validate({"directory": "b/m"}).directory == Path("b/m")
    assert StoreSettings.model_validate({"directory": "file:///b"}).directory == Path("/b")


def test_a_start_is_refused_where_models_can_never_be_kept() -> None:
    settings = Settings(store=StoreSettings(directory="s9://bucket"))

    with pytest.raises(StoreRefused, match="s9"):
        prepare(settings, settings.store_dir)


def test_keys_in_a_url_are_refused_and_repeated_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "s3://AKIAKEY:topsecret@bucket/models"
    file = tmp_path / "f.toml"
    file.write_text(f'[store]\ndirectory = "{url}"\n')

    checked = check(file)
    status = run(["models", "list", "--store", url])

    (problem,) = checked.problems
    assert "keys belong into the environment" in str(problem)
    assert status == 2
    said = f"{problem}{capsys.readouterr()}{shown(url)}{checked.as_json()}"
    assert "topsecret" not in said
    assert "AKIAKEY" not in said


def test_a_kind_of_url_that_is_not_known_is_found_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "f.toml"
    file.write_text('[store]\ndirectory = "s9://bucket/models"\n')

    (problem,) = check(file).problems

    assert (problem.path, problem.line) == ("store.directory", 2)
    with pytest.raises(ForetokenError):
        prepare(Settings(store=StoreSettings(directory="s9://b")), "s9://b")
