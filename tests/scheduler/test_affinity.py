"""Conversations and adapters go back to where they were, all else equal."""

import pytest

from predictor.types import EndpointState, Measurement, Objective
from scheduler import Dispatch, Scheduler, SchedulerSettings
from scheduler.adapters import Adapters
from scheduler.sessions import Sessions
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

NAMES = tuple(f"e{i}:1" for i in range(8))


def fleet(*states: EndpointState, **settings: object) -> Scheduler:
    given = states or tuple(endpoint(name) for name in NAMES)
    return make_scheduler(KnownPhysics(), given, SchedulerSettings.model_validate(settings))


class Talks:
    """Requests that come one after the other and are served at once."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.count = 0

    def send(self, *, now: float = 0.0, **asked: object) -> Dispatch:
        self.count += 1
        action = self.scheduler.route(request(f"r{self.count}", **asked), now)
        assert isinstance(action, Dispatch)
        self.scheduler.finished(f"r{self.count}", Measurement(outcome="client_gone"), now)
        return action


def test_among_equals_a_conversation_goes_back_to_its_endpoint() -> None:
    talks = Talks(fleet())

    where = [{talks.send(session_id=f"s{i % 5}").endpoint for _ in range(4)} for i in range(5)]

    assert all(len(of_one) == 1 for of_one in where)


def test_switched_off_it_counts_for_nothing() -> None:
    talks = Talks(fleet(session="off"))

    assert len({talks.send(session_id="s").endpoint for _ in range(20)}) > 1


def test_a_preference_yields_to_seconds() -> None:
    scheduler = fleet()
    talks = Talks(scheduler)
    home = talks.send(session_id="s").endpoint
    for i in range(5):
        scheduler.route(request(f"busy{i}", allowed_endpoints=frozenset({home})), now=0.0)

    moved = talks.send(session_id="s")

    assert moved.endpoint != home
    assert moved.decision.reason == "predicted"


@pytest.mark.parametrize("policy", ["predicted_latency", "least_request", "round_robin"])
def test_strict_keeps_a_conversation_whatever_the_policy_and_the_load(policy: str) -> None:
    scheduler = fleet(session="strict", policy=policy)
    talks = Talks(scheduler)
    home = talks.send(session_id="s").endpoint
    for i in range(5):
        scheduler.route(request(f"busy{i}", allowed_endpoints=frozenset({home})), now=0.0)

    kept = talks.send(session_id="s").decision

    assert (kept.endpoint, kept.reason) == (home, "session")
    assert sorted(kept.order) == list(range(len(NAMES)))
    assert kept.order[0] == kept.chosen


def test_the_odds_told_of_a_strict_session_are_those_of_its_endpoint() -> None:
    scheduler = fleet(session="strict")
    talks = Talks(scheduler)
    home = talks.send(session_id="s").endpoint
    for i in range(5):
        scheduler.route(request(f"busy{i}", allowed_endpoints=frozenset({home})), now=0.0)

    asked = request("again", session_id="s", objective=Objective(tpot_s=0.03))
    action = scheduler.route(asked, now=0.0)

    assert isinstance(action, Dispatch)
    assert (action.endpoint, action.decision.likely) == (home, 0.0)


def test_strict_lets_go_while_its_endpoint_cannot_take_requests() -> None:
    scheduler = fleet(session="strict")
    talks = Talks(scheduler)
    home = talks.send(session_id="s").endpoint

    scheduler.update([endpoint(name, draining=name == home) for name in NAMES])
    moved = talks.send(session_id="s").decision

    assert moved.endpoint != home
    assert moved.reason == "predicted"
    assert talks.send(session_id="s").endpoint == moved.endpoint


def test_a_session_is_forgotten_with_its_endpoint() -> None:
    sessions = Sessions()
    sessions.sent("m", "s", "a:1")
    sessions.forget("a:1")
    sessions.sent("m", "other", "a:1")

    assert sessions.endpoint("m", "s") is None
    assert sessions.endpoint("m", "other") == "a:1"


def test_sessions_of_two_models_are_two() -> None:
    sessions = Sessions()
    sessions.sent("m", "s", "a:1")

    assert sessions.endpoint("n", "s") is None


def test_the_longest_silent_sessions_go_first() -> None:
    sessions = Sessions(most=3)
    for session in ("one", "two", "three", "one", "four"):
        sessions.sent("m", session, "a:1")

    assert len(sessions) == 3
    known = [name for name in ("one", "two", "three", "four") if sessions.endpoint("m", name)]
    assert known == ["one", "three", "four"]


def lora(name: str, *, slots: int = 2, active: tuple[str, ...] = ()) -> EndpointState:
    return endpoint(name, adapters=("x", "y", "z"), max_adapters=slots, active_adapters=active)


def test_among_equals_an_endpoint_with_the_adapter_is_chosen() -> None:
    states = [lora(name, active=("x",) if name == "e5:1" else ()) for name in NAMES]

    chosen = {Talks(fleet(*states)).send(model="x").endpoint for _ in range(3)}

    assert chosen == {"e5:1"}


def test_what_was_sent_there_counts_as_many_as_fit() -> None:
    adapters = Adapters()
    adapters.see(lora("a:1"))

    for name in ("x", "y", "x", "z"):
        adapters.sent(name, "a:1")

    assert [adapters.holds(name, "a:1") for name in ("x", "y", "z")] == [True, False, True]


def test_names_of_an_endpoint_that_loads_no_adapters_are_aliases() -> None:
    states = [endpoint(name, adapters=("alias",)) for name in NAMES]
    talks = Talks(fleet(*states))

    assert len({talks.send(model="alias").endpoint for _ in range(30)}) > 3


def test_only_endpoints_that_know_the_adapter_are_asked_for_it() -> None:
    scheduler = fleet(endpoint("a:1"), endpoint("b:1", adapters=("x",)), endpoint("c:1"))
    talks = Talks(scheduler)

    with_adapter = {talks.send(model="x").endpoint for _ in range(10)}
    scheduler.update([endpoint("a:1", adapters=("x",)), endpoint("b:1"), endpoint("c:1")])
    moved = {talks.send(model="x").endpoint for _ in range(10)}
    base = {talks.send().endpoint for _ in range(40)}

    assert (with_adapter, moved) == ({"b:1"}, {"a:1"})
    assert base == {"a:1", "b:1", "c:1"}
