"""Requests that wait at several schedulers go in one order, as far as it can be known."""

import math
import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from predictor.types import Measurement
from scheduler import Dispatch, SchedulerSettings, Wait
from scheduler.flow_control import FlowControl
from scheduler.live import LiveRequest
from scheduler.objectives import Held
from scheduler.turns import PATIENCE_S
from scheduler.words import First, Served
from tests.scheduler.known_physics import MODEL, Nobody, endpoint, make_peer, request
from tests.scheduler.pair import FULL, Pair
from tests.scheduler.tiered import DONE, TIERED

LONG = Measurement(outcome="completed", prompt_tokens=100_000, output_tokens=11)


def test_a_free_seat_goes_to_whom_it_would_if_all_waited_in_one_place() -> None:
    pair = Pair(FULL)
    pair.occupied()
    pair.waits(0, "f1", tenant="flood")
    pair.waits(0, "f2", tenant="flood")
    pair.waits(1, "q1", 1.0, tenant="quiet")
    assert pair.look(0, 1.1) == pair.look(1, 1.1) == []

    pair.freed(2.0)
    first = pair.look(0, 2.0)
    pair.freed(3.0, first[0])
    second_here, second_there = pair.look(0, 3.0), pair.look(1, 3.0)
    pair.freed(4.0, "q1", number=1)
    third = pair.look(0, 4.0)

    assert first == ["f1"]
    assert (second_here, second_there) == ([], ["q1"])  # flood has had its turn
    assert third == ["f2"]


def test_of_one_tenant_the_earliest_deadline_goes_first_wherever_it_waits() -> None:
    pair = Pair(FULL)
    pair.occupied()
    pair.waits(1, "early", 0.0, tenant="t")
    pair.waits(0, "late", 1.0, tenant="t")
    pair.look(0, 1.1)
    pair.look(1, 1.1)

    pair.freed(2.0)

    assert pair.look(0, 2.0) == []
    assert pair.look(1, 2.0) == ["early"]


def test_a_higher_priority_elsewhere_goes_first() -> None:
    pair = Pair(FULL, settings=TIERED)
    pair.occupied()
    pair.waits(0, "batch", tier="batch")
    pair.look(0, 0.1)
    pair.two.route(request("urgent", tier="interactive", arrived_s=0.2), now=0.2)
    waits_there = pair.two.waiting_requests
    pair.look(1, 0.3)

    pair.freed(1.0)

    assert waits_there == 1
    assert pair.look(0, 1.0) == []
    assert pair.look(1, 1.0) == ["urgent"]


def test_who_comes_is_behind_those_that_wait_elsewhere() -> None:
    pair = Pair(FULL)
    pair.occupied()
    pair.waits(1, "waits")
    pair.look(1, 0.1)
    pair.freed(1.0)

    action = pair.one.route(request("comes", arrived_s=1.0), now=1.0)

    assert isinstance(action, Wait)
    assert action.reason == "behind_others"
    assert pair.look(1, 1.0) == ["waits"]


def test_a_turn_after_a_long_wait_is_that_of_all() -> None:
    pair = Pair(endpoint("a:1"), settings=TIERED)
    for name in ("p0", "p1", "p2", "p3"):
        action = pair.one.route(request(name, tier="interactive"), now=0.0)
        assert isinstance(action, Dispatch)
    pair.exchange()
    for number in (0, 1):
        pair.waits(number, f"b{number}", tier="batch")

    first, second = pair.look(0, 5.0), pair.look(1, 5.0)
    later = pair.look(1, 10.0)

    assert (first, second, later) == (["b0"], [], ["b1"])


def test_nobody_tells_of_turns_while_nobody_waits() -> None:
    pair = Pair(endpoint("a:1"))
    pair.one.route(request("r"), now=0.0)
    pair.one.finished("r", DONE, now=1.0)

    assert list(pair.one.tick(1.0)) == []
    assert pair.exchange() == []


def test_what_was_served_is_told_with_its_cost() -> None:
    pair = Pair(FULL)
    pair.occupied()
    pair.waits(0, "r", tenant="t")
    pair.freed(1.0)

    list(pair.one.tick(1.0))

    (served,) = [word for word in pair.exchange() if isinstance(word, Served)]
    assert (served.fleet, served.priority, served.tenant, served.start_s) == (MODEL, 0, "t", 0.0)
    assert served.cost_s > 0.0
    assert served.after_long is None


def test_of_several_seats_whoever_has_its_turn_takes_all_and_then_the_other() -> None:
    pair = Pair(endpoint("a:1", max_seqs=4))
    for number in range(4):
        pair.occupied(f"busy{number}")
    for number in range(8):
        pair.waits(0, f"f{number}", tenant="flood")
        pair.waits(1, f"q{number}", 1.0, tenant="quiet")
    pair.look(0, 1.1)
    pair.look(1, 1.1)

    for number in range(4):
        pair.freed(2.0, f"busy{number}")
    first, other = pair.look(0, 2.0), pair.look(1, 2.0)
    for name in first:
        pair.freed(3.0, name)
    then = pair.look(0, 3.0), pair.look(1, 3.0)

    assert (first, other) == (["f0", "f1", "f2", "f3"], [])
    assert then == ([], ["q0", "q1", "q2", "q3"])


def test_a_tenant_that_comes_later_is_not_before_those_that_wait_elsewhere() -> None:
    pair = Pair(FULL)
    pair.occupied()
    for number in range(12):
        pair.waits(1, f"t{number}", tenant="there")
    last, number = "busy", 0
    for step in range(6):
        pair.freed(1.0 + 0.2 * step, last, number)
        (last,) = pair.look(1, 1.0 + 0.2 * step)
        number = 1
    for name in ("new", "newer"):
        pair.waits(0, name, 2.5, tenant="new")
    pair.look(0, 2.6)
    order = []
    for step in range(4):
        now = 3.0 + 0.5 * step
        pair.freed(now, last, number)
        here, there = pair.look(0, now), pair.look(1, now)
        (last,) = here + there or pair.look(0, now + PATIENCE_S)
        number = 0 if last.startswith("new") else 1
        order.append(last)

    assert sorted(order) == ["new", "newer", "t6", "t7"]


def test_whoever_comes_hears_who_is_first() -> None:
    pair = Pair(FULL, settings=TIERED)
    pair.occupied()
    pair.waits(0, "waits", tier="batch")
    pair.look(0, 0.1)

    pair.one.joined()

    (first,) = pair.exchange()
    assert isinstance(first, First)
    assert (first.fleet, first.priority, first.start_s) == (MODEL, -10, 0.0)


def test_a_turn_after_a_long_wait_comes_in_spite_of_a_higher_band_elsewhere() -> None:
    pair = Pair(FULL, settings=TIERED)
    pair.occupied()
    pair.waits(0, "batch", tier="batch")
    for number in range(20):
        action = pair.two.route(
            request(f"i{number}", tier="standard", arrived_s=4.0 + number / 10), now=4.0
        )
        assert isinstance(action, Wait)
    pair.look(1, 4.9)

    assert pair.look(0, 4.9) == []
    assert pair.look(0, 5.1) == ["batch"]


def test_a_tenant_that_empties_its_queue_here_has_still_to_pay_for_it() -> None:
    pair = Pair(FULL)
    pair.occupied()
    for number in range(40):
        pair.waits(1, f"q{number}", tenant="many")
    last, at, served = "busy", 0, Counter[str]()
    for step in range(30):
        now = 1.0 + step * 0.12
        if not pair.one.waiting_requests:  # one at a time, and each costs as much as three
            pair.waits(0, f"x{step}", now, tenant="dear", prompt_bytes=400_000)
            pair.look(0, now - 0.01)
        pair.freed(now, last, at, LONG if last.startswith("x") else DONE)
        here, there = pair.look(0, now), pair.look(1, now)
        (last,) = here + there or pair.look(0, now + PATIENCE_S)
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
    pair = Pair(endpoint("a:1", max_seqs=seats))
    running: dict[str, int] = {}
    for number in range(seats):
        pair.occupied(f"busy{number}")
        running[f"busy{number}"] = 0
    waiting = {}
    for number in range(40):
        tenant, where = rng.choice("ab"), rng.randrange(2)
        pair.waits(where, f"{tenant}{number}", tenant=tenant)
        waiting[f"{tenant}{number}"] = where
    served: list[str] = []
    now = 0.0
    while waiting:
        now += 0.02
        assert now < 8.0  # before anybody has waited for as long as it may
        if rng.random() < 0.5 and running:
            name = rng.choice(sorted(running))
            pair.freed(now, name, running.pop(name))
        for number in rng.sample((0, 1), 2):
            for action in pair.both[number].tick(now):
                running[action.request_id] = number
                del waiting[action.request_id]
                served.append(action.request_id)
        if rng.random() < 0.5:
            pair.exchange(now)

    half = Counter(name[0] for name in served[:20])
    fewest = min(Counter(name[0] for name in served).values())
    assert min(half["a"], half["b"]) >= min(fewest, 20 - fewest, 10) - 3 * seats
