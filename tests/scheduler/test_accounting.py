"""Bookings end at zero whatever the order of events, and the table always agrees."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from predictor.feature_rows import feature_matrix, request_rows
from predictor.types import IDLE, EndpointState, FloatArray
from scheduler import bookings
from scheduler.accounting import InflightAccounting, _sums
from scheduler.endpoint_table import EndpointTable

ENDPOINTS = ("a:1", "b:1")
STATES = tuple(EndpointState(endpoint=name, url="") for name in ENDPOINTS)


def from_table(table: EndpointTable, now: float) -> FloatArray:
    return request_rows(
        table.columns,
        table.members(STATES).rows,
        prompt_tokens=100,
        matched_tokens=np.zeros((len(STATES), 3)),
        effectiveness=np.ones(len(STATES)),
        max_tokens=None,
        expected_output_tokens=10.0,
        streamed=True,
        now=now,
    )


def from_snapshots(accounting: InflightAccounting, now: float) -> FloatArray:
    return feature_matrix(
        prompt_tokens=100,
        cached_tokens=np.zeros(len(STATES)),
        max_tokens=None,
        expected_output_tokens=10.0,
        streamed=True,
        states=STATES,
        loads=[accounting.load(name, now) for name in ENDPOINTS],
        now=now,
    )


class Bookings(RuleBasedStateMachine):
    """Book, start and release at random; the sums must be those of what is open.

    The table is read at random as well: any number of events may come before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.table = EndpointTable()
        self.accounting = InflightAccounting(self.table)
        self.open: dict[str, tuple[str, int, bool]] = {}
        self.now = 1_800_000_000.0
        self.count = 0

    @rule(where=st.sampled_from(ENDPOINTS), tokens=st.integers(0, 100_000))
    def book(self, where: str, tokens: int) -> None:
        self.count += 1
        self.now += 0.01
        name = f"r{self.count}"
        self.accounting.book(
            name,
            where,
            prefill_tokens=tokens,
            context_tokens=tokens,
            output_tokens=tokens if self.count % 3 else None,
            now=self.now,
        )
        self.open[name] = (where, tokens, False)

    @rule(data=st.data())
    def first_token(self, data: st.DataObject) -> None:
        if self.open:
            name = data.draw(st.sampled_from(sorted(self.open)))
            where, tokens, _ = self.open[name]
            self.accounting.first_token(name, where, ttft_s=0.1)
            self.open[name] = (where, tokens, True)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if self.open:
            name = data.draw(st.sampled_from(sorted(self.open)))
            self.now += 0.01
            self.accounting.release(name, self.open.pop(name)[0], tpot_s=0.01)

    @invariant()
    def sums_are_those_of_what_is_open(self) -> None:
        for where in ENDPOINTS:
            here = [entry for entry in self.open.values() if entry[0] == where]
            load = self.accounting.load(where, self.now)
            assert load.inflight_requests == len(here)
            assert load.decoding_requests == sum(started for _, _, started in here)
            assert load.queued_prefill_tokens == sum(t for _, t, started in here if not started)
            assert load.context_tokens == sum(t for _, t, started in here if started)

    @rule(where=st.sampled_from(ENDPOINTS))
    def forget(self, where: str) -> None:
        self.accounting.forget(where)

    @rule()
    def the_table_says_what_the_snapshots_say(self) -> None:
        np.testing.assert_allclose(
            from_table(self.table, self.now + 1.0),
            from_snapshots(self.accounting, self.now + 1.0),
            rtol=1e-6,
            atol=1e-3,
        )

    def teardown(self) -> None:
        for name, (where, _, _) in self.open.items():
            self.accounting.release(name, where, tpot_s=None)
        assert self.accounting.inflight_requests() == 0
        for where in ENDPOINTS:
            load = self.accounting.load(where, self.now)
            sums = (load.queued_prefill_tokens, load.context_tokens, load.oldest_queued_s)
            assert sums == (0.0, 0.0, 0.0)
            assert load.remaining_output_tokens is None
            self.accounting.forget(where)
        np.testing.assert_array_equal(
            from_table(self.table, self.now), from_snapshots(InflightAccounting(), self.now)
        )


TestBookings = Bookings.TestCase
TestBookings.settings = settings(max_examples=50)


def test_an_endpoint_never_seen_is_idle() -> None:
    assert InflightAccounting().load("nowhere:1", now=0.0) == IDLE


def test_the_prefill_rate_decays() -> None:
    accounting = InflightAccounting()
    accounting.book("r", "a:1", prefill_tokens=1500, context_tokens=0, now=0.0)

    early = accounting.load("a:1", now=0.0).prefill_tokens_per_s
    late = accounting.load("a:1", now=60.0).prefill_tokens_per_s

    assert early == 100.0
    assert 0 < late < 5


def test_an_endpoint_that_left_is_forgotten_only_when_nothing_is_in_flight_there() -> None:
    accounting = InflightAccounting()
    accounting.book("r", "a:1", prefill_tokens=10, context_tokens=10, now=0.0)

    accounting.forget("a:1")
    held = accounting.load("a:1", now=0.0).inflight_requests
    accounting.release("r", "a:1", tpot_s=None)
    accounting.forget("a:1")

    assert held == 1
    assert accounting.load("a:1", now=0.0) == IDLE


def test_the_rate_of_dispatches_decays_likewise() -> None:
    accounting = InflightAccounting()
    for number in range(30):
        accounting.book(f"r{number}", "a:1", prefill_tokens=0, context_tokens=0, now=0.0)

    assert accounting.load("a:1", now=0.0).dispatches_per_s == pytest.approx(2.0)
    assert accounting.load("a:1", now=15.0).dispatches_per_s == pytest.approx(2.0 / np.e)


def test_what_streams_have_left_shrinks_at_the_recent_pace_and_never_below_nothing() -> None:
    accounting = InflightAccounting()
    for name, tokens in (("first", 100.0), ("second", 300.0), ("unknown", None)):
        accounting.book(
            name, "a:1", prefill_tokens=0, context_tokens=0, output_tokens=tokens, now=0.0
        )
    accounting.book("done", "a:1", prefill_tokens=0, context_tokens=0, now=0.0)
    accounting.release("done", "a:1", tpot_s=0.1)

    before = accounting.load("a:1", now=1.0).remaining_output_tokens
    for name, ttft_s in (("first", 1.0), ("second", 2.0), ("unknown", 9.0)):
        accounting.first_token(name, "a:1", ttft_s=ttft_s)

    assert before is None
    assert accounting.load("a:1", now=6.5).remaining_output_tokens == pytest.approx(150.0)
    assert accounting.load("a:1", now=600.0).remaining_output_tokens == 0.0


def test_the_row_of_an_endpoint_that_left_is_given_to_another_clean() -> None:
    table = EndpointTable()
    accounting = InflightAccounting(table)
    table.see(EndpointState(endpoint="old:1", url="", running_requests=9.0, scraped_s=1.0))
    table.trust(table.row("old:1"), 0.2)
    accounting.book("r", "old:1", prefill_tokens=10, context_tokens=10, now=0.0)
    accounting.release("r", "old:1", tpot_s=0.1)
    freed = table.row("old:1")

    accounting.forget("old:1")
    names = [f"{number}:1" for number in range(40)]
    rows = np.array([table.row(name) for name in names])

    assert freed in rows
    assert len(set(rows)) == len(names)
    assert table.turns[rows].tolist() == [0.0] * len(names)
    assert table.effectiveness(rows).tolist() == [1.0] * len(names)
    assert np.isnan(table.scraped_s(rows)).all()
    np.testing.assert_array_equal(from_table(table, 5.0), from_snapshots(InflightAccounting(), 5.0))


def test_recent_means_move_as_far_with_two_writers_as_with_one() -> None:
    lone, two = InflightAccounting(), (InflightAccounting(), InflightAccounting())
    rows: list[bookings.Sums] = [bookings.NOTHING, bookings.NOTHING]

    for number in range(400):
        now, name = number * 0.1, f"r{number}"
        ttft_s = 0.1 if number < 390 else 0.4
        writer = number % 3 == 0
        for one in (lone, two[writer]):
            one.book(name, "a:1", prefill_tokens=1, context_tokens=1, now=now)
            one.first_token(name, "a:1", ttft_s=ttft_s)
            one.release(name, "a:1", tpot_s=None)
        rows[writer] = _sums(two[writer]._accounts["a:1"])
        for one, others in zip(two, reversed(rows), strict=True):
            one.hear("a:1", bookings.Bookings(*others), now)

    both = bookings.Bookings(*bookings.added(*rows))
    expected = lone.load("a:1", 40.0).recent_ttft_s
    assert expected == pytest.approx(0.37, abs=0.01)
    assert both.recent_ttft_s == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("idle_s", [600.0, 1e9])
def test_a_writer_that_was_busy_long_ago_is_none_now(idle_s: float) -> None:
    accounting = InflightAccounting()
    busy = bookings.Bookings(rated_s=0.0, dispatches_per_s=5.0, recent_ttft_s=0.1)
    for number in range(30):
        now, name = idle_s + number * 5.0, f"r{number}"
        accounting.hear("a:1", busy, now)
        accounting.book(name, "a:1", prefill_tokens=1, context_tokens=1, now=now)
        accounting.first_token(name, "a:1", ttft_s=0.9 if number == 29 else 0.1)
        accounting.release(name, "a:1", tpot_s=None)

    assert accounting.load("a:1", idle_s).recent_ttft_s == pytest.approx(0.26, abs=0.001)
