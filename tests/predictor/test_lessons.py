"""One request may teach in several observations, and counts once in what is reported."""

import numpy as np
import pytest

from predictor import EXPERTS, LatencyPredictor
from predictor.labels import label_weight, most_of_total, split_total
from predictor.physics import TPOT, TTFT
from predictor.types import Observation
from predictor.values import replace
from tests.predictor.fleet import fleet_observations, learned, predict_both, served


def tpot_only(row: Observation, **changes: object) -> Observation:
    return replace(row, upstream_ttft_s=None, **changes)  # type: ignore[arg-type]  # test shorthand


def scored(predictor: LatencyPredictor) -> list[int]:
    return [len(rows) for rows in predictor._recent]


# An early label, and the whole answer


def test_a_teaching_label_moves_predictions_and_neither_quantiles_nor_reports() -> None:
    predictor = learned(fleet_observations(100))
    row = served(predictor, fleet_observations(1, seed=5)[0])
    before, reported = predict_both(predictor, row.features), scored(predictor)

    predictor.learn(tpot_only(row, tpot_s=0.5, use="teaching"))

    after = predict_both(predictor, row.features)
    assert after.tpot_s[0] > before.tpot_s[0]
    np.testing.assert_allclose(
        after.quantiles_s[TPOT] / after.tpot_s, before.quantiles_s[TPOT] / before.tpot_s
    )
    assert scored(predictor) == reported
    assert predictor.report().observations["tpot"] == 101


def test_a_scoring_label_moves_quantiles_and_reports_and_no_prediction() -> None:
    predictor = learned(fleet_observations(100))
    row = served(predictor, fleet_observations(1, seed=5)[0])
    before = predict_both(predictor, row.features)

    for _ in range(40):
        predictor.learn(tpot_only(row, tpot_s=0.05, use="scoring"))

    after = predict_both(predictor, row.features)
    np.testing.assert_array_equal(after.tpot_s, before.tpot_s)
    np.testing.assert_array_equal(after.rank_tpot_s, before.rank_tpot_s)
    assert after.tpot_p90_s[0] > 1.2 * before.tpot_p90_s[0]
    assert scored(predictor) == [100, 140]
    assert predictor.report().observations["tpot"] == 100


def test_an_early_and_a_final_label_count_once_in_the_p90_coverage() -> None:
    once, twice = LatencyPredictor(), LatencyPredictor()
    for row in fleet_observations(50):
        seen = tpot_only(served(twice, row))
        twice.learn(replace(seen, tpot_s=(row.tpot_s or 0.0) * 1.01, use="teaching"))
        twice.learn(replace(seen, use="scoring"))
        once.learn(tpot_only(served(once, row)))

    assert scored(twice) == scored(once) == [0, 50]
    coverage = twice.report().p90_coverage["tpot"]
    assert coverage == pytest.approx(once.report().p90_coverage["tpot"], abs=0.1)


@pytest.mark.parametrize("use", ["teaching", "scoring"])
def test_bad_labels_are_refused_whatever_they_are_for(use: str) -> None:
    predictor = learned(fleet_observations(40))
    row = tpot_only(fleet_observations(1)[0], tpot_s=-1.0, use=use)
    before = predict_both(predictor, row.features)

    predictor.learn(row)

    assert predictor.report().refused == {"tpot_not_positive": 1}
    np.testing.assert_array_equal(
        before.quantiles_s, predict_both(predictor, row.features).quantiles_s
    )


# The miss of a request that is overdue


def overdue(predictor: LatencyPredictor, row: Observation, waited_s: float) -> Observation:
    return replace(served(predictor, row), upstream_ttft_s=None, tpot_s=None, waited_s=waited_s)


def test_a_miss_widens_the_p90_at_once_and_nothing_else() -> None:
    predictor = learned(fleet_observations(100))
    row = fleet_observations(1, seed=5)[0]
    before, reported = predict_both(predictor, row.features), scored(predictor)

    for _ in range(5):
        predictor.learn(overdue(predictor, row, 2.0))

    after = predict_both(predictor, row.features)
    assert after.ttft_p90_s[0] > before.ttft_p90_s[0]
    np.testing.assert_array_equal(after.ttft_s, before.ttft_s)
    np.testing.assert_array_equal(after.quantiles_s[TPOT], before.quantiles_s[TPOT])
    assert scored(predictor) == reported


def test_a_label_whose_miss_was_told_is_reported_once_and_adapts_no_further() -> None:
    told, untold = learned(fleet_observations(100)), learned(fleet_observations(100))
    row = fleet_observations(1, seed=5)[0]
    late_s = 3.0 * (row.upstream_ttft_s or 0.0)
    for _ in range(4):
        told.learn(overdue(told, row, late_s * 0.9))
        for predictor, waited_s in ((told, late_s * 0.9), (untold, None)):
            seen = replace(served(predictor, row), upstream_ttft_s=late_s, tpot_s=None)
            predictor.learn(replace(seen, waited_s=waited_s))

    assert scored(told) == scored(untold)
    assert told.report().p90_coverage["ttft"] == untold.report().p90_coverage["ttft"]
    levels = [predictor._calibration[TTFT].state["levels"][0, 1] for predictor in (told, untold)]
    np.testing.assert_allclose(levels[0], levels[1])


@pytest.mark.parametrize("waited_s", [float("nan"), -1.0, 0.0, 1e9])
def test_a_wait_that_cannot_be_is_refused(waited_s: float) -> None:
    predictor = learned(fleet_observations(40))
    row = fleet_observations(1)[0]
    before = predict_both(predictor, row.features)

    predictor.learn(overdue(predictor, row, waited_s))

    (reason,) = predictor.report().refused
    assert reason.startswith("waited_")
    np.testing.assert_array_equal(
        before.quantiles_s, predict_both(predictor, row.features).quantiles_s
    )


# Requests of which only the whole time is known


def total_only(row: Observation, tokens: int) -> Observation:
    total_s = (row.upstream_ttft_s or 0.0) + (row.tpot_s or 0.0) * (tokens - 1)
    return replace(row, upstream_ttft_s=None, tpot_s=None, total_s=total_s, output_tokens=tokens)


def test_a_total_becomes_two_labels_that_add_up_to_it() -> None:
    predictor = learned(fleet_observations(40))
    row = served(predictor, total_only(fleet_observations(1, seed=5)[0], 100))

    seen = split_total(row)

    assert seen.upstream_ttft_s is not None
    assert seen.tpot_s is not None
    assert seen.upstream_ttft_s + 99 * seen.tpot_s == pytest.approx(row.total_s)
    weights = label_weight(row, TTFT), label_weight(row, TPOT) * 108 / 100
    assert sum(weights) == pytest.approx(1.0)
    assert not most_of_total(row, TTFT)
    assert most_of_total(row, TPOT)


def test_totals_alone_teach_both_targets() -> None:
    predictor, errors = LatencyPredictor(), []
    rng = np.random.default_rng(0)
    for row in fleet_observations(400):
        whole = served(predictor, total_only(row, int(rng.integers(5, 200))))
        assert whole.predicted_ttft_s is not None
        assert whole.predicted_tpot_s is not None
        assert row.upstream_ttft_s is not None
        assert row.tpot_s is not None
        errors.append(
            (
                abs(whole.predicted_ttft_s / row.upstream_ttft_s - 1),
                abs(whole.predicted_tpot_s / row.tpot_s - 1),
            )
        )
        predictor.learn(whole)

    ttft, tpot = np.median(errors[-150:], axis=0)
    assert ttft < 0.2
    assert tpot < 0.1
    assert predictor.layer == "prior"


def test_the_p90_of_a_small_part_of_totals_is_not_taken_from_them() -> None:
    predictor, covered = LatencyPredictor(), []
    rng = np.random.default_rng(0)
    for row in fleet_observations(400):
        noisy = replace(row, upstream_ttft_s=(row.upstream_ttft_s or 0.0) * rng.lognormal(0, 0.3))
        whole = served(predictor, total_only(noisy, 400))
        assert whole.predicted_ttft_p90_s is not None
        assert noisy.upstream_ttft_s is not None
        covered.append(noisy.upstream_ttft_s <= whole.predicted_ttft_p90_s)
        predictor.learn(whole)

    assert np.mean(covered[-200:]) > 0.85
    assert scored(predictor)[TTFT] < 20
    assert scored(predictor)[TPOT] == 200


def test_a_total_without_a_count_of_tokens_teaches_nothing() -> None:
    predictor = LatencyPredictor()
    row = total_only(fleet_observations(1)[0], 100)

    predictor.learn(served(predictor, replace(row, output_tokens=None)))
    predictor.learn(served(predictor, replace(row, output_tokens=10**9)))

    assert predictor.report().observations == {"ttft": 0, "tpot": 0}
    assert predictor.report().refused == {"ttft_tokens_absurd": 1}


def test_a_mean_of_few_tokens_moves_physics_less() -> None:
    row, moved = fleet_observations(2)[1], []
    for tokens in (1000, 2):
        predictor = learned(fleet_observations(64))
        before = own_physics(predictor, row)
        for _ in range(32):
            predictor.learn(tpot_only(row, tpot_s=0.1, output_tokens=tokens, use="teaching"))
        moved.append(own_physics(predictor, row) - before)

    assert moved[0] > 1.2 * moved[1] > 0


def own_physics(predictor: LatencyPredictor, row: Observation) -> float:
    """Give the log TPOT by the slow endpoint's own coefficients."""
    return float(predict_both(predictor, row.features).experts[TPOT, EXPERTS.index("prior"), 1])
