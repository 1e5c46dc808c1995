"""Rates from counters that are read now and then, and begin anew."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.counters import CounterRates
from predictor.types import EndpointState

BARE = EndpointState(endpoint="a:1", url="http://a:1")


def scrape(
    at_s: float,
    preemptions: float | None = None,
    hits: float | None = None,
    queries: float | None = None,
) -> EndpointState:
    return replace(
        BARE,
        scraped_s=at_s,
        preemptions_total=preemptions,
        prefix_hits_total=hits,
        prefix_queries_total=queries,
    )


def test_late_differences_count_more_than_early_ones() -> None:
    rates = CounterRates()
    rates.apply(scrape(0.0, hits=0, queries=0))

    early = rates.apply(scrape(1.0, hits=1000, queries=1000)).prefix_hit_ratio
    late = rates.apply(scrape(61.0, hits=1000, queries=2000)).prefix_hit_ratio

    assert early == 1.0
    assert late is not None
    assert 0 < late < 0.05


def test_an_idle_endpoint_keeps_its_hit_ratio_and_loses_its_preemptions() -> None:
    rates = CounterRates()
    rates.apply(scrape(0.0, 0, 0, 0))
    rates.apply(scrape(1.0, 10, 50, 100))

    state = rates.apply(scrape(120.0, 10, 50, 100))

    assert state.prefix_hit_ratio == pytest.approx(0.5)
    assert state.preemptions_per_s == pytest.approx(0.0, abs=0.01)


def test_a_restarted_server_begins_without_rates() -> None:
    rates = CounterRates()
    rates.apply(scrape(0.0, 0, 0, 0))
    rates.apply(scrape(1.0, 10, 50, 100))

    restarted = rates.apply(scrape(2.0, 0, 0, 10))
    after = rates.apply(scrape(3.0, 1, 0, 20))

    assert (restarted.preemptions_per_s, restarted.prefix_hit_ratio) == (None, None)
    assert (after.preemptions_per_s, after.prefix_hit_ratio) == (1.0, 0.0)


def test_a_counter_that_is_not_on_the_page_has_no_rate() -> None:
    rates = CounterRates()

    for second in range(3):
        state = rates.apply(scrape(float(second), preemptions=second))

    assert (state.preemptions_per_s, state.prefix_hit_ratio) == (pytest.approx(1.0), None)


def test_a_page_read_twice_changes_nothing() -> None:
    rates = CounterRates()
    rates.apply(scrape(0.0, 0, 0, 0))
    first = rates.apply(scrape(1.0, 10, 50, 100))

    assert rates.apply(scrape(1.0, 10, 50, 100)) == first


NUMBER = st.none() | st.floats(0, 1e12)


@given(st.lists(st.tuples(st.floats(0, 1e9), NUMBER, NUMBER, NUMBER)))
def test_rates_are_plausible_whatever_the_counters_say(
    scrapes: list[tuple[float, float | None, float | None, float | None]],
) -> None:
    rates = CounterRates()

    for numbers in scrapes:
        state = rates.apply(scrape(*numbers))
        assert state.preemptions_per_s is None or state.preemptions_per_s >= 0
        assert state.prefix_hit_ratio is None or 0 <= state.prefix_hit_ratio <= 1
