"""Ledgers of several kinds of others are one to the scheduler."""

from foretoken.ledgers import Ledgers
from foretoken.routers.rows import RouterRows
from scheduler.bookings import NOTHING, Bookings


def test_others_of_both_kinds_add_up_and_ours_goes_to_both() -> None:
    near, far = RouterRows(), RouterRows()
    ledgers = Ledgers(near, far)
    ledgers.follow(["a:1", "b:1"])

    near.hear("sibling", {"a:1": Bookings(1.0)}, whole=False)
    far.hear("router", {"a:1": Bookings(2.0), "b:1": Bookings(4.0)}, whole=False)
    ledgers.booked("a:1", Bookings(8.0))

    first = {name: sums.inflight_requests for name, sums in ledgers.changed(0.0)}
    near.hear("sibling", {"a:1": NOTHING}, whole=False)
    then = {name: sums.inflight_requests for name, sums in ledgers.changed(0.0)}
    assert first == {"a:1": 3.0, "b:1": 4.0}
    assert then == {"a:1": 2.0}
    assert near.take() == far.take() == {"a:1": Bookings(8.0)}
    assert ledgers.changed(0.0) == ()


def test_who_has_left_is_forgotten() -> None:
    near, far = RouterRows(), RouterRows()
    ledgers = Ledgers(near, far)
    ledgers.follow(["a:1"])
    near.hear("sibling", {"a:1": Bookings(1.0)}, whole=False)
    list(ledgers.changed(0.0))

    ledgers.follow([])
    near.hear("sibling", {}, whole=True)
    ledgers.follow(["a:1"])

    assert {sums.inflight_requests for _, sums in ledgers.changed(0.0)} == {0.0}
