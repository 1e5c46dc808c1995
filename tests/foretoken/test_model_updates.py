"""Versions reach the running predictors, and broken ones do no harm."""

import asyncio
import logging
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from foretoken.kind import kind
from foretoken.model_updates import ModelUpdates
from foretoken.trainer_protocol import Report
from foretoken.training import publish as publish_model
from models_store import ModelsStore
from predictor import LatencyPredictor, ModelSnapshot, PreparedModel, train
from proxy import ModelMetrics
from tests.foretoken.observed import observe

pytestmark = pytest.mark.anyio


@pytest.fixture
def store(tmp_path: Path) -> ModelsStore:
    return ModelsStore(tmp_path)


def publish(store: ModelsStore, seed: int = 0) -> str:
    return publish_model(store, "m", train(observe(200, seed=seed)))


def model_file(root: Path, version: str) -> Path:
    (model,) = root.glob(f"*/versions/{version}/model.json")
    return model


def make_updates(store: ModelsStore) -> tuple[ModelUpdates, CollectorRegistry]:
    registry = CollectorRegistry()
    return ModelUpdates(store, ModelMetrics(registry)), registry


async def test_a_predictor_starts_from_the_version_in_use(store: ModelsStore) -> None:
    version = publish(store)
    updates, registry = make_updates(store)
    predictor = LatencyPredictor()

    updates.adopt("m", predictor)
    await updates.refresh()
    updates.publish()

    assert predictor.report().version == version
    labels = {"model_name": "m", "version": version, "layer": predictor.report().layer}
    assert registry.get_sample_value("foretoken_model_info", labels) == 1


async def test_a_promotion_takes_effect_at_the_next_refresh(store: ModelsStore) -> None:
    first, second = publish(store), publish(store, seed=1)
    updates, _ = make_updates(store)
    predictor = LatencyPredictor()
    updates.adopt("m", predictor)
    before = predictor.report().version

    store.promote("m", first)
    await updates.refresh()

    assert (before, predictor.report().version) == (second, first)


async def test_a_predictor_adopted_while_a_version_is_read_gets_it(store: ModelsStore) -> None:
    publish(store)
    updates, _ = make_updates(store)
    updates.adopt("m", LatencyPredictor())
    newer, other = publish(store, seed=1), LatencyPredictor()

    refreshing = asyncio.create_task(updates.refresh())
    await asyncio.sleep(0)  # it reads the version now
    store.promote("m", store.versions("m")[0])
    updates.adopt("m", other)
    store.promote("m", newer)
    await refreshing
    await updates.refresh()

    assert other.report().version == newer


async def test_a_broken_version_is_named_once_and_the_served_one_stays(
    store: ModelsStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = publish(store)
    updates, _ = make_updates(store)
    predictor = LatencyPredictor()
    updates.adopt("m", predictor)
    bad = publish(store, seed=1)
    model = model_file(tmp_path, bad)
    model.write_bytes(model.read_bytes()[:-100])

    with caplog.at_level(logging.ERROR):
        await updates.refresh()
        await updates.refresh()

    assert predictor.report().version == good
    (line,) = [record for record in caplog.records if record.message == "model_skipped"]
    assert "model.json" in line.__dict__["problem"]


async def test_a_broken_version_is_used_once_it_is_repaired(
    store: ModelsStore, tmp_path: Path
) -> None:
    version = publish(store)
    model = model_file(tmp_path, version)
    whole = model.read_bytes()
    model.write_bytes(whole[:-100])
    updates, _ = make_updates(store)
    predictor = LatencyPredictor()
    updates.adopt("m", predictor)

    model.write_bytes(whole)
    await updates.refresh()

    assert predictor.report().version == version


def test_why_a_training_was_refused_is_counted_and_logged(
    store: ModelsStore, caplog: pytest.LogCaptureFixture
) -> None:
    updates, registry = make_updates(store)

    with caplog.at_level(logging.INFO):
        for count in (2, 5):
            updates.trained(
                Report(
                    fleet="m", seconds=0.5, rows=10, accepted=False, reason="worse",
                    detail="ttft error 0.2", refused={"ttft_absurd": count},
                ),
                now=1.0,
            )  # fmt: skip

    ended = {"model_name": "m", "result": "worse"}
    runs = registry.get_sample_value("foretoken_training_runs_total", ended)
    labels = registry.get_sample_value(
        "foretoken_training_refused_labels_total", {"reason": "ttft_absurd"}
    )
    assert (runs, labels) == (2, 5)
    assert updates.reported_s == {"m": 1.0}
    line = caplog.records[-1].__dict__
    assert (line["message"], line["result"], line["detail"], line["labels_refused"]) == (
        "training_ended",
        "worse",
        "ttft error 0.2",
        {"ttft_absurd": 5},
    )


@pytest.mark.parametrize(
    ("reason", "level"), [("worse", "INFO"), ("store", "WARNING"), ("failed", "WARNING")]
)
def test_only_a_training_that_broke_is_a_warning(
    store: ModelsStore, caplog: pytest.LogCaptureFixture, reason: str, level: str
) -> None:
    updates, _ = make_updates(store)

    with caplog.at_level(logging.INFO):
        updates.trained(
            Report(fleet="m", seconds=0.5, rows=10, accepted=False, reason=reason), now=1.0
        )

    assert caplog.records[-1].levelname == level


def test_totals_are_published_as_they_grow(store: ModelsStore) -> None:
    updates, registry = make_updates(store)

    updates.dropped(trace_rows=3, trainer_rows=0)
    updates.dropped(trace_rows=5, trainer_rows=2)

    assert registry.get_sample_value("foretoken_trace_dropped_total") == 5
    assert registry.get_sample_value("foretoken_trainer_dropped_total") == 2


@pytest.mark.skipif(kind() == "compiled", reason="a compiled class takes no subclass")
async def test_a_version_is_parsed_off_the_event_loop(store: ModelsStore) -> None:
    updates, _ = make_updates(store)
    predictor = Watched()
    updates.adopt("m", predictor)
    version = publish(store)

    await updates.refresh()

    assert predictor.report().version == version
    assert predictor.swapped == [PreparedModel]


class Watched(LatencyPredictor):
    """Remember what it was given to swap in."""

    def __init__(self) -> None:
        super().__init__()
        self.swapped: list[type] = []

    def swap(self, model: ModelSnapshot | PreparedModel, version: str | None = None) -> None:
        self.swapped.append(type(model))
        super().swap(model, version)


async def test_metrics_are_published_now_and_then_and_whenever_anything_is_new(
    store: ModelsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foretoken.model_updates.REFRESH_S", 0.001)
    updates, registry = make_updates(store)
    updates.adopt("m", LatencyPredictor())
    looks = 0
    refresh = updates.refresh

    async def counted() -> bool:
        nonlocal looks
        looks += 1
        return await refresh()

    monkeypatch.setattr(updates, "refresh", counted)
    asked = []
    running = asyncio.create_task(updates.run(lambda: (asked.append(looks) or 0, 0)))
    while looks < 5:
        await asyncio.sleep(0.001)
    quiet = list(asked)
    version = publish(store)
    while len(asked) < 2:
        await asyncio.sleep(0.001)
    running.cancel()

    assert quiet == [1]  # at the first look, and not at each
    labels = {"model_name": "m", "version": version, "layer": "mixture"}
    assert registry.get_sample_value("foretoken_model_info", labels) == 1
