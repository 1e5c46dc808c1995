"""Which broken promises hold others back: those that load answers for."""

from scheduler import Dispatch, Scheduler, SchedulerSettings, TierSettings, Wait
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request
from tests.scheduler.tiered import DONE, TIERED, TIERS, dispatched

# Of one alone KnownPhysics makes a token every 10 ms.
TOO_TIGHT = TIERED.model_copy(
    update={"tiers": {**TIERS, "interactive": TierSettings(priority=10, tpot_s=0.005)}}
)


def broken_one_by_one(scheduler: Scheduler, count: int) -> None:
    """Have one after the other served at 20 ms a token."""
    for number in range(count):
        now = float(number)
        dispatched(scheduler, f"r{number}", tier="interactive", now=now)
        scheduler.first_token(f"r{number}", now=now + 0.1)
        scheduler.finished(f"r{number}", DONE, now=now + 0.3)


def served_together(settings: SchedulerSettings, count: int) -> Scheduler:
    """Have many served at once, of whom each slows the others, and one more be there."""
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")], settings)
    names = [f"r{number}" for number in range(count)]
    dispatched(scheduler, *names, tier="interactive")
    for name in names:
        scheduler.first_token(name, now=0.2)
    for name in names:
        scheduler.finished(name, DONE, now=2.2)  # 200 ms a token
    dispatched(scheduler, "there", tier="interactive", now=2.3)
    return scheduler


def test_batch_does_not_wait_for_promises_that_an_empty_endpoint_breaks_too() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1"), endpoint("b:1")], TOO_TIGHT)
    broken_one_by_one(scheduler, 40)
    dispatched(scheduler, "there", tier="interactive", now=40.0)

    action = scheduler.route(request("bulk", tier="batch", arrived_s=40.0), now=40.0)

    assert isinstance(action, Dispatch)


def test_batch_waits_while_load_breaks_promises() -> None:
    scheduler = served_together(TIERED, 20)

    action = scheduler.route(request("bulk", tier="batch", arrived_s=2.3), now=2.3)

    assert isinstance(action, Wait)
    assert action.reason == "objectives_at_risk"


def test_what_an_empty_endpoint_breaks_too_holds_nobody_back_under_load_either() -> None:
    scheduler = served_together(TOO_TIGHT, 20)

    action = scheduler.route(request("bulk", tier="batch", arrived_s=2.3), now=2.3)

    assert isinstance(action, Dispatch)


def test_a_predictor_that_fails_leaves_the_blame_with_load() -> None:
    physics = KnownPhysics()
    scheduler = make_scheduler(physics, [endpoint("a:1")], TOO_TIGHT)
    dispatched(scheduler, *(f"r{number}" for number in range(20)), tier="interactive")

    physics.broken = True
    for number in range(20):
        scheduler.first_token(f"r{number}", now=0.2)
        scheduler.finished(f"r{number}", DONE, now=2.2)

    assert scheduler.fleets["m"].pressure.above(0, 2.2) > 0.1
