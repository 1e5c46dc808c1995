"""Training: what it refuses, what it gives, and what its evaluation is worth."""

import numpy as np
import pytest

from predictor import Evaluation, Score, TrainingRefused, train
from predictor.values import replace
from tests.predictor.fleet import SMALL, fleet_observations


def score(error: float) -> Score:
    return Score(rows=100, mape=error, mdape=error, mean_log_error=error, p90_coverage=0.9)


def test_too_few_usable_labels_are_refused_with_the_numbers() -> None:
    observations = [replace(row, upstream_ttft_s=0.0) for row in fleet_observations(99)]

    with pytest.raises(TrainingRefused, match="0 TTFT and 99 TPOT") as refused:
        train(observations, SMALL)

    assert refused.value.reason == "too_few_rows"


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(TrainingRefused):
        train([], SMALL)


def test_a_target_without_labels_gets_no_trees() -> None:
    observations = [replace(row, tpot_s=None) for row in fleet_observations(150)]

    trained = train(observations, SMALL)

    assert set(trained.snapshot.trees) == {"ttft_ratio", "ttft_direct"}
    assert trained.snapshot.rows == {"ttft": 150, "tpot": 0}


def test_the_same_observations_train_the_same_version() -> None:
    observations = fleet_observations(150)

    first, second = train(observations, SMALL), train(observations, SMALL)

    assert first.snapshot.version == second.snapshot.version


def test_only_the_window_is_trained_on() -> None:
    observations = fleet_observations(300)
    settings = SMALL.model_copy(update={"window_rows": 120})

    trained = train(observations, settings)

    assert trained.snapshot.trained_from_s == observations[180].observed_s
    assert trained.snapshot == train(observations[180:], settings).snapshot


def test_evaluation_scores_labels_before_they_are_learned() -> None:
    past = fleet_observations(240)
    future = [
        replace(row, upstream_ttft_s=5 * (row.upstream_ttft_s or 0.0))
        for row in fleet_observations(60, seed=1)
    ]
    settings = SMALL.model_copy(update={"evaluation_blocks": 1})

    surprised = train([*past, *future], settings).evaluation.candidate["ttft"]

    assert surprised.rows == 60
    assert surprised.mdape == pytest.approx(0.8, abs=0.05)


def test_evaluation_measures_what_the_experts_are_worth() -> None:
    evaluation = train(fleet_observations(300)).evaluation

    assert evaluation.candidate["ttft"].mdape < 0.15
    assert set(evaluation.experts) == {
        f"{target}_{model}" for target in ("ttft", "tpot") for model in ("prior", "ratio", "direct")
    }


@pytest.mark.parametrize(
    ("ttft", "tpot", "no_worse"),
    [(0.10, 0.10, True), (0.10, 0.12, False), (0.06, 0.12, True), (0.101, 0.101, True)],
)
def test_a_target_may_lose_only_what_the_other_gains(
    ttft: float, tpot: float, *, no_worse: bool
) -> None:
    evaluation = Evaluation(
        candidate={"ttft": score(ttft), "tpot": score(tpot)},
        served={"ttft": score(0.1), "tpot": score(0.1)},
        experts={},
    )

    assert evaluation.no_worse() is no_worse


def test_a_difference_within_chance_is_no_worse() -> None:
    evaluation = Evaluation(
        candidate={"ttft": score(0.12)},
        served={"ttft": score(0.10)},
        experts={},
        chance={"ttft": 0.015},
    )

    assert evaluation.no_worse()


def test_stalls_do_not_ruin_training() -> None:
    observations = fleet_observations(300)
    stalled = [
        replace(row, upstream_ttft_s=5.0) if index in {50, 150} else row
        for index, row in enumerate(observations)
    ]

    clean = train(observations, SMALL).evaluation.candidate["ttft"].mdape
    with_stalls = train(stalled, SMALL).evaluation.candidate["ttft"].mdape

    assert with_stalls < clean + 0.02
    assert np.isfinite(with_stalls)
