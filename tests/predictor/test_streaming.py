"""Training on a stream of rows gives what training on all of them at once gives."""

import random
from collections.abc import Iterator

import numpy as np
import pytest

from predictor import TrainedModel, TrainingRefused
from predictor.binned import Rows, Thinning
from predictor.boosted import BoostedModels
from predictor.features import COLUMN, N_FEATURES
from predictor.settings import PhysicsSettings, TrainingSettings
from predictor.streaming import Limits, train_streamed
from predictor.survey import EvenSample, Survey
from predictor.table import Table
from predictor.training import newest_of_each, train_first

SETTINGS, PHYSICS = TrainingSettings(), PhysicsSettings()
NO_TABLE = Limits(whole_rows=0)


def make(count: int, *, seed: int = 0) -> Table:
    rng = np.random.default_rng(seed)
    features = np.zeros((count, N_FEATURES))
    features[:, COLUMN["prompt_tokens"]] = tokens = rng.integers(50, 4000, count)
    features[:, COLUMN["uncached_tokens"]] = tokens
    features[:, COLUMN["decoding_requests"]] = batch = rng.integers(0, 40, count)
    features[:, COLUMN["queued_prefill_tokens"]] = queued = rng.choice([0, 0, 5000], count)
    slow = rng.random(count) < 0.5
    ttft_s = (0.02 + 4e-5 * (tokens + queued)) * np.where(slow, 2.5, 1.0)
    tpot_s = 0.008 + 2e-4 * batch * np.where(slow, 2.5, 1.0) + 0.004 * (batch > 25)
    log_target = np.log(np.array([ttft_s, tpot_s])) + rng.normal(0, 0.05, (2, count))
    log_target[1, rng.random(count) < 0.1] = np.nan
    return Table(
        features=features,
        log_target=log_target,
        weight=np.ones((2, count)),
        observed_s=np.arange(count) * 0.2,
        endpoints=np.where(slow, "slow:1", "fast:1").tolist(),
        hardware=[None] * count,
    )


def stream(table: Table, size: int) -> Rows:
    def rows() -> Iterator[Table]:
        for start in range(0, len(table), size):
            yield table.part(start, min(start + size, len(table)))

    return rows


def error(models: BoostedModels, table: Table) -> np.ndarray:
    said = models.experts(table.features, table.endpoints, table.hardware)[:, 1:].mean(axis=1)
    return np.nanmean(np.abs(said - table.log_target), axis=1)


def models_of(model: TrainedModel) -> BoostedModels:
    return BoostedModels(model.snapshot.physics, model.snapshot.trees)


def test_few_rows_give_the_very_same_model() -> None:
    table = make(3000)

    streamed = train_streamed(stream(table, 700)).model

    assert streamed == train_first(table, SETTINGS, PHYSICS)


def test_in_bins_rows_give_a_model_as_good() -> None:
    table, unseen = make(20_000), make(4000, seed=9)

    streamed = train_streamed(stream(table, 3000), limits=NO_TABLE)
    whole = train_first(table, SETTINGS, PHYSICS)

    ours, theirs = error(models_of(streamed.model), unseen), error(models_of(whole), unseen)
    assert streamed.used_rows == streamed.rows == 20_000
    assert streamed.model.snapshot.rows == whole.snapshot.rows
    assert streamed.model.snapshot.physics == whole.snapshot.physics
    assert streamed.model.evaluation == whole.evaluation
    np.testing.assert_allclose(ours, theirs, rtol=0.02)
    assert max(ours) < 0.06  # the noise is 0.04


def test_the_size_of_stretches_makes_no_difference() -> None:
    table = make(5000)

    one = train_streamed(stream(table, 999), limits=NO_TABLE)
    other = train_streamed(stream(table, 5000), limits=NO_TABLE)

    assert one == other


def test_rows_beyond_the_bound_are_thinned_and_the_newest_stay() -> None:
    table, unseen = make(30_000), make(4000, seed=9)

    streamed = train_streamed(stream(table, 4096), limits=Limits(whole_rows=0, most_rows=10_000))

    assert streamed.used_rows == 10_000
    assert streamed.rows == 30_000
    assert max(error(models_of(streamed.model), unseen)) < 0.06


def test_thinning_takes_all_of_the_newest_half() -> None:
    thinning = Thinning(1000, 100)
    table = make(1000)

    kept = Table.joined(list(thinning.of(stream(table, 77)())))

    assert len(kept) == thinning.rows == 100
    np.testing.assert_array_equal(kept.observed_s[50:], table.observed_s[950:])
    assert np.ptp(np.diff(kept.observed_s[:50])) < 1e-9


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(TrainingRefused, match="50 TTFT"):
        train_streamed(stream(make(50), 10))
    with pytest.raises(TrainingRefused):
        train_streamed(stream(Table.of([]), 10))


def test_rows_that_change_between_two_looks_are_refused() -> None:
    looks = iter([make(3000), make(2000)])

    def rows() -> Iterator[Table]:
        yield next(looks)

    with pytest.raises(TrainingRefused, match="changed"):
        train_streamed(rows, limits=NO_TABLE)


def test_a_survey_keeps_the_newest_of_each_endpoint_and_of_all() -> None:
    table = make(5000)
    table.endpoints[10:20] = ["quiet:1"] * 10

    survey = Survey(stream(table, 613)(), newest_rows=50, tail_rows=1000)

    wanted = newest_of_each(table, 50).any(axis=0)
    np.testing.assert_array_equal(survey.seen.newest.observed_s, table.only(wanted).observed_s)
    assert survey.seen.newest.endpoints.count("quiet:1") == 10
    assert 1000 <= len(survey.tail) < 1000 + 613
    assert survey.tail.observed_s[-1] == survey.seen.last_s == table.observed_s[-1]
    assert (survey.seen.rows, list(survey.seen.counts)) == (5000, table.counts)


def test_a_sample_is_even_and_bounded() -> None:
    table, sample = make(5000), EvenSample(100)

    for part in stream(table, 300)():
        sample.add(part)

    kept = sample.table()
    assert 100 <= len(kept) <= 200
    np.testing.assert_allclose(np.diff(kept.observed_s), 0.2 * (5000 // len(kept) + 1), rtol=0.1)


def test_the_newest_labels_of_each_endpoint_are_found_as_one_by_one() -> None:
    table, rng = make(400), random.Random(1)
    table.endpoints[:] = [rng.choice("abc") for _ in table.endpoints]

    found = newest_of_each(table, 7)

    for target in range(2):
        for name in "abc":
            rows = [
                row for row in range(400)
                if table.endpoints[row] == name and np.isfinite(table.log_target[target, row])
            ]  # fmt: skip
            mine = [
                row for row in range(400) if found[target, row] and table.endpoints[row] == name
            ]
            assert mine == rows[-7:]
