"""Rows of several writers add up to what one writer would have counted."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.features import COLUMN, OLDEST, OWN, UNKNOWN
from scheduler.accounting import InflightAccounting
from scheduler.bookings import NOTHING, Bookings, Sums, columns, together
from scheduler.endpoint_table import EndpointTable


class Shared:
    """Two accountings whose ledgers are each other's."""

    def __init__(self) -> None:
        self.tables = [EndpointTable(), EndpointTable()]
        self.accountings = [InflightAccounting(table) for table in self.tables]
        self.ledgers = [Ledger(), Ledger()]
        for accounting, ledger in zip(self.accountings, self.ledgers, strict=True):
            accounting.ledger = ledger

    def exchange(self, now: float) -> None:
        for ours, theirs in ((0, 1), (1, 0)):
            for endpoint, bookings in self.ledgers[theirs].rows.items():
                self.accountings[ours].hear(endpoint, bookings, now)


class Ledger:
    def __init__(self) -> None:
        self.rows: dict[str, Bookings] = {}
        self.writes = 0

    def follow(self, endpoints: object) -> None: ...

    def booked(self, endpoint: str, sums: Sums) -> None:
        self.rows[endpoint] = Bookings(*sums)
        self.writes += 1

    def changed(self, now: float, *, at_once: bool = False) -> tuple[()]:
        return ()


def own(table: EndpointTable, endpoint: str) -> list[float]:
    values: list[float] = table.columns.values[table.row(endpoint), OWN].tolist()
    return values


def clocks(table: EndpointTable, endpoint: str) -> list[float]:
    values: list[float] = table.columns.clocks[table.row(endpoint), OLDEST:].tolist()
    return values


def play(accounting: InflightAccounting, number: int, at_s: float) -> None:
    name = f"r{number}"
    accounting.book(
        name, "a:1", prefill_tokens=100, context_tokens=150, output_tokens=100.0, now=at_s
    )
    if number % 3:
        accounting.first_token(name, "a:1", ttft_s=0.2)
    if number % 3 == 2:
        accounting.release(name, "a:1", tpot_s=0.02)


def test_two_workers_together_see_what_one_alone_would() -> None:
    alone_table = EndpointTable()
    alone, shared = InflightAccounting(alone_table), Shared()

    for number in range(20):
        play(alone, number, number / 10)
        play(shared.accountings[number % 2], number, number / 10)
    shared.exchange(2.0)

    expected = own(alone_table, "a:1")
    assert expected != pytest.approx(own(EndpointTable(), "a:1"), nan_ok=True)
    for table in shared.tables:
        assert own(table, "a:1") == pytest.approx(expected, nan_ok=True)
        assert clocks(table, "a:1") == pytest.approx(clocks(alone_table, "a:1"), nan_ok=True)


def test_hearing_of_others_is_no_news_to_them() -> None:
    shared = Shared()
    play(shared.accountings[0], 0, 0.0)
    before = [ledger.writes for ledger in shared.ledgers]

    shared.exchange(0.1)
    shared.exchange(0.2)

    assert [ledger.writes for ledger in shared.ledgers] == before


def test_what_changes_before_the_others_are_told_is_told_once_as_of_then() -> None:
    shared, due = Shared(), []
    accounting, ledger = shared.accountings[0], shared.ledgers[0]
    accounting.later = due.append

    for number in range(3):
        play(accounting, number, 0.0)
    before = ledger.writes
    for call in due:
        call()

    assert (before, len(due), ledger.writes) == (0, 1, 1)
    assert ledger.rows["a:1"].inflight_requests == 2
    play(accounting, 3, 1.0)
    assert len(due) == 2  # what comes after is told again


def test_the_end_of_the_last_request_at_an_endpoint_that_has_left_is_told() -> None:
    shared, due = Shared(), []
    accounting, ledger = shared.accountings[0], shared.ledgers[0]
    accounting.later = due.append
    play(accounting, 0, 0.0)
    due.pop()()
    before = ledger.rows["a:1"].inflight_requests

    accounting.release("r0", "a:1", tpot_s=None)
    accounting.forget("a:1")
    due.pop()()

    assert (before, ledger.rows["a:1"].inflight_requests) == (1, 0)


def test_what_others_have_is_not_ours() -> None:
    shared = Shared()
    play(shared.accountings[0], 0, 0.0)

    shared.exchange(0.1)

    assert shared.accountings[1].load("a:1", 0.1).inflight_requests == 0
    assert shared.accountings[1].inflight_requests() == 0


counts = st.integers(0, 1000).map(float)
instants = st.floats(0.0, 1e9)
means = st.one_of(st.just(UNKNOWN), st.floats(1e-4, 100.0))
rows = st.builds(
    Bookings,
    inflight_requests=counts,
    queued_requests=counts,
    queued_prefill_tokens=counts,
    oldest_queued_s=instants,
    rated_s=instants,
    prefill_tokens_per_s=counts,
    dispatches_per_s=counts,
    recent_ttft_s=means,
    recent_tpot_s=means,
)


@given(rows, rows)
def test_the_order_of_writers_makes_no_difference(one: Bookings, other: Bookings) -> None:
    assert together(one, other) == pytest.approx(together(other, one), nan_ok=True)


@given(rows, rows)
def test_means_stay_between_what_they_are_means_of(one: Bookings, other: Bookings) -> None:
    both = together(one, other)

    known = [row.recent_ttft_s for row in (one, other) if not math.isnan(row.recent_ttft_s)]
    if known:
        assert min(known) * (1 - 1e-9) <= both.recent_ttft_s <= max(known) * (1 + 1e-9)
    else:
        assert math.isnan(both.recent_ttft_s)


@given(rows)
def test_nothing_adds_nothing(row: Bookings) -> None:
    assert together(row, NOTHING) is row
    assert together(row, Bookings()) == pytest.approx(row, nan_ok=True)


def test_an_idle_endpoint_has_no_oldest_request() -> None:
    own, clocks = columns(NOTHING)

    assert math.isnan(clocks[0])
    assert own[COLUMN["inflight_requests"] - OWN.start] == 0.0
