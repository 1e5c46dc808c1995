"""Who belongs to the fleet by whose word, who leaves when, and that nothing of them stays."""

import random
from collections.abc import Iterable

import httpx
import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from collectors import EndpointSettings, KvEventFeeds, KvEventSettings, Scraper, ScrapeSettings
from foretoken.errors import EndpointRefused
from foretoken.membership import Membership, Objection, no_objection
from predictor.types import EndpointState, Measurement
from proxy import Upstream
from proxy.settings import UpstreamSettings
from scheduler import Dispatch, Scheduler, SchedulerSettings
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

LEAVE_S = 100.0


class _NoPages:
    async def read(self, base_url: str, api_key: str | None = None) -> bytes:
        raise NotImplementedError

    def forget(self, base_url: str) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Keep nothing."""


class _NoCounts:
    def __getattr__(self, _: str) -> object:
        return lambda *_: None


def settings_of(name: str, **values: object) -> EndpointSettings:
    return EndpointSettings.model_validate({"url": f"http://{name}", **values})


class Bench:
    """Hold a membership with everything real behind it but the endpoints."""

    def __init__(
        self,
        *listed: str,
        sources: Iterable[str] = ("file", "dns"),
        objection: Objection = no_objection,
    ) -> None:
        self.now = 1000.0
        self.requests = 0
        self.counted: list[tuple[str, int]] = []
        self.scheduler: Scheduler = make_scheduler(
            KnownPhysics(), [], SchedulerSettings(flow_control=False)
        )
        endpoints = [settings_of(name) for name in listed]
        counts = _NoCounts()
        self.scraper = Scraper(
            endpoints,
            ScrapeSettings(),
            client=httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(404))),
            pages=_NoPages(),
            clock=lambda: self.now,
            on_states=self.scheduler.update,
            counts=counts,  # type: ignore[arg-type]  # answers to every name
        )
        self.upstream = Upstream(UpstreamSettings())
        self.feeds = KvEventFeeds(
            endpoints,
            KvEventSettings(),
            listener=self.scheduler.caches,
            counts=counts,  # type: ignore[arg-type]  # as above
        )
        self.membership = Membership(
            endpoints,
            sources=sources,
            counted=lambda source, count: self.counted.append((source, count)),
            scraper=self.scraper,
            feeds=self.feeds,
            upstream=self.upstream,
            guard=None,
            bookings=self.scheduler,
            clock=lambda: self.now,
            leave_s=LEAVE_S,
            objection=objection,
        )
        self.membership.begin()
        self.scheduler.update(self.scraper.states)
        self.all_up()

    def all_up(self) -> None:
        self.scraper.adopt(
            [endpoint(state.endpoint, scraped_s=self.now) for state in self.scraper.states]
        )

    def found(self, source: str, *names: str) -> None:
        self.membership.found(source, [settings_of(name) for name in names])
        self.all_up()

    def send(self) -> Dispatch:
        self.requests += 1
        name = str(self.requests)
        action = self.scheduler.route(request(name, arrived_s=self.now), self.now)
        assert isinstance(action, Dispatch)
        return action

    def end(self, request_id: str) -> None:
        self.scheduler.finished(request_id, Measurement(outcome="completed"), self.now)

    @property
    def states(self) -> dict[str, EndpointState]:
        return dict(self.scheduler.states)


def test_the_first_who_names_an_endpoint_says_how_it_is() -> None:
    bench = Bench("a:1")
    other = settings_of("a:1", hardware="l4")
    bench.membership.found("dns", [other, settings_of("b:1", hardware="dns")])
    bench.membership.found("file", [other, settings_of("b:1", hardware="file")])

    hardware = {name: state.hardware for name, state in bench.states.items()}
    bench.found("file")
    without_file = {name: state.hardware for name, state in bench.states.items()}

    assert hardware == {"a:1": None, "b:1": "file"}
    assert without_file == {"a:1": None, "b:1": "dns"}
    assert bench.counted == [("dns", 2), ("file", 2), ("file", 0)]


def test_one_that_leaves_idle_is_forgotten_at_once() -> None:
    bench = Bench("a:1")
    bench.found("file", "b:1")

    bench.found("file")

    assert list(bench.states) == ["a:1"]
    assert bench.upstream.endpoints == 1


def test_one_that_leaves_busy_drains_and_is_forgotten_when_done() -> None:
    bench = Bench()
    bench.found("file", "a:1")
    sent = bench.send()

    bench.found("file", "b:1")

    assert bench.membership.leaving == {"a:1"}
    assert bench.states["a:1"].draining
    assert {bench.send().endpoint for _ in range(5)} == {"b:1"}
    bench.membership.look(bench.now)
    assert "a:1" in bench.states
    bench.end(sent.request_id)
    bench.membership.look(bench.now)
    assert list(bench.states) == ["b:1"]
    assert not bench.membership.leaving


def test_it_is_forgotten_in_time_though_its_requests_go_on() -> None:
    bench = Bench("b:1")
    bench.found("file", "a:1")
    bench.found("file", "a:1")
    sent = next(one for one in iter(bench.send, None) if one.endpoint == "a:1")
    bench.found("file")

    bench.membership.look(bench.now + LEAVE_S - 1)
    kept = "a:1" in bench.states
    bench.membership.look(bench.now + LEAVE_S)

    assert kept
    assert "a:1" not in bench.states
    bench.end(sent.request_id)


def test_one_that_comes_back_meanwhile_gets_requests_again() -> None:
    bench = Bench()
    bench.found("file", "a:1")
    bench.send()
    bench.found("file")

    bench.found("dns", "a:1")

    assert not bench.membership.leaving
    assert not bench.states["a:1"].draining
    assert bench.send().endpoint == "a:1"


def test_one_that_was_drained_by_hand_stays_drained() -> None:
    bench = Bench("b:1")
    bench.found("file", "a:1")
    next(one for one in iter(bench.send, None) if one.endpoint == "a:1")
    bench.membership.drain("a:1", draining=True)
    bench.found("file")

    bench.found("file", "a:1")

    assert bench.states["a:1"].draining


def test_what_the_control_api_removed_stays_away_until_others_say_something_new() -> None:
    bench = Bench("b:1")
    bench.found("file", "a:1")

    bench.membership.remove("a:1")
    bench.found("file", "a:1")
    still_away = list(bench.states)
    bench.membership.found("file", [settings_of("a:1", hardware="l4")])

    assert still_away == ["b:1"]
    assert list(bench.states) == ["b:1", "a:1"]


def test_what_the_control_api_removed_can_be_added_again() -> None:
    bench = Bench("a:1", "b:1")
    bench.membership.remove("a:1")

    bench.membership.add(settings_of("a:1"))

    assert set(bench.states) == {"a:1", "b:1"}


def test_what_was_added_stays_whatever_the_file_says() -> None:
    bench = Bench("a:1")
    bench.membership.add(settings_of("x:1"))

    bench.membership.listed([settings_of("b:1")])

    assert set(bench.states) == {"b:1", "x:1"}


def test_an_endpoint_that_cannot_be_served_is_left_out_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench("a:1", objection=lambda one: "no" if one.name.startswith("bad") else None)

    bench.found("file", "bad:1", "b:1")
    bench.found("file", "bad:1", "c:1")

    assert set(bench.states) == {"a:1", "c:1"}
    assert [one.message for one in caplog.records].count("endpoint_refused") == 1
    with pytest.raises(EndpointRefused, match="no"):
        bench.membership.add(settings_of("bad:1"))


def test_a_server_under_other_settings_keeps_what_is_known_of_it() -> None:
    bench = Bench()
    bench.found("file", "a:1")

    bench.membership.found("file", [settings_of("a:1", hardware="l4")])

    state = bench.states["a:1"]
    assert (state.up, state.hardware) == (True, "l4")


NAMES = ("a:1", "b:1", "c:1", "d:1")


class Flapping(RuleBasedStateMachine):
    """Endpoints come and go in any order; nothing of those that left stays behind."""

    @initialize()
    def begin(self) -> None:
        self.bench = Bench("static:1")
        self.rng = random.Random(1)
        self.inflight: dict[str, str] = {}

    @rule(source=st.sampled_from(["file", "dns"]), names=st.sets(st.sampled_from(NAMES)))
    def found(self, source: str, names: set[str]) -> None:
        self.bench.found(source, *sorted(names))

    @rule(name=st.sampled_from(NAMES))
    def removed(self, name: str) -> None:
        self.bench.membership.remove(name)

    @rule(name=st.sampled_from(NAMES))
    def added(self, name: str) -> None:
        self.bench.membership.add(settings_of(name))
        self.bench.all_up()

    @rule(count=st.integers(1, 6))
    def sent(self, count: int) -> None:
        for _ in range(count):
            action = self.bench.send()
            assert action.endpoint in self.bench.membership.present
            self.inflight[action.request_id] = action.endpoint

    @precondition(lambda self: self.inflight)
    @rule(data=st.data())
    def ended(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.inflight)))
        del self.inflight[name]
        self.bench.end(name)
        self.bench.membership.look(self.bench.now)

    @rule(seconds=st.sampled_from([0.5, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.bench.now += seconds
        self.bench.membership.look(self.bench.now)
        self.bench.all_up()

    @invariant()
    def everyone_known_belongs_or_leaves(self) -> None:
        known = set(self.bench.states)
        assert known == {*self.bench.membership.present, *self.bench.membership.leaving}
        assert all(self.bench.states[name].draining for name in self.bench.membership.leaving)
        assert self.bench.membership.leaving <= set(self.inflight.values())

    @invariant()
    def what_is_kept_is_bounded_by_what_is_there(self) -> None:
        bench, scheduler = self.bench, self.bench.scheduler
        there = set(bench.states) | set(self.inflight.values())
        assert set(scheduler._table._row_of) <= there
        assert set(scheduler._accounting._accounts) <= there
        assert bench.upstream.endpoints <= len(there)
        assert set(bench.feeds._wanted) <= there
        for fleet in scheduler.fleets.values():
            assert set(fleet.warm_up._known_s) <= there

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        bench = self.bench
        for name in list(self.inflight):
            bench.end(name)
        for source in ("file", "dns"):
            bench.found(source)
        for name in NAMES:
            bench.membership.remove(name)
        bench.membership.look(bench.now)

        assert bench.scheduler.inflight_requests == 0
        assert list(bench.states) == ["static:1"]
        assert set(bench.scheduler._accounting._accounts) <= {"static:1"}
        assert bench.upstream.endpoints == 1


TestFlapping = Flapping.TestCase
TestFlapping.settings = hypothesis_settings(max_examples=15, stateful_step_count=20, deadline=None)
