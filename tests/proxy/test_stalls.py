"""Which requests have been silent for too long."""

from proxy.settings import StallSettings
from proxy.stalls import StallWatch

SETTINGS = StallSettings(factor=10.0, floor_s=3.0, unpredicted_s=60.0)


def overdue(watch: StallWatch, now: float, *still: str) -> list[str]:
    return [watched.request_id for watched in watch.overdue(now, frozenset(still))]


def test_before_the_first_token_its_prediction_counts_and_afterwards_the_gaps() -> None:
    watch = StallWatch(SETTINGS)
    watched = watch.begin("r", "a:1", 0.0, ttft_s=2.0, tpot_s=0.5, streamed=True)

    waiting = [overdue(watch, now) for now in (19.9, 20.0)]
    watched.heard(21.0)
    streaming = [overdue(watch, now) for now in (25.9, 26.0)]

    assert waiting == [[], ["r"]]
    assert streaming == [[], ["r"]]


def test_nothing_is_overdue_below_the_floor() -> None:
    watch = StallWatch(SETTINGS)
    watch.begin("r", "a:1", 0.0, ttft_s=0.01, tpot_s=0.001, streamed=True)

    assert [overdue(watch, now) for now in (2.9, 3.0)] == [[], ["r"]]


def test_without_a_prediction_patience_is_long() -> None:
    watch = StallWatch(SETTINGS)
    watch.begin("r", "a:1", 0.0, ttft_s=None, tpot_s=None, streamed=True)

    assert [overdue(watch, now) for now in (59.0, 60.0)] == [[], ["r"]]


def test_an_answer_that_is_not_streamed_is_overdue_only_where_the_endpoint_stands_still() -> None:
    watch = StallWatch(SETTINGS)
    watch.begin("r", "a:1", 0.0, ttft_s=0.1, tpot_s=0.1, streamed=False)

    assert overdue(watch, 1000.0) == []
    assert overdue(watch, 2.0, "a:1") == []
    assert overdue(watch, 3.0, "a:1") == ["r"]
    assert overdue(watch, 3.0, "b:1") == []


def test_a_request_dispatched_again_is_watched_anew_and_one_that_ended_no_more() -> None:
    watch = StallWatch(SETTINGS)
    watch.begin("r", "a:1", 0.0, ttft_s=0.1, tpot_s=0.1, streamed=True)

    watch.begin("r", "b:1", 3.0, ttft_s=0.1, tpot_s=0.1, streamed=True)
    again = overdue(watch, 5.0)
    watch.end("r")
    watch.end("r")

    assert again == []
    assert overdue(watch, 100.0) == []
    assert len(watch) == 0


def test_those_overdue_may_end_while_they_are_given() -> None:
    watch = StallWatch(SETTINGS)
    for name in ("one", "two"):
        watch.begin(name, "a:1", 0.0, ttft_s=0.1, tpot_s=0.1, streamed=True)

    given = [watched.request_id for watched in watch.overdue(9.0) if not watch.end("two")]

    assert given == ["one"]
    assert len(watch) == 1
