import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.values import replace
from proxy.history import History
from tests.proxy.control.fakes import decision, record, shed_record


def test_a_finished_request_is_found_by_its_id() -> None:
    history = History()

    history.add(record("a"))

    found = history.get("a")
    assert found is not None
    assert found.endpoint == "10.0.0.1:8000"
    assert history.get("b") is None


def test_the_oldest_requests_leave_first() -> None:
    history = History(requests=3)

    for request_id in "abcde":
        history.add(record(request_id))

    assert [r.request.request_id for r in history.latest(10)] == ["e", "d", "c"]
    assert history.get("b") is None


def test_a_repeated_id_replaces_the_older_record() -> None:
    history = History(requests=2)

    history.add(record("a", finished_s=1.0))
    history.add(record("b", finished_s=2.0))
    history.add(record("a", finished_s=3.0))

    assert [(r.request.request_id, r.finished_s) for r in history.latest(10)] == [
        ("a", 3.0),
        ("b", 2.0),
    ]


def test_those_that_finished_later_come_oldest_first() -> None:
    history = History()
    for finished_s in (1.0, 2.0, 3.0, 4.0):
        history.add(record(f"r-{finished_s}", finished_s=finished_s))

    found = [r.finished_s for r in history.finished_after(1.0, most=2)]

    assert found == [3.0, 4.0]


def test_a_second_counts_what_failed_but_not_who_gave_up() -> None:
    history = History()
    for outcome in ("completed", "cut", "shed", "upstream_error", "client_gone", "client_error"):
        one = record(outcome, finished_s=5.5)
        history.add(replace(one, measurement=replace(one.measurement, outcome=outcome)))

    (second,) = history.series()

    assert (second.requests, second.failed) == (6, 3)


def test_block_hashes_are_not_kept() -> None:
    history = History()

    history.add(record("a"))

    found = history.get("a")
    assert found is not None
    assert found.request.block_hashes == ()


def test_a_second_holds_the_means_of_its_requests() -> None:
    history = History()
    made = decision(ttft_s=(0.2, 0.9))

    history.add(record("a", finished_s=5.1, made=made, ttft_s=0.1, tpot_s=0.02))
    history.add(record("b", finished_s=5.9, made=made, ttft_s=0.3, tpot_s=0.04))
    history.add(record("c", finished_s=7.0, made=made, ttft_s=0.5))

    first, second = history.series()
    assert (first.second_s, first.requests, second.second_s) == (5.0, 2, 7.0)
    assert first.ttft_s == pytest.approx(0.2)
    assert first.predicted_ttft_s == pytest.approx(0.2)
    assert first.tpot_s == pytest.approx(0.03)


def test_what_was_not_measured_is_unknown_not_zero() -> None:
    history = History()

    history.add(shed_record())

    (second,) = history.series()
    assert second.requests == 1
    assert second.ttft_s is None
    assert second.predicted_ttft_s is None


def test_a_prediction_without_a_measurement_stays_out_of_the_series() -> None:
    history = History()
    history.add(replace(record("a"), upstream_ttft_s=None))

    (second,) = history.series()
    assert second.predicted_ttft_s is None
    assert second.predicted_tpot_s == pytest.approx(0.02)


def test_the_series_starts_where_asked() -> None:
    history = History()
    for at in (1.0, 2.0, 3.0):
        history.add(record(str(at), finished_s=at))

    seconds = [second.second_s for second in history.series(since_s=2.0)]

    assert seconds == [2.0, 3.0]


def test_the_error_of_an_endpoint_is_the_median_of_its_requests() -> None:
    history = History()
    made = decision(ttft_s=(0.2, 0.9))
    for request_id, ttft_s in (("a", 0.1), ("b", 0.2), ("c", 0.4)):
        history.add(record(request_id, made=made, ttft_s=ttft_s, tpot_s=0.025))

    errors = history.prediction_errors()

    assert list(errors) == ["10.0.0.1:8000"]
    assert errors["10.0.0.1:8000"].ttft_ratio == pytest.approx(0.5)
    assert errors["10.0.0.1:8000"].tpot_ratio == pytest.approx(0.2)


@given(st.lists(st.tuples(st.text(max_size=3), st.floats(0, 1e6)), max_size=60))
def test_memory_is_bounded_whatever_comes(events: list[tuple[str, float]]) -> None:
    history = History(requests=5, seconds=4)

    for request_id, finished_s in events:
        history.add(record(request_id, finished_s=finished_s))

    seconds = [second.second_s for second in history.series()]
    assert len(history) <= 5
    assert len(seconds) <= 4
    assert seconds == sorted(set(seconds))
