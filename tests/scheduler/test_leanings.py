"""Leanings: a fixed error of one endpoint is taken out of the ranking, chance is not."""

import random

import numpy as np
import pytest

from predictor.physics import TPOT, TTFT
from predictor.values import replace
from scheduler.leanings import Leanings
from tests.scheduler.policy_cases import candidates, load, terms

NAMES = ("a:1", "b:1", "c:1", "d:1")


def taught(errors: dict[str, float], *, labels: int = 100, noise: float = 0.1) -> Leanings:
    rng, leanings = random.Random(1), Leanings()
    for _ in range(labels):
        for name, error in errors.items():
            factor = leanings.factors(NAMES)[TTFT, NAMES.index(name)]
            actual_s = np.exp(error + rng.gauss(0.0, noise))
            leanings.learn(TTFT, name, actual_s=actual_s, ranked_s=float(factor))
    return leanings


def test_a_fixed_error_is_taken_out() -> None:
    leanings = taught({"a:1": 0.3, "b:1": 0.0, "c:1": -0.1, "d:1": -0.2})

    ttft, tpot = leanings.factors(NAMES)

    np.testing.assert_allclose(np.log(ttft), [0.3, 0.0, -0.1, -0.2], atol=0.05)
    assert tpot.tolist() == [1.0] * 4


@pytest.mark.parametrize("ranked_s", [0.0, -1.0, np.nan, np.inf])
def test_what_was_ranked_by_no_time_teaches_nothing(ranked_s: float) -> None:
    leanings = Leanings()

    for _ in range(32):
        leanings.learn(TTFT, "a:1", actual_s=1.0, ranked_s=ranked_s)
        leanings.learn(TTFT, "b:1", actual_s=1.0, ranked_s=1.0)

    assert leanings.factors(NAMES).tolist() == [[1.0] * 4] * 2


def test_an_error_that_all_share_changes_nothing() -> None:
    leanings = taught(dict.fromkeys(NAMES, 0.5))

    np.testing.assert_allclose(leanings.factors(NAMES)[TTFT], 1.0, atol=0.02)


def test_endpoints_alike_are_hardly_told_apart_by_chance() -> None:
    leanings = taught(dict.fromkeys(NAMES, 0.0), labels=40, noise=0.3)

    np.testing.assert_allclose(leanings.factors(NAMES)[TTFT], 1.0, atol=0.1)


@pytest.mark.parametrize(("actual_s", "ranked_s"), [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_what_is_no_time_teaches_nothing(actual_s: float, ranked_s: float) -> None:
    leanings = Leanings()

    for name in NAMES * 40:
        leanings.learn(TPOT, name, actual_s=actual_s, ranked_s=ranked_s)

    assert (leanings.factors(NAMES) == 1.0).all()


def test_who_has_left_is_forgotten() -> None:
    leanings = taught({"a:1": 0.3, "b:1": -0.3})

    leanings.forget("a:1")

    assert leanings.factors(("a:1",)).tolist() == [[1.0], [1.0]]


def test_only_what_ranks_is_corrected() -> None:
    given = candidates([load()] * 4)
    said = given.predictions
    assert said is not None
    leanings = taught({"a:1": 0.3, "b:1": 0.0, "c:1": -0.1, "d:1": -0.2})

    corrected = replace(given, leanings=leanings.factors(NAMES))

    assert corrected.rank_s(said)[TTFT][0] > said.rank_ttft_s[0]
    assert corrected.prefill_s(said)[3] < said.prefill_s[3]
    assert terms("predicted_latency", corrected)["ttft"][0] == pytest.approx(
        3.0 * corrected.rank_s(said)[TTFT][0]
    )
