"""What workers share in memory, several of them in one process."""

import math

import pytest

from foretoken.workers.table import ABSENT_S, REFRESH_S, SLOTS, SharedTable
from scheduler.bookings import NOTHING, Bookings

ONE = Bookings(inflight_requests=1.0, queued_prefill_tokens=100.0, rated_s=5.0)


class Tables(list[SharedTable]):
    """As many workers' views of one table."""

    def __init__(self, workers: int, *endpoints: str) -> None:
        self.first = SharedTable.create(workers)
        for worker in range(workers):
            self.append(self.attach(worker, workers))
            self[-1].follow(endpoints)

    def attach(self, worker: int, workers: int) -> SharedTable:
        return SharedTable(self.first.descriptor, workers=workers, worker=worker)


class Clock:
    """Moves on by more than a look's distance each time it is read."""

    def __init__(self) -> None:
        self.now = 1.0

    def __call__(self) -> float:
        self.now += 2 * REFRESH_S
        return self.now


def drain(tables: Tables, clock: Clock) -> None:
    for table in tables:
        table.changed(clock())


def test_a_booking_is_seen_by_the_others_at_their_next_look_and_once() -> None:
    tables, clock = Tables(3, "a:1", "b:1"), Clock()
    drain(tables, clock)

    tables[0].booked("a:1", ONE)

    for other in (1, 2):
        assert [name for name, _ in tables[other].changed(clock())] == ["a:1"]
        assert list(tables[other].changed(clock())) == []
    assert list(tables[0].changed(clock())) == []


def test_where_no_endpoint_is_known_nothing_has_changed() -> None:
    tables, clock = Tables(3), Clock()

    assert [list(table.changed(clock())) for table in tables] == [[], [], []]


def test_what_all_others_have_is_added_up_without_ours() -> None:
    tables, clock = Tables(3, "a:1"), Clock()
    drain(tables, clock)

    for table in tables:
        table.booked("a:1", ONE)

    (seen,) = tables[2].changed(clock())
    assert seen[1].inflight_requests == 2.0
    assert seen[1].queued_prefill_tokens == 200.0


def test_a_look_comes_again_only_after_its_time() -> None:
    tables = Tables(2, "a:1")
    tables[1].changed(1.0)

    tables[0].booked("a:1", ONE)

    assert list(tables[1].changed(1.0 + REFRESH_S / 2)) == []
    assert len(list(tables[1].changed(1.0 + 2 * REFRESH_S))) == 1

    tables[0].booked("a:1", ONE)

    assert len(list(tables[1].changed(1.0 + 2 * REFRESH_S, at_once=True))) == 1


def test_a_clock_that_steps_back_does_not_stop_looks() -> None:
    tables = Tables(2, "a:1")
    tables[1].changed(1000.0)

    tables[0].booked("a:1", ONE)

    assert len(list(tables[1].changed(1.0))) == 1


def test_endpoints_have_the_same_slot_whatever_order_workers_hear_of_them() -> None:
    first = SharedTable.create(2)
    one, two = (SharedTable(first.descriptor, workers=2, worker=worker) for worker in (0, 1))
    one.follow(["a:1", "b:1"])
    two.follow(["c:1", "b:1", "a:1"])
    two.changed(1.0)

    one.booked("b:1", ONE)

    assert [name for name, _ in two.changed(2.0)] == ["b:1"]


def test_an_endpoint_heard_of_late_brings_what_others_have_there() -> None:
    tables, clock = Tables(2, "a:1"), Clock()
    drain(tables, clock)
    tables[0].follow(["a:1", "b:1"])
    tables[0].booked("b:1", ONE)
    tables[1].changed(clock())

    tables[1].follow(["a:1", "b:1"])

    assert dict(tables[1].changed(clock()))["b:1"].inflight_requests == 1.0


def test_the_row_of_an_endpoint_that_left_is_empty() -> None:
    tables, clock = Tables(2, "a:1", "b:1"), Clock()
    tables[0].booked("a:1", ONE)
    drain(tables, clock)

    tables[0].follow(["b:1"])

    assert dict(tables[1].changed(clock()))["a:1"].inflight_requests == 0.0


def test_slots_that_nobody_holds_are_used_again() -> None:
    tables, clock = Tables(2), Clock()
    for start in range(0, 3 * SLOTS, SLOTS // 2):
        names = [f"e{number}:1" for number in range(start, start + SLOTS // 2)]
        for table in tables:
            table.follow(names)
    drain(tables, clock)

    tables[0].booked(f"e{3 * SLOTS - 1}:1", ONE)

    assert [name for name, _ in tables[1].changed(clock())] == [f"e{3 * SLOTS - 1}:1"]


def test_an_endpoint_beyond_all_slots_is_not_shared_and_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tables = Tables(2)
    tables[0].follow([f"e{number}:1" for number in range(SLOTS)])

    tables[1].follow(["late:1"])
    tables[1].booked("late:1", ONE)

    assert "bookings_not_shared" in caplog.text


def test_a_dead_workers_bookings_are_gone_once_it_is_cleared() -> None:
    tables, clock = Tables(3, "a:1"), Clock()
    tables[0].booked("a:1", ONE)
    tables[1].booked("a:1", ONE)
    drain(tables, clock)

    tables.first.clear(0)

    ((_, seen),) = tables[2].changed(clock())
    assert seen.inflight_requests == 1.0
    ((_, left),) = tables[1].changed(clock())
    assert left == pytest.approx(NOTHING, nan_ok=True)


def test_a_restarted_worker_books_in_the_same_row() -> None:
    tables, clock = Tables(2, "a:1"), Clock()
    tables[0].booked("a:1", ONE)
    tables.first.clear(0)
    again = tables.attach(0, 2)
    again.follow(["a:1"])

    again.booked("a:1", ONE)

    assert dict(tables[1].changed(clock()))["a:1"].inflight_requests == 1.0


def test_whoever_has_been_there_for_longest_leads_until_it_is_silent() -> None:
    tables = Tables(3)
    nobody = tables[0].eldest(0.5)
    tables[1].join(1.0)
    tables[0].join(2.0)
    first = tables[2].eldest(2.0)

    tables[0].beat(4.0)
    after_silence = tables[2].eldest(1.0 + ABSENT_S + 0.5)
    tables.first.clear(0)

    assert (nobody, first, after_silence) == (None, 1, 0)
    assert tables[2].eldest(4.0) is None


def test_connections_are_compared_with_those_that_serve() -> None:
    tables = Tables(3)
    alone = tables[0].fewest_connections(1.0)
    for table, connections in zip(tables[1:], (5, 3), strict=True):
        table.join(1.0)
        table.set_connections(connections)
    tables[1].set_ready()
    tables[1].set_ready()

    assert alone == math.inf
    assert tables[0].fewest_connections(1.0) == 5
    tables[2].set_ready()
    assert tables[0].fewest_connections(1.0) == 3
    assert tables[0].fewest_connections(1.0 + 2 * ABSENT_S) == math.inf
    assert tables[0].ready() == [False, True, True]
