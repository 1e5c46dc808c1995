"""Requests that wait at several schedulers go in one order, as far as it can be known."""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.types import EndpointState, Measurement
from scheduler import Dispatch, SchedulerSettings, TierSettings, Wait
from scheduler.bookings import Bookings, Sums
from scheduler.flow_control import FlowControl
from scheduler.live import LiveRequest
from scheduler.objectives import Held
from scheduler.turns import PATIENCE_S
from scheduler.words import First, Queued, Served, Word
from tests.scheduler.known_physics import MODEL, Nobody, endpoint, make_peer, request
from tests.scheduler.tiered import DONE, TIERED

LEFT = Measurement(outcome="client_cancelled")
LONG = Measurement(outcome="completed", prompt_tokens=100_000, output_tokens=11)
FULL = endpoint("a:1", max_seqs=1)


class Shared:
    """Give each of several schedulers the rows of the others, as two of them need it."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Bookings]] = defaultdict(dict)
        self.told: list[tuple[int, Word | Queued]] = []


class Link:
    def __init__(self, shared: Shared, number: int) -> None:
        self._shared, self._number = shared, number

    def follow(self, endpoints: Iterable[str]) -> None: ...

    def booked(self, endpoint: str, sums: Sums) -> None:
        self._shared.rows[self._number][endpoint] = Bookings(*sums)

    def changed(self, now: float, *, at_once: bool = False) -> list[tuple[str, Bookings]]:
        return list(self._shared.rows[1 - self._number].items())

    def tell(self, word: Word | Queued) -> None:
        self._shared.told.append((self._number, word))


class Two:
    """Two schedulers that keep one order, told of it when :meth:`deliver` is called."""

    def __init__(
        self, states: Sequence[EndpointState], settings: SchedulerSettings | None = None
    ) -> None:
        self.shared = Shared()
        links = [Link(self.shared, number) for number in (0, 1)]
        self.both = tuple(make_peer(link, states, settings, order=link.tell) for link in links)

    def deliver(self, now: float = 0.0) -> list[Queued]:
        told, self.shared.told = self.shared.told, []
        for number, word in told:
            self.both[1 - number].heard(number, word, now)
        return [word for _, word in told if isinstance(word, First | Served)]

    def waits(self, number: int, name: str, now: float = 0.0, **changes: object) -> None:
        action = self.both[number].route(request(name, arrived_s=now, **changes), now=now)
        assert isinstance(action, Wait)

    def look(self, number: int, now: float) -> list[str]:
        """Let one of them look, and the other hear of it; give whom it has sent."""
        gone = [action for action in self.both[number].tick(now) if isinstance(action, Dispatch)]
        self.deliver(now)
        return [action.request_id for action in gone]


def occupied(two: Two, name: str = "busy") -> None:
    """Let the one seat there is be taken by a request of the first."""
    assert isinstance(two.both[0].route(request(name), now=0.0), Dispatch)


def freed(
    two: Two, now: float, name: str = "busy", number: int = 0, done: Measurement = DONE
) -> None:
    two.both[number].finished(name, done, now=now)


def test_a_free_seat_goes_to_whom_it_would_if_all_waited_in_one_place() -> None:
    two = Two([FULL])
    occupied(two)
    two.waits(0, "f1", tenant="flood")
    two.waits(0, "f2", tenant="flood")
    two.waits(1, "q1", 1.0, tenant="quiet")
    assert two.look(0, 1.1) == two.look(1, 1.1) == []

    freed(two, 2.0)
    first = two.look(0, 2.0)
    freed(two, 3.0, first[0])
    second_here, second_there = two.look(0, 3.0), two.look(1, 3.0)
    freed(two, 4.0, "q1", number=1)
    third = two.look(0, 4.0)

    assert first == ["f1"]
    assert (second_here, second_there) == ([], ["q1"])  # flood has had its turn
    assert third == ["f2"]


def test_of_one_tenant_the_earliest_deadline_goes_first_wherever_it_waits() -> None:
    two = Two([FULL])
    occupied(two)
    two.waits(1, "early", 0.0, tenant="t")
    two.waits(0, "late", 1.0, tenant="t")
    two.look(0, 1.1)
    two.look(1, 1.1)

    freed(two, 2.0)

    assert two.look(0, 2.0) == []
    assert two.look(1, 2.0) == ["early"]


def test_a_higher_priority_elsewhere_goes_first() -> None:
    two = Two([FULL], TIERED)
    occupied(two)
    two.waits(0, "batch", tier="batch")
    two.look(0, 0.1)
    two.both[1].route(request("urgent", tier="interactive", arrived_s=0.2), now=0.2)
    waits_there = two.both[1].waiting_requests
    two.look(1, 0.3)

    freed(two, 1.0)

    assert waits_there == 1
    assert two.look(0, 1.0) == []
    assert two.look(1, 1.0) == ["urgent"]


def test_who_comes_is_behind_those_that_wait_elsewhere() -> None:
    two = Two([FULL])
    occupied(two)
    two.waits(1, "waits")
    two.look(1, 0.1)
    freed(two, 1.0)

    action = two.both[0].route(request("comes", arrived_s=1.0), now=1.0)

    assert isinstance(action, Wait)
    assert action.reason == "behind_others"
    assert two.look(1, 1.0) == ["waits"]


def test_who_does_not_take_what_is_free_is_passed_over() -> None:
    two = Two([FULL])
    occupied(two)
    two.waits(1, "stuck", 0.0)
    two.waits(0, "late", 1.0)
    two.look(1, 1.1)
    two.look(0, 1.1)
    freed(two, 2.0)

    at_first = two.look(0, 2.0)
    then = two.look(0, 2.0 + PATIENCE_S)
    freed(two, 2.2, "late")
    comes = two.both[0].route(request("comes", arrived_s=2.2), now=2.2)

    assert (at_first, then) == ([], ["late"])
    assert isinstance(comes, Dispatch)  # nor does anybody wait behind it


def test_patience_begins_when_something_is_free() -> None:
    two = Two([FULL])
    occupied(two)
    two.waits(1, "early", 0.0)
    two.waits(0, "late", 1.0)
    two.look(1, 1.1)
    for now in (1.1, 1.5, 2.0):
        assert two.look(0, now) == []

    freed(two, 3.0)

    assert two.look(0, 3.0) == []
    assert two.look(1, 3.0) == ["early"]


def test_one_that_is_gone_holds_nobody_up() -> None:
    two = Two([FULL])
    occupied(two)
    two.waits(1, "lost", 0.0)
    two.waits(0, "late", 1.0)
    two.look(1, 1.1)
    two.look(0, 1.1)

    two.both[0].lost(1)
    freed(two, 2.0)

    assert two.look(0, 2.0) == ["late"]


def test_who_leaves_the_queue_is_not_waited_for() -> None:
    two = Two([FULL])
    occupied(two)
    two.waits(1, "leaves", 0.0)
    two.look(1, 0.1)
    two.both[1].finished("leaves", LEFT, now=0.5)

    told = two.deliver()

    assert told == [First(MODEL, 0)]
    two.waits(0, "late", 1.0)
    freed(two, 2.0)
    assert two.look(0, 2.0) == ["late"]


def test_who_is_given_up_is_not_waited_for() -> None:
    hasty = TierSettings(sheddable=True, max_wait_s=1.0)
    two = Two([FULL], SchedulerSettings(tiers={"hasty": hasty}, default_tier="hasty"))
    occupied(two)
    two.waits(1, "given up")
    two.look(1, 0.995)

    two.look(1, 1.0)  # sooner than it may look for a seat again

    two.waits(0, "late", 1.5)
    freed(two, 2.0)
    assert two.look(0, 2.0) == ["late"]


def test_a_turn_after_a_long_wait_is_that_of_all() -> None:
    two = Two([endpoint("a:1")], TIERED)
    for name in ("p0", "p1", "p2", "p3"):
        action = two.both[0].route(request(name, tier="interactive"), now=0.0)
        assert isinstance(action, Dispatch)
    two.deliver()
    for number in (0, 1):
        two.waits(number, f"b{number}", tier="batch")

    first, second = two.look(0, 5.0), two.look(1, 5.0)
    later = two.look(1, 10.0)

    assert (first, second, later) == (["b0"], [], ["b1"])


def test_one_whose_own_wishes_keep_it_back_holds_up_no_lower_band() -> None:
    down, up = endpoint("a:1", up=False), endpoint("b:1")
    two = Two([down, up], TIERED)
    two.waits(0, "bound", tier="interactive", allowed_endpoints=frozenset({"a:1"}))
    two.waits(1, "other", tier="interactive", allowed_endpoints=frozenset({"a:1"}))
    two.look(0, 0.1)
    two.look(1, 0.1)

    action = two.both[0].route(request("batch", tier="batch", arrived_s=0.2), now=0.2)

    assert isinstance(action, Dispatch)


def test_nobody_tells_of_turns_while_nobody_waits() -> None:
    two = Two([endpoint("a:1")])
    two.both[0].route(request("r"), now=0.0)
    two.both[0].finished("r", DONE, now=1.0)

    assert list(two.both[0].tick(1.0)) == []
    assert two.deliver() == []


def test_what_was_served_is_told_with_its_cost() -> None:
    two = Two([FULL])
    occupied(two)
    two.waits(0, "r", tenant="t")
    freed(two, 1.0)

    list(two.both[0].tick(1.0))

    (served,) = [word for word in two.deliver() if isinstance(word, Served)]
    assert (served.fleet, served.priority, served.tenant, served.start_s) == (MODEL, 0, "t", 0.0)
    assert served.cost_s > 0.0
    assert served.after_long is None


def test_of_several_seats_whoever_has_its_turn_takes_all_and_then_the_other() -> None:
    two = Two([endpoint("a:1", max_seqs=4)])
    for number in range(4):
        occupied(two, f"busy{number}")
    for number in range(8):
        two.waits(0, f"f{number}", tenant="flood")
        two.waits(1, f"q{number}", 1.0, tenant="quiet")
    two.look(0, 1.1)
    two.look(1, 1.1)

    for number in range(4):
        freed(two, 2.0, f"busy{number}")
    first, other = two.look(0, 2.0), two.look(1, 2.0)
    for name in first:
        freed(two, 3.0, name)
    then = two.look(0, 3.0), two.look(1, 3.0)

    assert (first, other) == (["f0", "f1", "f2", "f3"], [])
    assert then == ([], ["q0", "q1", "q2", "q3"])


def test_a_tenant_that_comes_later_is_not_before_those_that_wait_elsewhere() -> None:
    two = Two([FULL])
    occupied(two)
    for number in range(12):
        two.waits(1, f"t{number}", tenant="there")
    last, number = "busy", 0
    for step in range(6):
        freed(two, 1.0 + 0.2 * step, last, number)
        (last,) = two.look(1, 1.0 + 0.2 * step)
        number = 1
    for name in ("new", "newer"):
        two.waits(0, name, 2.5, tenant="new")
    two.look(0, 2.6)
    order = []
    for step in range(4):
        now = 3.0 + 0.5 * step
        freed(two, now, last, number)
        here, there = two.look(0, now), two.look(1, now)
        (last,) = here + there or two.look(0, now + PATIENCE_S)
        number = 0 if last.startswith("new") else 1
        order.append(last)

    assert sorted(order) == ["new", "newer", "t6", "t7"]


def test_a_higher_band_that_cannot_go_takes_no_patience_from_a_lower_one() -> None:
    full, free = endpoint("a:1", max_seqs=1), endpoint("b:1")
    bound: dict[str, object] = {"tier": "interactive", "allowed_endpoints": frozenset({"a:1"})}
    two = Two([full, free], TIERED)
    assert isinstance(two.both[0].route(request("busy", **bound), now=0.0), Dispatch)
    two.waits(0, "bound", **bound)
    two.waits(1, "there", **bound)
    two.waits(1, "stuck", tier="standard", allowed_endpoints=frozenset({"a:1"}))
    two.look(1, 0.1)
    two.waits(0, "free", tier="standard", now=0.2)

    gone = [name for step in range(20) for name in two.look(0, 0.3 + step * 0.02)]

    assert gone == ["free"]


def test_one_that_takes_nothing_is_not_waited_for_at_each_seat() -> None:
    two = Two([FULL])
    occupied(two)
    two.waits(1, "stuck", 0.0)
    two.look(1, 0.1)
    for number in range(3):
        two.waits(0, f"r{number}", 1.0)
    two.look(0, 1.1)

    freed(two, 2.0)
    first = two.look(0, 2.0), two.look(0, 2.0 + PATIENCE_S)
    two.both[0].heard(1, First(MODEL, 0, 0.5, 10.0), 2.2)  # it pays for what others served
    two.both[0].heard(1, Served(MODEL, 0, "t", 0.5, 1.0, False, None), 2.2)  # it is passed there
    freed(two, 2.25, "r0")
    second = two.look(0, 2.25)
    two.both[0].heard(1, Served(MODEL, 0, None, 0.5, 1.0, True, None), 2.3)
    freed(two, 2.35, "r1")
    third = two.look(0, 2.35)

    assert first == ([], ["r0"])
    assert second == ["r1"]
    assert third == []  # it takes what is its again, and is waited for


def test_whoever_comes_hears_who_is_first() -> None:
    two = Two([FULL], TIERED)
    occupied(two)
    two.waits(0, "waits", tier="batch")
    two.look(0, 0.1)

    two.both[0].joined()

    (first,) = two.deliver()
    assert isinstance(first, First)
    assert (first.fleet, first.priority, first.start_s) == (MODEL, -10, 0.0)


def test_that_nobody_waits_is_told_although_letting_the_last_one_go_failed() -> None:
    two = Two([FULL])
    occupied(two)
    two.waits(0, "last")
    two.look(0, 0.1)
    freed(two, 1.0)

    def carry_out() -> None:
        for _ in two.both[0].tick(1.0):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        carry_out()

    assert [type(word) for word in two.deliver()] == [Served, First]
    two.waits(1, "next", 1.0)
    two.both[0].finished("last", LEFT, now=2.0)
    assert two.look(1, 2.0) == ["next"]


def test_one_that_cannot_go_holds_nobody_up_for_long_although_others_there_do() -> None:
    two = Two([endpoint("a:1", max_seqs=1), endpoint("b:1", max_seqs=2)])
    bound = frozenset({"a:1"})
    busy = request("busy", allowed_endpoints=bound)
    assert isinstance(two.both[1].route(busy, now=0.0), Dispatch)
    for name in ("b0", "b1"):
        occupied(two, name)
    two.waits(1, "stuck", allowed_endpoints=bound, tenant="stuck")
    for number in range(30):
        two.waits(1, f"there{number}", 0.1, tenant="there")
    two.waits(0, "here", 0.1, tenant="here")
    for number in (0, 1):
        two.look(number, 0.15)
    running, went = [("b0", 0), ("b1", 0)], []

    for step in range(60):
        now = 0.2 + step * 0.02
        if step % 3 == 0 and running:
            name, number = running.pop(0)
            freed(two, now, name, number)
        for number in (0, 1):
            gone = two.look(number, now)
            running += [(name, number) for name in gone]
            went += gone

    assert "here" in went[:10]


def test_a_turn_after_a_long_wait_comes_in_spite_of_a_higher_band_elsewhere() -> None:
    two = Two([FULL], TIERED)
    occupied(two)
    two.waits(0, "batch", tier="batch")
    for number in range(20):
        action = two.both[1].route(
            request(f"i{number}", tier="standard", arrived_s=4.0 + number / 10), now=4.0
        )
        assert isinstance(action, Wait)
    two.look(1, 4.9)

    assert two.look(0, 4.9) == []
    assert two.look(0, 5.1) == ["batch"]


def test_a_tenant_that_empties_its_queue_here_has_still_to_pay_for_it() -> None:
    two = Two([FULL])
    occupied(two)
    for number in range(40):
        two.waits(1, f"q{number}", tenant="many")
    last, at, served = "busy", 0, Counter[str]()
    for step in range(30):
        now = 1.0 + step * 0.12
        if not two.both[0].waiting_requests:  # one at a time, and each costs as much as three
            two.waits(0, f"x{step}", now, tenant="dear", prompt_bytes=400_000)
            two.look(0, now - 0.01)
        freed(two, now, last, at, LONG if last.startswith("x") else DONE)
        here, there = two.look(0, now), two.look(1, now)
        (last,) = here + there or two.look(0, now + PATIENCE_S)
        at = 0 if last.startswith("x") else 1
        served[last[0]] += 1

    assert 5 <= served["x"] <= 11


def test_predictions_that_are_no_numbers_let_requests_wait_all_the_same() -> None:
    entered = []
    for tpot_s in (math.nan, math.inf, 1e300, 0.05):
        control = FlowControl(SchedulerSettings())
        scheduler = make_peer(Nobody(), [FULL])
        live = LiveRequest(
            request=request("r"),
            tier=scheduler.settings.tiers["standard"],
            fleet=scheduler.fleets[MODEL],
        )
        held = Held(reason="endpoints_full", prefill_token_s=1e-4, tpot_s=tpot_s)
        entered.append(control.enter(live, held, 0.0))

    assert [type(each) for each in entered] == [Wait] * 4


@given(st.integers(2, 4), st.integers(0, 2**32))
def test_whatever_is_told_late_everybody_goes_and_no_tenant_is_left_behind(
    seats: int, seed: int
) -> None:
    rng = random.Random(seed)
    two = Two([endpoint("a:1", max_seqs=seats)])
    running: dict[str, int] = {}
    for number in range(seats):
        occupied(two, f"busy{number}")
        running[f"busy{number}"] = 0
    waiting = {}
    for number in range(40):
        tenant, where = rng.choice("ab"), rng.randrange(2)
        two.waits(where, f"{tenant}{number}", tenant=tenant)
        waiting[f"{tenant}{number}"] = where
    served: list[str] = []
    now = 0.0
    while waiting:
        now += 0.02
        assert now < 8.0  # before anybody has waited for as long as it may
        if rng.random() < 0.5 and running:
            name = rng.choice(sorted(running))
            freed(two, now, name, running.pop(name))
        for number in rng.sample((0, 1), 2):
            for action in two.both[number].tick(now):
                running[action.request_id] = number
                del waiting[action.request_id]
                served.append(action.request_id)
        if rng.random() < 0.5:
            two.deliver(now)

    half = Counter(name[0] for name in served[:20])
    fewest = min(Counter(name[0] for name in served).values())
    assert min(half["a"], half["b"]) >= min(fewest, 20 - fewest, 10) - 3 * seats
