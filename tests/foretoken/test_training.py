"""One fleet's training against a real store: publish, refuse with a reason, take back."""

from pathlib import Path

import pytest

from foretoken.training import FleetTraining, in_use
from models_store import ModelsStore
from predictor import PredictorSettings, TrainingSettings
from predictor.types import Observation
from predictor.values import replace
from tests.foretoken.observed import observe

SETTINGS = PredictorSettings(training=TrainingSettings(ratio_trees=10, direct_trees=10))


@pytest.fixture
def store(tmp_path: Path) -> ModelsStore:
    return ModelsStore(tmp_path)


def make(store: ModelsStore) -> FleetTraining:
    return FleetTraining(store, "m", SETTINGS)


def fed(training: FleetTraining, rows: list[Observation]) -> FleetTraining:
    for each in rows:
        training.add(each)
    return training


def poisoned(count: int, start_s: float) -> list[Observation]:
    rows = observe(count, seed=9, start_s=start_s)
    return [replace(row, upstream_ttft_s=2e-4, tpot_s=2e-5) for row in rows]


def test_too_few_rows_are_refused_with_a_reason(store: ModelsStore) -> None:
    report = fed(make(store), observe(10)).train()

    assert (report.accepted, report.reason) == (False, "too_few_rows")
    assert store.latest("m") is None


def test_the_first_model_is_published_and_the_next_waits_for_labels_to_judge_it_by(
    store: ModelsStore,
) -> None:
    training = fed(make(store), observe(200))
    first = training.train()

    early = fed(training, observe(29, start_s=200.0)).train()
    second = fed(training, observe(30, seed=1, start_s=229.0)).train()

    assert first.accepted
    assert (early.accepted, early.reason) == (False, "too_few_new")
    assert second.accepted
    assert store.latest("m") == second.version


def test_a_model_that_turns_out_worse_is_taken_back(store: ModelsStore) -> None:
    training = fed(make(store), observe(200))
    good = training.train()
    bad = fed(training, poisoned(200, start_s=200.0)).train()

    back = fed(training, observe(60, seed=2, start_s=400.0)).train()

    assert good.accepted
    assert bad.accepted  # nobody can know it from a fleet that has become so fast
    assert (back.accepted, back.reason) == (False, "worse")
    assert "against" in (back.detail or "")
    assert store.latest("m") == back.version == good.version


def test_a_new_process_does_not_replace_what_it_has_not_been_compared_with(
    store: ModelsStore,
) -> None:
    served = fed(make(store), observe(600)).train()
    training = fed(make(store), observe(200, seed=1, start_s=600.0))

    first = training.train()
    later = fed(training, observe(100, seed=2, start_s=800.0)).train()

    assert (first.accepted, first.reason) == (False, "on_trial")
    assert later.accepted or later.reason == "worse"
    parent = in_use(store, "m")
    assert parent is not None
    assert store.latest("m") == (later.version or served.version)


def test_configured_physics_reach_the_model(store: ModelsStore, tmp_path: Path) -> None:
    strict = SETTINGS.model_copy(
        update={"physics": SETTINGS.physics.model_copy(update={"endpoint_ridge_rows": 1e6})}
    )
    usual, other = ModelsStore(tmp_path / "usual"), ModelsStore(tmp_path / "other")

    fed(make(usual), observe(200)).train()
    fed(FleetTraining(other, "m", strict), observe(200)).train()

    one, two = in_use(usual, "m"), in_use(other, "m")
    assert one is not None
    assert two is not None
    assert one.physics != two.physics


def test_a_store_that_cannot_be_written_is_a_reason(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("in the way")
    training = FleetTraining(ModelsStore(tmp_path), "m", SETTINGS)

    report = fed(training, observe(200)).train()

    assert (report.accepted, report.reason) == (False, "store")


def test_who_may_not_publish_puts_nothing_in_use(tmp_path: Path) -> None:
    store, leads = ModelsStore(tmp_path), [False]
    training = FleetTraining(store, "m", SETTINGS, may_publish=lambda: leads[0])

    before = fed(training, observe(200)).train()
    leads[0] = True
    after = fed(training, observe(200)).train()

    assert (before.accepted, before.reason) == (False, "not_leading")
    assert after.accepted
    assert store.versions("m") == [after.version]
