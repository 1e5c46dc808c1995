"""Rounds of training: what is judged by what, which way is taken, and what poison does."""

from itertools import groupby

import numpy as np
import pytest

from predictor import LatencyPredictor, ModelSnapshot, Retraining, TrainingRefused
from predictor.boosted import BoostedModels
from predictor.retraining import Round
from predictor.settings import PredictorSettings, TrainingSettings
from predictor.types import Observation
from predictor.values import replace
from tests.predictor.fleet import SMALL, fleet_observations

SETTINGS = PredictorSettings(training=SMALL)


class Trained:
    """Drive rounds as a trainer does, and keep the model in use."""

    def __init__(self, settings: PredictorSettings = SETTINGS) -> None:
        self.retraining = Retraining(settings)
        self.served: ModelSnapshot | None = None
        self.now_s = 0.0

    def feed(self, rows: list[Observation]) -> None:
        for row in rows:
            self.now_s += 0.1
            self.retraining.add(replace(row, observed_s=self.now_s))

    def round(self, rows: list[Observation]) -> Round:
        self.feed(rows)
        done = self.retraining.train(self.served)
        wanted = done.model.snapshot if done.refusal is None else done.restore
        self.served = wanted or self.served
        return done


def poisoned(rows: list[Observation]) -> list[Observation]:
    return [replace(row, upstream_ttft_s=2e-4, tpot_s=2e-5) for row in rows]


def test_a_round_judges_the_last_model_on_rows_it_has_not_seen() -> None:
    trained = Trained()
    trained.round(fleet_observations(300))
    first = trained.served
    trained.round(fleet_observations(100, seed=1))
    second = trained.served

    done = trained.round(fleet_observations(50, seed=2))

    evaluation = done.model.evaluation
    assert first is not None
    assert second is not None
    assert first.trained_until_s < second.trained_until_s
    assert evaluation.candidate["ttft"].rows == evaluation.served["ttft"].rows == 50
    rows = fleet_observations(50, seed=2)
    models = BoostedModels(second.physics, second.trees)
    said = models.experts(
        np.array([row.features for row in rows]),
        [row.endpoint for row in rows],
        [row.hardware for row in rows],
    )[0, 1:].mean(axis=0)
    error = np.abs(said - np.log([row.upstream_ttft_s or 0.0 for row in rows])).mean()
    assert evaluation.candidate["ttft"].mean_log_error == pytest.approx(error)


def test_a_model_has_learned_from_every_row_there_is() -> None:
    trained = Trained()
    trained.round(fleet_observations(200))

    done = trained.round(fleet_observations(50, seed=1))

    assert done.rows == 250
    assert done.model.snapshot.trained_until_s == pytest.approx(trained.now_s)


def test_the_same_rows_give_the_same_models() -> None:
    rounds = []
    for _ in range(2):
        trained = Trained()
        for seed in range(4):
            trained.round(fleet_observations(150, seed=seed))
        rounds.append(trained.served)

    assert rounds[0] == rounds[1]


def test_too_few_new_rows_are_refused_and_counted_on_with() -> None:
    trained = Trained()
    trained.round(fleet_observations(200))

    with pytest.raises(TrainingRefused, match="20 rows since") as refused:
        trained.round(fleet_observations(20, seed=1))

    assert refused.value.reason == "too_few_new"
    assert trained.round(fleet_observations(20, seed=2)).refusal is None


def test_the_first_model_beside_one_from_elsewhere_is_on_trial() -> None:
    before = Trained()
    before.round(fleet_observations(600))
    trained = Trained()
    trained.served = before.served

    first = trained.round(fleet_observations(150, seed=1))
    second = trained.round(fleet_observations(150, seed=2))

    assert first.refusal == "on_trial"
    assert trained.served is not None
    assert second.model.evaluation.served


def test_a_bad_batch_is_served_for_one_round_and_then_taken_back() -> None:
    trained = Trained()
    trained.round(fleet_observations(300))
    good = trained.served
    trained.round(poisoned(fleet_observations(200, seed=1)))

    back = trained.round(fleet_observations(60, seed=2))

    assert back.refusal == "worse"
    assert back.restore == good == trained.served


# Two ways

EAGER = {"continuation_rows": 5000, "continuation_share": 1.0, "trial_rounds": 2}


def ways(settings: TrainingSettings, rounds: int) -> list[str]:
    trained = Trained(PredictorSettings(training=settings))
    return [trained.round(fleet_observations(150, seed=seed)).way for seed in range(rounds)]


def test_continuing_that_is_worse_is_not_chosen() -> None:
    hasty = SMALL.model_copy(update={"continuation_rows": 20, "direct_learning_rate": 1.0})

    assert set(ways(hasty, 8)) == {"full"}


def test_continuing_that_is_no_worse_is_chosen_up_to_so_many_times() -> None:
    # Ten trees are far too few: those that continuing adds can only help.
    few = SMALL.model_copy(update=EAGER)

    taken = ways(few, 11)

    assert taken[:2] == ["full"] * 2
    runs = [len(list(run)) for way, run in groupby(taken) if way == "continued"]
    assert max(runs) == 3


def test_continuing_can_be_switched_off() -> None:
    never = SMALL.model_copy(update={"continuations": 0, "continuation_rows": 5000})

    assert set(ways(never, 5)) == {"full"}


def test_a_continued_model_keeps_its_physics_and_gets_more_trees() -> None:
    few = SMALL.model_copy(update=EAGER)
    trained = Trained(PredictorSettings(training=few))
    done = trained.round(fleet_observations(150))
    for seed in range(1, 8):
        before = trained.served
        done = trained.round(fleet_observations(150, seed=seed))
        if done.way == "continued":
            break

    after = done.model.snapshot
    assert done.way == "continued"
    assert before is not None
    assert after.physics == before.physics
    assert after.trees["ttft_ratio"].count("Tree=") == 20
    assert LatencyPredictor(snapshot=after).report().version == after.version


# Poison


def error(snapshot: ModelSnapshot | None) -> float:
    """Give the mean log error of a model's trees on clean rows, both targets together."""
    assert snapshot is not None
    rows = fleet_observations(100, seed=99)
    said = BoostedModels(snapshot.physics, snapshot.trees).experts(
        np.array([row.features for row in rows]),
        [row.endpoint for row in rows],
        [row.hardware for row in rows],
    )
    assert np.isfinite(said).all()
    actual = np.log([(row.upstream_ttft_s, row.tpot_s) for row in rows]).T
    return float(np.abs(said[:, 1:].mean(axis=1) - actual).mean())


def test_ten_thousand_poisoned_rows_are_bounded_and_recovered_from() -> None:
    trained = Trained()
    for seed in range(2):
        trained.round(fleet_observations(500, seed=seed))
    clean = error(trained.served)

    for seed in range(10):
        trained.round(poisoned(fleet_observations(1000, seed=seed)))
    assert error(trained.served) < np.log(1e5)
    for seed in range(2):
        trained.round(fleet_observations(500, seed=seed))

    assert error(trained.served) < clean + 0.1


def test_refused_labels_never_move_a_model() -> None:
    nonsense = [
        {"upstream_ttft_s": 0.0, "tpot_s": 0.0},
        {"upstream_ttft_s": float("nan"), "tpot_s": -1.0},
        {"upstream_ttft_s": 1e9, "tpot_s": float("inf")},
        {"upstream_ttft_s": None, "output_tokens": 10**9},
        {"observed_s": -1e12},
        {"observed_s": float("nan")},
        {"features": np.full(3, 1.0)},
        {"upstream_ttft_s": None, "tpot_s": None, "total_s": -3.0, "output_tokens": 5},
    ]
    clean, mixed = Retraining(SETTINGS), Retraining(SETTINGS)

    for index, row in enumerate(fleet_observations(200)):
        clean.add(row)
        mixed.add(row)
        mixed.add(replace(row, **nonsense[index % len(nonsense)]))  # type: ignore[arg-type]  # test shorthand

    assert mixed.train(None).model == clean.train(None).model
    assert sum(mixed.window.refused.values()) >= 200
