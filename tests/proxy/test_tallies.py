"""Our own counters and histograms beside prometheus-client's."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.registry import Collector

from proxy.tallies import Counters, Histograms

BOUNDS = (-0.5, 0.0, 0.25, 1.0, 2.0)


def page(registry: CollectorRegistry) -> str:
    """Give the page, but for the times at which counting began."""
    return re.sub(r"(_created\S*) .*", r"\1", generate_latest(registry).decode())


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.one_of(st.sampled_from(BOUNDS), st.floats(-9, 9))))
)
def test_a_page_reads_as_if_prometheus_client_had_counted(events: list[tuple[str, float]]) -> None:
    theirs, ours = CollectorRegistry(), CollectorRegistry()
    asked = Counter("asked", "Asked.", ["who"], registry=theirs)
    plain = Counter("plain", "Plain.", registry=theirs)
    signed = Histogram("signed", "Signed.", ["who"], buckets=BOUNDS, registry=theirs)
    times = Histogram("times", "Times.", buckets=BOUNDS[1:], registry=theirs)
    our_asked = Counters("asked", "Asked.", ["who"], registry=ours)
    our_plain = Counters("plain", "Plain.", registry=ours).labels()
    our_signed = Histograms("signed", "Signed.", ["who"], buckets=BOUNDS, registry=ours)
    our_times = Histograms("times", "Times.", buckets=BOUNDS[1:], registry=ours).labels()

    for who, value in events:
        asked.labels(who).inc(abs(value))
        plain.inc()
        signed.labels(who).observe(value)
        times.observe(value)
        our_asked.labels(who).inc(abs(value))
        our_plain.inc()
        our_signed.labels(who).observe(value)
        our_times.observe(value)

    assert page(ours) == page(theirs)


def test_series_of_a_label_value_can_be_dropped() -> None:
    registry = CollectorRegistry()
    family = Counters("asked", "Asked.", ["endpoint", "reason"], registry=registry)
    family.labels("a:1", "timeout").inc()
    family.labels("b:2", "timeout").inc()

    family.forget("endpoint", "a:1")

    assert "a:1" not in page(registry)
    assert registry.get_sample_value("asked_total", {"endpoint": "b:2", "reason": "timeout"}) == 1


def test_a_name_cannot_be_registered_twice() -> None:
    registry = CollectorRegistry(auto_describe=False)
    first: Collector = Counters("asked", "Asked.", registry=registry)

    with pytest.raises(ValueError, match="Duplicated"):
        Counter("asked", "Asked.", registry=registry)

    assert first in registry._collector_to_names


def test_a_wrong_number_of_label_values_is_refused() -> None:
    family = Counters("asked", "Asked.", ["who"], registry=CollectorRegistry())

    with pytest.raises(ValueError, match="2 values"):
        family.labels("a", "b")
