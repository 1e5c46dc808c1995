"""Bookings end at zero whatever the order of events."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from predictor.types import IDLE
from scheduler.accounting import InflightAccounting

ENDPOINTS = ("a:1", "b:1")


class Bookings(RuleBasedStateMachine):
    """Book, start and release at random; the sums must be those of what is open."""

    def __init__(self) -> None:
        super().__init__()
        self.accounting = InflightAccounting()
        self.open: dict[str, tuple[str, int, bool]] = {}
        self.now = 0.0
        self.count = 0

    @rule(where=st.sampled_from(ENDPOINTS), tokens=st.integers(0, 100_000))
    def book(self, where: str, tokens: int) -> None:
        self.count += 1
        self.now += 0.01
        name = f"r{self.count}"
        self.accounting.book(
            name, where, prefill_tokens=tokens, context_tokens=tokens, now=self.now
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
            self.accounting.release(name, self.open.pop(name)[0], tpot_s=None)

    @invariant()
    def sums_are_those_of_what_is_open(self) -> None:
        for where in ENDPOINTS:
            here = [entry for entry in self.open.values() if entry[0] == where]
            load = self.accounting.load(where, self.now)
            assert load.inflight_requests == len(here)
            assert load.decoding_requests == sum(started for _, _, started in here)
            assert load.queued_prefill_tokens == sum(t for _, t, started in here if not started)
            assert load.context_tokens == sum(t for _, t, started in here if started)

    def teardown(self) -> None:
        for name, (where, _, _) in self.open.items():
            self.accounting.release(name, where, tpot_s=None)
        assert self.accounting.inflight_requests() == 0


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
