"""Where a request may go: the remembered members follow every change that matters."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from predictor import OutputLengths
from predictor.types import EndpointState
from scheduler import Fleet, SchedulerSettings, build_policy
from scheduler.eligibility import Eligibility
from scheduler.endpoint_table import EndpointTable, Members
from scheduler.live import LiveRequest
from scheduler.settings import TierSettings
from scheduler.suspects import Suspects
from tests.scheduler.known_physics import MODEL, KnownPhysics, endpoint, request

NAMES = ("a:1", "b:1", "c:1")


class World:
    """An eligibility with its surroundings, as the scheduler keeps them."""

    def __init__(self, *states: EndpointState) -> None:
        self.table = EndpointTable()
        self.suspects = Suspects(backoff_s=1.0)
        self.eligibility = Eligibility(table=self.table, suspects=self.suspects, stale_after_s=2.0)
        self.tell(*states)

    def tell(self, *states: EndpointState) -> None:
        for state in states:
            self.table.see(state)
        self.eligibility.update({state.endpoint: state for state in states})

    def names(self, *, now: float = 1.0, **asked: object) -> tuple[str, ...]:
        return self.members(now=now, **asked).names

    def members(self, *, now: float = 1.0, **asked: object) -> Members:
        tried = asked.pop("tried", set())
        policy = build_policy(SchedulerSettings().policy)
        fleet = Fleet(
            model=MODEL,
            policy=policy,
            fallback=policy,
            predictor=KnownPhysics(),
            output_lengths=OutputLengths(),
        )
        live = LiveRequest(request=request(**asked), tier=TierSettings(), fleet=fleet)  # type: ignore[arg-type]  # test shorthand
        live.tried |= tried  # type: ignore[arg-type]  # likewise
        return self.eligibility.eligible(live, now)


def test_only_what_is_up_not_draining_and_serves_the_model() -> None:
    world = World(
        endpoint("a:1"),
        endpoint("b:1", up=False),
        endpoint("c:1", draining=True),
        endpoint("d:1", model="other"),
        endpoint("e:1"),
    )

    assert world.names() == ("a:1", "e:1")


def test_a_change_of_standing_shows_at_once_and_a_scrape_changes_nothing() -> None:
    states = [endpoint(name) for name in NAMES]
    world = World(*states)

    before = world.names()
    world.tell(replace(states[0], running_requests=5.0), *states[1:])
    scraped = world.names()
    world.tell(states[0], replace(states[1], draining=True), states[2])
    drained = world.names()
    world.tell(states[2], states[0])
    left = world.names()

    assert (before, scraped) == (NAMES, NAMES)
    assert drained == ("a:1", "c:1")
    assert left == ("c:1", "a:1")


def test_a_changed_hardware_label_is_passed_on() -> None:
    world = World(endpoint("a:1"))
    world.names()

    world.tell(endpoint("a:1", hardware="h100_sxm/llama-3.1-8b"))

    assert world.members().hardware == ("h100_sxm/llama-3.1-8b",)


def test_stale_endpoints_only_where_no_other_is_left() -> None:
    world = World(endpoint("a:1", scraped_s=0.0), endpoint("b:1", scraped_s=9.0))

    assert world.names(now=1.0) == ("a:1", "b:1")
    assert world.names(now=3.0) == ("b:1",)
    assert world.names(now=20.0) == ("a:1", "b:1")


def test_an_endpoint_never_scraped_is_not_stale() -> None:
    assert World(endpoint("a:1", scraped_s=None)).names(now=1e9) == ("a:1",)


def test_excluded_and_tried_endpoints_are_left_out() -> None:
    world = World(*(endpoint(name) for name in NAMES))

    assert world.names(allowed_endpoints=frozenset(("b:1", "x:1"))) == ("b:1",)
    assert world.names(tried={"a:1", "b:1"}) == ("c:1",)
    assert world.names(tried=set(NAMES)) == ()


def test_suspects_come_last_and_the_unreachable_never() -> None:
    world = World(*(endpoint(name) for name in NAMES))
    world.suspects.erred("a:1", now=1.0)
    world.suspects.failed("b:1", now=1.0)

    assert world.names(now=1.5) == ("c:1",)
    assert world.names(now=1.5, tried={"c:1"}) == ("a:1",)
    assert world.names(now=1.5, tried={"a:1", "c:1"}) == ()
    assert world.names(now=2.5) == NAMES


@given(st.lists(st.lists(st.sampled_from(NAMES), unique=True), max_size=6))
def test_the_order_is_that_of_the_last_update(updates: list[list[str]]) -> None:
    world = World()

    for names in updates:
        world.tell(*(endpoint(name) for name in names))
        assert world.names() == tuple(names)


def test_a_suspect_is_avoided_even_where_nobody_has_been_scraped_for_long() -> None:
    world = World(*(endpoint(name) for name in NAMES))
    world.suspects.erred("a:1", now=60.0)

    assert world.names(now=60.5) == ("b:1", "c:1")
    assert world.names(now=60.5, allowed_endpoints=frozenset({"a:1"})) == ("a:1",)
