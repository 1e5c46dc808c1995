"""The training window: bounded, fair between strata, rid of what is old or impossible."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from predictor.features import COLUMN
from predictor.settings import TrainingSettings
from predictor.types import Observation
from predictor.values import replace
from predictor.window import StratifiedWindow
from tests.predictor.fleet import fleet_observations

SMALL = TrainingSettings(window_rows=100, expire_s=1000.0)


def seen(endpoint: str, at_s: float, queued: float = 0.0, **changes: float | None) -> Observation:
    row = fleet_observations(1)[0]
    features = row.features.copy()
    features[COLUMN["queued_requests"]] = queued
    return replace(row, endpoint=endpoint, observed_s=at_s, features=features, **changes)


def test_a_busy_endpoint_does_not_flush_out_a_quiet_one() -> None:
    window = StratifiedWindow(SMALL)

    for index in range(10):
        window.add(seen("quiet:1", index))
    for index in range(900):
        window.add(seen("busy:1", 10 + index / 100))

    assert Counter(row.endpoint for row in window.rows()) == {"quiet:1": 10, "busy:1": 90}


def test_a_burst_does_not_flush_out_the_calm_before_it() -> None:
    window = StratifiedWindow(SMALL)

    for index in range(300):
        window.add(seen("a:1", index, queued=0.0 if index < 60 else 20.0))

    queued = [row.features[COLUMN["queued_requests"]] for row in window.rows()]
    assert Counter(queued) == {0.0: 50, 20.0: 50}


def test_one_target_does_not_flush_out_the_other() -> None:
    window = StratifiedWindow(SMALL)

    for index in range(300):
        window.add(
            seen("a:1", index, tpot_s=None)
            if index < 30
            else seen("a:1", index, upstream_ttft_s=None)
        )

    assert sum(np.isfinite(row.log_target[0]) for row in window.rows()) == 30


def test_a_row_does_not_keep_the_rows_of_other_candidates_alive() -> None:
    window, candidates = StratifiedWindow(SMALL), np.tile(seen("a:1", 0.0).features, (100, 1))

    window.add(replace(seen("a:1", 0.0), features=candidates[3]))

    assert window.rows()[0].features.base is None


def test_the_newest_of_a_stratum_stay_in_the_order_they_came() -> None:
    window = StratifiedWindow(SMALL)

    for index in range(250):
        window.add(seen("a:1", index))

    assert [row.observed_s for row in window.rows()] == [float(at) for at in range(150, 250)]
    assert [row.observed_s for row in window.rows(after=248)] == [248.0, 249.0]


def test_old_rows_expire_by_the_time_of_the_newest() -> None:
    window = StratifiedWindow(SMALL)

    for at_s in range(0, 3000, 10):
        window.add(seen("a:1" if at_s < 500 else "b:1", at_s))

    assert {row.endpoint for row in window.rows()} == {"b:1"}


def test_a_few_absurd_times_expire_nothing() -> None:
    window = StratifiedWindow(SMALL)
    for at_s in range(80):
        window.add(seen("a:1", at_s))

    for _ in range(20):
        window.add(seen("a:1", 1e12))

    assert sum(row.observed_s < 80 for row in window.rows()) == 100
    assert window.refused["far_future"] == 20


def test_what_cannot_teach_is_counted_and_kept_out() -> None:
    window = StratifiedWindow(SMALL)
    window.add(seen("a:1", 100.0))

    window.add(seen("a:1", 100.0, upstream_ttft_s=-1.0, tpot_s=float("nan")))
    window.add(seen("a:1", -1e9))
    window.add(replace(seen("a:1", 100.0), output_tokens=10**9, upstream_ttft_s=None))

    assert len(window.rows()) == 1
    assert window.refused == {
        "ttft_not_positive": 1,
        "tpot_not_finite": 1,
        "out_of_order": 1,
        "tpot_tokens_absurd": 1,
    }


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 12)), max_size=400))
def test_a_window_never_holds_more_than_its_bound(sent: list[tuple[str, int]]) -> None:
    window = StratifiedWindow(SMALL)

    for index, (endpoint, queued) in enumerate(sent):
        window.add(seen(endpoint, index, queued=queued))

    assert len(window.rows()) == min(len(sent), len(window))
    assert len(window) <= SMALL.window_rows
    if len(sent) <= SMALL.window_rows:
        assert len(window) == len(sent)
