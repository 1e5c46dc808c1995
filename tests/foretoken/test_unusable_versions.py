"""Versions that must not be served: refused by name, with the reason, wherever they turn up."""

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from foretoken.cli import app
from foretoken.errors import ForetokenError
from foretoken.model_updates import ModelUpdates
from foretoken.training import MODEL_FORMAT, in_use
from foretoken.training import publish as publish_model
from models_store import ModelsStore
from predictor import MODEL_SCHEMA, LatencyPredictor, TrainedModel, train
from predictor.features import SCHEMA_HASH
from proxy import ModelMetrics
from tests.foretoken.observed import observe

pytestmark = pytest.mark.anyio
runner = CliRunner()
Spoil = Callable[[ModelsStore, Path], str]


@cache
def trained() -> TrainedModel:
    """Train when first asked: importing this module must not."""
    return train(observe(200))


def store_bytes(store: ModelsStore, data: bytes, *, schema: str = MODEL_SCHEMA) -> str:
    return store.publish("m", data, schema_hash=schema, model_format=MODEL_FORMAT, now=2e9)


def other_schema(store: ModelsStore, root: Path) -> str:
    # What the manifest carried before physics counted: the feature table alone.
    snapshot = replace(trained().snapshot, schema_hash=SCHEMA_HASH)
    return store_bytes(store, snapshot.dump(), schema=SCHEMA_HASH)


def other_schema_inside(store: ModelsStore, root: Path) -> str:
    return store_bytes(store, replace(trained().snapshot, schema_hash=SCHEMA_HASH).dump())


def truncated(store: ModelsStore, root: Path) -> str:
    version = publish_model(store, "m", trained())
    model = model_file(root, version)
    model.write_bytes(model.read_bytes()[:-100])
    return version


def truncated_inside(store: ModelsStore, root: Path) -> str:
    return store_bytes(store, trained().snapshot.dump()[:-100])


def altered(store: ModelsStore, root: Path) -> str:
    version = publish_model(store, "m", trained())
    model = model_file(root, version)
    model.write_bytes(model.read_bytes().replace(b"0.1", b"0.2", 1))
    return version


def altered_inside(store: ModelsStore, root: Path) -> str:
    return store_bytes(store, trained().snapshot.dump().replace(b"0.1", b"0.2", 1))


def model_file(root: Path, version: str) -> Path:
    (model,) = root.glob(f"*/versions/{version}/model.json")
    return model


IN_THE_STORE: dict[str, tuple[Spoil, str]] = {
    "other_schema": (other_schema, f"model schema {SCHEMA_HASH}, the running code has"),
    "truncated": (truncated, "bytes, the manifest says"),
    "altered": (altered, "checksum"),
}
INSIDE: dict[str, tuple[Spoil, str]] = {
    "other_schema_inside": (other_schema_inside, f"model schema {SCHEMA_HASH}"),
    "truncated_inside": (truncated_inside, "not a usable model snapshot"),
    "altered_inside": (altered_inside, "checksum"),
}
in_the_store = pytest.mark.parametrize(
    ("spoil", "why"), IN_THE_STORE.values(), ids=IN_THE_STORE.keys()
)
everywhere = pytest.mark.parametrize(
    ("spoil", "why"), [*IN_THE_STORE.values(), *INSIDE.values()], ids=[*IN_THE_STORE, *INSIDE]
)


@everywhere
async def test_the_server_goes_on_with_what_it_has_and_names_the_version(
    spoil: Spoil, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, predictor = ModelsStore(tmp_path), LatencyPredictor()
    good = publish_model(store, "m", trained())
    registry = CollectorRegistry()
    updates = ModelUpdates(store, ModelMetrics(registry))
    updates.adopt("m", predictor)
    before = registry.get_sample_value("foretoken_model_skipped", {"model_name": "m"})
    bad = spoil(store, tmp_path)

    with caplog.at_level(logging.ERROR):
        await updates.refresh()

    (line,) = [record for record in caplog.records if record.message == "model_skipped"]
    assert bad in line.__dict__["problem"]
    assert why in line.__dict__["problem"]
    assert predictor.report().version == good
    after = registry.get_sample_value("foretoken_model_skipped", {"model_name": "m"})
    assert (before, after) == (0.0, 1.0)


@everywhere
def test_a_server_that_starts_serves_without_a_model(
    spoil: Spoil, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store, predictor = ModelsStore(tmp_path), LatencyPredictor()
    bad = spoil(store, tmp_path)

    with caplog.at_level(logging.ERROR):
        ModelUpdates(store, ModelMetrics(CollectorRegistry())).adopt("m", predictor)

    assert [bad in record.__dict__["problem"] for record in caplog.records] == [True]
    assert predictor.layer == "cold"


@everywhere
def test_the_trainer_compares_with_no_such_version(spoil: Spoil, why: str, tmp_path: Path) -> None:
    store = ModelsStore(tmp_path)

    spoil(store, tmp_path)

    assert in_use(store, "m") is None


@in_the_store
def test_it_can_neither_be_promoted_nor_rolled_back_to(
    spoil: Spoil, why: str, tmp_path: Path
) -> None:
    store = ModelsStore(tmp_path)
    bad = spoil(store, tmp_path)
    good = store_bytes(store, trained().snapshot.dump())

    for command in (["promote", bad], ["rollback"]):
        result = runner.invoke(app, ["models", *command, "--store", str(tmp_path), "--fleet", "m"])

        assert isinstance(result.exception, ForetokenError)
        assert bad in str(result.exception)
        assert why in str(result.exception)
        assert store.latest("m") == good
