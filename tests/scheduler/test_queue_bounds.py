"""What the queue holds is bounded, shared between tenants, and ends by its deadline."""

import pytest

from scheduler import (
    Dispatch,
    SchedulerSettings,
    Shed,
    TierSettings,
    Wait,
)
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request
from tests.scheduler.tiered import DONE, TIERED, dispatched


def test_a_full_queue_refuses_who_may_be_refused_and_lets_others_queue_at_an_endpoint() -> None:
    settings = SchedulerSettings(max_waiting_requests=1)
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=1)], settings)
    dispatched(scheduler, "one", tier="standard")
    scheduler.route(request("waits", tier="standard"), now=0.0)

    bulk = scheduler.route(request("bulk", tier="batch"), now=0.0)
    other = scheduler.route(request("other", tier="standard"), now=0.0)

    assert isinstance(bulk, Shed)
    assert (bulk.reason, bulk.retry_after_s) == ("queue_full", pytest.approx(1.0, abs=60.0))
    assert isinstance(other, Dispatch)


def test_bytes_bound_the_queue_too() -> None:
    settings = SchedulerSettings(max_waiting_bytes=10_000)
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)], settings)

    actions = [scheduler.route(request(f"r{i}", prompt_bytes=4000), now=0.0) for i in range(3)]

    assert [type(action) for action in actions] == [Wait, Wait, Shed]


def test_one_tenant_takes_up_no_more_than_its_share_of_the_queue() -> None:
    settings = SchedulerSettings(max_waiting_requests=4)
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)], settings)

    greedy = [scheduler.route(request(f"g{i}", tenant="g"), now=0.0) for i in range(3)]
    modest = scheduler.route(request("m", tenant="m"), now=0.0)
    unnamed = scheduler.route(request("u"), now=0.0)

    assert [type(action) for action in greedy] == [Wait, Wait, Shed]
    assert isinstance(greedy[2], Shed)
    assert greedy[2].reason == "tenant_queue_full"
    assert isinstance(modest, Wait)
    assert isinstance(unnamed, Wait)


def test_a_tenant_above_its_share_is_refused_and_not_served_sooner_whatever_its_tier() -> None:
    settings = SchedulerSettings(max_waiting_requests=4)
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=1)], settings)
    dispatched(scheduler, "one", tier="standard")

    flood = [
        scheduler.route(request(f"f{i}", tier="standard", tenant="flood"), now=0.0)
        for i in range(2)
    ]
    others = [scheduler.route(request(f"o{i}", tier="standard"), now=0.0) for i in range(2)]
    more = scheduler.route(request("more", tier="standard", tenant="flood"), now=0.0)

    assert [type(action) for action in flood + others] == [Wait] * 4
    assert isinstance(more, Shed)
    assert more.reason == "tenant_queue_full"


def test_one_bound_to_a_down_endpoint_holds_up_nobody_and_goes_once_it_is_back() -> None:
    down = [endpoint("a:1", up=False), endpoint("b:1", up=False)]
    scheduler = make_scheduler(KnownPhysics(), down, TIERED)
    bound = {"tier": "batch", "allowed_endpoints": frozenset({"b:1"})}
    for tenant in (None, "t", "u", "v", "w", "x"):
        scheduler.route(request(f"bound-{tenant}", tenant=tenant, **bound), now=0.0)
    for tenant in (None, "y"):
        scheduler.route(request(f"free-{tenant}", tenant=tenant, tier="batch"), now=0.1)

    scheduler.update([endpoint("a:1"), endpoint("b:1", up=False)])
    ticks = [action.request_id for now in (0.5, 0.6) for action in scheduler.tick(now)]
    scheduler.update([endpoint("a:1"), endpoint("b:1")])
    later = {action.request_id for now in (0.7, 0.8) for action in scheduler.tick(now)}

    assert sorted(ticks) == ["free-None", "free-y"]
    assert later == {f"bound-{tenant}" for tenant in (None, "t", "u", "v", "w", "x")}


def test_tenants_leave_the_queue_in_turn() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)])
    for number in range(4):
        scheduler.route(request(f"g{number}", tenant="g"), now=0.0)
    scheduler.route(request("m0", tenant="m"), now=0.1)
    scheduler.update([endpoint("a:1")])

    order = [action.request_id for action in scheduler.tick(now=1.0)]

    assert order.index("m0") <= 1


def test_a_tenant_pays_for_what_goes_at_the_end_of_its_wait() -> None:
    tiers = {"short": TierSettings(max_wait_s=1.0), "long": TierSettings(max_wait_s=60.0)}
    settings = SchedulerSettings(tiers=tiers, default_tier="long")
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=1)], settings)
    dispatched(scheduler, "one", tier="long")
    for name, tier, tenant in (("g0", "short", "g"), ("g1", "long", "g"), ("m0", "long", "m")):
        scheduler.route(request(name, tier=tier, tenant=tenant), now=0.0)
    (overdue,) = scheduler.tick(now=1.0)
    for name in ("one", "g0"):
        scheduler.finished(name, DONE, now=1.5)

    (action,) = scheduler.tick(now=2.0)

    assert overdue.request_id == "g0"
    assert action.request_id == "m0"


@pytest.mark.parametrize("priority", [-(10**12), 10**12])
def test_huge_priorities_are_bands_like_others(priority: int) -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)])
    scheduler.route(request("usual"), now=0.0)
    scheduler.route(request("odd", priority=priority), now=0.1)
    scheduler.update([endpoint("a:1")])

    order = [action.request_id for action in scheduler.tick(now=1.0)]

    assert order == (["odd", "usual"] if priority > 0 else ["usual", "odd"])


def test_priorities_of_clients_neither_outrank_a_tier_nor_pile_up() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)], TIERED)
    scheduler.route(request("person", tier="interactive"), now=0.0)
    for number in range(50):
        asked = request(f"b{number}", tier="batch", priority=10 * number)
        scheduler.route(asked, now=0.0)
    bands = scheduler._queue._lobbies["m"].bands
    most = len(bands)
    scheduler.update([endpoint("a:1")])

    first, *_ = scheduler.tick(now=1.0)

    assert most == 3  # the person's, batch's own and its most urgent
    assert first.request_id == "person"
