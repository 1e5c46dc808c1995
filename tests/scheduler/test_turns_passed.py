"""A request that is first elsewhere is waited for, but not for long, and nobody who is gone."""

import pytest

from scheduler import Dispatch, SchedulerSettings, TierSettings
from scheduler.turns import PATIENCE_S
from scheduler.words import First, Served
from tests.scheduler.known_physics import MODEL, endpoint, request
from tests.scheduler.pair import FULL, LEFT, Pair
from tests.scheduler.tiered import TIERED


def late_after(first: str) -> Pair:
    """Let one wait at the second for the only seat, and a later one at the first."""
    pair = Pair(FULL)
    pair.occupied()
    pair.waits(1, first, 0.0)
    pair.waits(0, "late", 1.0)
    pair.look(1, 1.1)
    pair.look(0, 1.1)
    return pair


def test_who_does_not_take_what_is_free_is_passed_over() -> None:
    pair = late_after("stuck")
    pair.freed(2.0)

    at_first = pair.look(0, 2.0)
    then = pair.look(0, 2.0 + PATIENCE_S)
    pair.freed(2.2, "late")
    comes = pair.one.route(request("comes", arrived_s=2.2), now=2.2)

    assert (at_first, then) == ([], ["late"])
    assert isinstance(comes, Dispatch)  # nor does anybody wait behind it


def test_patience_begins_when_something_is_free() -> None:
    pair = Pair(FULL)
    pair.occupied()
    pair.waits(1, "early", 0.0)
    pair.waits(0, "late", 1.0)
    pair.look(1, 1.1)
    for now in (1.1, 1.5, 2.0):
        assert pair.look(0, now) == []

    pair.freed(3.0)

    assert pair.look(0, 3.0) == []
    assert pair.look(1, 3.0) == ["early"]


def test_one_that_is_gone_holds_nobody_up() -> None:
    pair = late_after("lost")

    pair.one.lost(1)
    pair.freed(2.0)

    assert pair.look(0, 2.0) == ["late"]


def test_who_leaves_the_queue_is_not_waited_for() -> None:
    pair = Pair(FULL)
    pair.occupied()
    pair.waits(1, "leaves", 0.0)
    pair.look(1, 0.1)
    pair.two.finished("leaves", LEFT, now=0.5)

    told = pair.exchange()

    assert told == [First(MODEL, 0)]
    pair.waits(0, "late", 1.0)
    pair.freed(2.0)
    assert pair.look(0, 2.0) == ["late"]


def test_who_is_given_up_is_not_waited_for() -> None:
    hasty = TierSettings(sheddable=True, max_wait_s=1.0)
    settings = SchedulerSettings(tiers={"hasty": hasty}, default_tier="hasty")
    pair = Pair(FULL, settings=settings)
    pair.occupied()
    pair.waits(1, "given up")
    pair.look(1, 0.995)

    pair.look(1, 1.0)  # sooner than it may look for a seat again

    pair.waits(0, "late", 1.5)
    pair.freed(2.0)
    assert pair.look(0, 2.0) == ["late"]


def test_one_whose_own_wishes_keep_it_back_holds_up_no_lower_band() -> None:
    down, up = endpoint("a:1", up=False), endpoint("b:1")
    pair = Pair(down, up, settings=TIERED)
    pair.waits(0, "bound", tier="interactive", allowed_endpoints=frozenset({"a:1"}))
    pair.waits(1, "other", tier="interactive", allowed_endpoints=frozenset({"a:1"}))
    pair.look(0, 0.1)
    pair.look(1, 0.1)

    action = pair.one.route(request("batch", tier="batch", arrived_s=0.2), now=0.2)

    assert isinstance(action, Dispatch)


def test_a_higher_band_that_cannot_go_takes_no_patience_from_a_lower_one() -> None:
    full, free = endpoint("a:1", max_seqs=1), endpoint("b:1")
    bound: dict[str, object] = {"tier": "interactive", "allowed_endpoints": frozenset({"a:1"})}
    pair = Pair(full, free, settings=TIERED)
    assert isinstance(pair.one.route(request("busy", **bound), now=0.0), Dispatch)
    pair.waits(0, "bound", **bound)
    pair.waits(1, "there", **bound)
    pair.waits(1, "stuck", tier="standard", allowed_endpoints=frozenset({"a:1"}))
    pair.look(1, 0.1)
    pair.waits(0, "free", tier="standard", now=0.2)

    gone = [name for step in range(20) for name in pair.look(0, 0.3 + step * 0.02)]

    assert gone == ["free"]


def test_one_that_takes_nothing_is_not_waited_for_at_each_seat() -> None:
    pair = Pair(FULL)
    pair.occupied()
    pair.waits(1, "stuck", 0.0)
    pair.look(1, 0.1)
    for number in range(3):
        pair.waits(0, f"r{number}", 1.0)
    pair.look(0, 1.1)

    pair.freed(2.0)
    first = pair.look(0, 2.0), pair.look(0, 2.0 + PATIENCE_S)
    pair.one.heard(1, First(MODEL, 0, 0.5, 10.0), 2.2)  # it pays for what others served
    pair.one.heard(1, Served(MODEL, 0, "t", 0.5, 1.0, False, None), 2.2)  # it is passed there
    pair.freed(2.25, "r0")
    second = pair.look(0, 2.25)
    pair.one.heard(1, Served(MODEL, 0, None, 0.5, 1.0, True, None), 2.3)
    pair.freed(2.35, "r1")
    third = pair.look(0, 2.35)

    assert first == ([], ["r0"])
    assert second == ["r1"]
    assert third == []  # it takes what is its again, and is waited for


def test_that_nobody_waits_is_told_although_letting_the_last_one_go_failed() -> None:
    pair = Pair(FULL)
    pair.occupied()
    pair.waits(0, "last")
    pair.look(0, 0.1)
    pair.freed(1.0)

    def carry_out() -> None:
        for _ in pair.one.tick(1.0):
            raise ConnectionError

    with pytest.raises(ConnectionError):
        carry_out()

    assert [type(word) for word in pair.exchange()] == [Served, First]
    pair.waits(1, "next", 1.0)
    pair.one.finished("last", LEFT, now=2.0)
    assert pair.look(1, 2.0) == ["next"]


def test_one_that_cannot_go_holds_nobody_up_for_long_although_others_there_do() -> None:
    pair = Pair(endpoint("a:1", max_seqs=1), endpoint("b:1", max_seqs=2))
    bound = frozenset({"a:1"})
    busy = request("busy", allowed_endpoints=bound)
    assert isinstance(pair.two.route(busy, now=0.0), Dispatch)
    for name in ("b0", "b1"):
        pair.occupied(name)
    pair.waits(1, "stuck", allowed_endpoints=bound, tenant="stuck")
    for number in range(30):
        pair.waits(1, f"there{number}", 0.1, tenant="there")
    pair.waits(0, "here", 0.1, tenant="here")
    for number in (0, 1):
        pair.look(number, 0.15)
    running, went = [("b0", 0), ("b1", 0)], []

    for step in range(60):
        now = 0.2 + step * 0.02
        if step % 3 == 0 and running:
            name, number = running.pop(0)
            pair.freed(now, name, number)
        for number in (0, 1):
            gone = pair.look(number, now)
            running += [(name, number) for name in gone]
            went += gone

    assert "here" in went[:10]
