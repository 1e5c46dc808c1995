"""Versions reach the running predictors, and broken ones do no harm."""

import logging
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from foretoken.model_updates import ModelUpdates
from foretoken.trainer_protocol import Report
from foretoken.training import train_and_publish
from models_store import ModelsStore
from predictor import LatencyPredictor, TrainingSettings
from proxy import ModelMetrics
from tests.foretoken.observed import observe


@pytest.fixture
def store(tmp_path: Path) -> ModelsStore:
    return ModelsStore(tmp_path)


def publish(store: ModelsStore, seed: int = 0) -> str:
    report = train_and_publish(store, "m", observe(200, seed=seed), TrainingSettings())
    assert report.version is not None
    return report.version


def make_updates(store: ModelsStore) -> tuple[ModelUpdates, CollectorRegistry]:
    registry = CollectorRegistry()
    return ModelUpdates(store, ModelMetrics(registry)), registry


def test_a_predictor_starts_from_the_version_in_use(store: ModelsStore) -> None:
    version = publish(store)
    updates, registry = make_updates(store)
    predictor = LatencyPredictor()

    updates.adopt("m", predictor)
    updates.refresh()

    assert predictor.report().version == version
    labels = {"model_name": "m", "version": version, "layer": predictor.report().layer}
    assert registry.get_sample_value("foretoken_model_info", labels) == 1


def test_a_promotion_takes_effect_at_the_next_refresh(store: ModelsStore) -> None:
    first, second = publish(store), publish(store, seed=1)
    updates, _ = make_updates(store)
    predictor = LatencyPredictor()
    updates.adopt("m", predictor)
    before = predictor.report().version

    store.promote("m", first)
    updates.refresh()

    assert (before, predictor.report().version) == (second, first)


def test_a_broken_version_is_named_once_and_the_served_one_stays(
    store: ModelsStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = publish(store)
    updates, _ = make_updates(store)
    predictor = LatencyPredictor()
    updates.adopt("m", predictor)
    bad = publish(store, seed=1)
    (model,) = tmp_path.glob(f"*/versions/{bad}/model.json")
    model.write_bytes(model.read_bytes()[:-100])

    with caplog.at_level(logging.ERROR):
        updates.refresh()
        updates.refresh()

    assert predictor.report().version == good
    (line,) = [record for record in caplog.records if record.message == "model_skipped"]
    assert "model.json" in line.__dict__["problem"]


def test_a_broken_version_is_used_once_it_is_repaired(store: ModelsStore, tmp_path: Path) -> None:
    version = publish(store)
    (model,) = tmp_path.glob(f"*/versions/{version}/model.json")
    whole = model.read_bytes()
    model.write_bytes(whole[:-100])
    updates, _ = make_updates(store)
    predictor = LatencyPredictor()
    updates.adopt("m", predictor)

    model.write_bytes(whole)
    updates.refresh()

    assert predictor.report().version == version


def test_trainings_are_counted_by_result(store: ModelsStore) -> None:
    updates, registry = make_updates(store)

    updates.trained(
        Report(fleet="m", seconds=0.5, rows=10, accepted=False, reason="worse"), now=1.0
    )

    name = "foretoken_training_runs_total"
    assert registry.get_sample_value(name, {"result": "worse"}) == 1
    assert updates.reported_s == {"m": 1.0}


def test_totals_are_published_as_they_grow(store: ModelsStore) -> None:
    updates, registry = make_updates(store)

    updates.dropped(trace_rows=3, trainer_rows=0)
    updates.dropped(trace_rows=5, trainer_rows=2)

    assert registry.get_sample_value("foretoken_trace_dropped_total") == 5
    assert registry.get_sample_value("foretoken_trainer_dropped_total") == 2
