"""Who waits, who goes, who is refused: objectives, tiers and the queue."""

import random
from collections import Counter

import pytest

from predictor.types import Objective
from scheduler import (
    Dispatch,
    SchedulerSettings,
    Shed,
    TierSettings,
    Wait,
)
from scheduler.flow_control import FlowControl
from scheduler.live import LiveRequest, record_unplaced
from scheduler.objectives import Held
from scheduler.settings import PlainPolicySettings
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request
from tests.scheduler.tiered import DONE, TIERED, TIERS, dispatched


def test_batch_waits_where_it_would_break_what_others_were_promised() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")], TIERED)
    dispatched(scheduler, "p0", "p1", "p2", "p3", tier="interactive")

    waits = scheduler.route(request("bulk", tier="batch"), now=0.0)

    assert isinstance(waits, Wait)
    assert (waits.reason, waits.deadline_s) == ("objectives_at_risk", 60.0)


def test_those_that_wait_can_be_listed() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")], TIERED)
    dispatched(scheduler, "p0", "p1", "p2", "p3", tier="interactive")
    scheduler.route(request("bulk", tier="batch"), now=0.0)

    (one,) = scheduler.standing()

    assert (one.tier, one.reason, one.since_s) == ("batch", "objectives_at_risk", 0.0)


def test_it_goes_once_the_others_have_ended() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")], TIERED)
    dispatched(scheduler, "p0", "p1", "p2", "p3", tier="interactive")
    scheduler.route(request("bulk", tier="batch"), now=0.0)
    held = list(scheduler.tick(now=0.5))
    for name in ("p0", "p1", "p2", "p3"):
        scheduler.first_token(name, now=0.6)
        scheduler.finished(name, DONE, now=1.0)

    (action,) = scheduler.tick(now=1.5)

    assert held == []
    assert isinstance(action, Dispatch)
    record = scheduler.finished("bulk", DONE, now=2.0)
    assert (record.waited_for, record.queued_s) == ("objectives_at_risk", pytest.approx(1.5))


def test_nobody_waits_while_nothing_is_promised_and_nothing_full() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])

    actions = [scheduler.route(request(f"r{i}", tier="batch"), now=0.0) for i in range(50)]

    assert all(isinstance(action, Dispatch) for action in actions)


def test_without_flow_control_nobody_waits_for_others() -> None:
    off = TIERED.model_copy(update={"flow_control": False})
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=2)], off)
    dispatched(scheduler, *(f"p{i}" for i in range(6)), tier="interactive")

    dispatched(scheduler, "bulk", tier="batch")


def test_who_has_an_objective_spares_those_that_would_miss_theirs() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1"), endpoint("b:1")], TIERED)
    people = dispatched(scheduler, "p0", "p1", "p2", "p3", "p4", "p5", tier="interactive")
    assert Counter(one.endpoint for one in people) == {"a:1": 3, "b:1": 3}
    scheduler.finished("p0", DONE, now=0.1)  # room for one more person at its endpoint
    crowded = "b:1" if people[0].endpoint == "a:1" else "a:1"
    for one in people[1:]:
        if one.endpoint == crowded:
            scheduler.finished(one.request_id, DONE, now=0.1)
    third = dispatched(scheduler, "s", tier="standard", now=0.2)

    assert third[0].endpoint == crowded  # where no person is left to be slowed


@pytest.mark.parametrize(
    ("headroom", "endpoint_name"), [("lowest", "idle:1"), ("most", "idle:1"), ("least", "busy:1")]
)
def test_headroom_decides_among_feasible_endpoints(headroom: str, endpoint_name: str) -> None:
    tiers = {"t": TierSettings(ttft_s=2.0, tpot_s=0.1, headroom=headroom)}  # type: ignore[arg-type]  # parametrised
    scheduler = make_scheduler(
        KnownPhysics(),
        [endpoint("idle:1"), endpoint("busy:1")],
        SchedulerSettings(tiers=tiers, default_tier="t"),
    )
    only = frozenset({"busy:1"})
    for number in range(3):
        scheduler.route(request(f"r{number}", allowed_endpoints=only), now=0.0)

    action = scheduler.route(request("next"), now=0.0)

    assert isinstance(action, Dispatch)
    assert (action.endpoint, action.decision.reason) == (endpoint_name, "objective_met")


def test_an_impossible_objective_is_refused_or_served_as_well_as_can_be_by_tier() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")], TIERED)
    impossible = Objective(ttft_s=0.001)

    person = scheduler.route(request("p", tier="interactive", objective=impossible), now=0.0)
    bulk = scheduler.route(request("b", tier="batch", objective=impossible), now=0.0)

    assert isinstance(person, Dispatch)
    assert person.decision.reason == "objective_unmet"
    assert isinstance(bulk, Shed)
    assert (bulk.reason, bulk.record.refused) == ("objective_infeasible", "objective_infeasible")
    assert bulk.retry_after_s is not None


def test_where_all_are_full_the_more_urgent_one_goes_first() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=2)])
    dispatched(scheduler, "one", "two", tier="standard")
    waits = [
        scheduler.route(request("later", tier="standard"), now=0.1),
        scheduler.route(request("person", tier="interactive"), now=0.2),
    ]
    scheduler.finished("one", DONE, now=1.0)

    (action,) = scheduler.tick(now=1.0)

    assert [wait.reason for wait in waits if isinstance(wait, Wait)] == ["endpoints_full"] * 2
    assert action.request_id == "person"


def test_nobody_overtakes_those_of_its_own_priority_that_wait() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=1)])
    dispatched(scheduler, "one", tier="standard")
    scheduler.route(request("first", tier="standard"), now=0.1)
    scheduler.finished("one", DONE, now=0.2)

    second = scheduler.route(request("second", tier="standard"), now=0.2)
    (action,) = scheduler.tick(now=0.3)

    assert isinstance(second, Wait)
    assert second.reason == "behind_others"
    assert action.request_id == "first"


def test_those_that_waited_for_an_endpoint_come_a_few_at_a_time() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)])
    for number in range(100):
        scheduler.route(request(f"r{number}"), now=0.0)
    scheduler.update([endpoint("a:1")])

    released = list(scheduler.tick(now=1.0))

    assert 1 <= len(released) <= 10
    assert scheduler.waiting_requests == 100 - len(released)


@pytest.mark.parametrize(("flow_control", "released"), [(True, 6), (False, 12)])
def test_heuristics_hold_back_those_that_waited_only_with_flow_control(
    flow_control: bool, released: int
) -> None:
    settings = SchedulerSettings(
        flow_control=flow_control, policy=PlainPolicySettings(kind="lmetric")
    )
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", up=False)], settings)
    for number in range(12):
        scheduler.route(request(f"r{number}"), now=0.0)
    scheduler.update([endpoint("a:1")])

    assert len(list(scheduler.tick(now=0.5))) == released  # of 0.1 s each, up to 0.5 s queued


def test_a_cold_fleet_is_not_stormed_either() -> None:
    scheduler = make_scheduler(KnownPhysics(layer="cold"), [endpoint("a:1", up=False)])
    for number in range(100):
        scheduler.route(request(f"r{number}"), now=0.0)
    scheduler.update([endpoint("a:1")])

    assert 1 <= len(list(scheduler.tick(now=1.0))) <= 10


def test_a_lower_band_has_a_turn_after_a_while_whatever_is_at_risk() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")], TIERED)
    dispatched(scheduler, "p0", "p1", "p2", "p3", tier="interactive")
    for name in ("b0", "b1"):
        scheduler.route(request(name, tier="batch"), now=0.0)

    turns = {now: [one.request_id for one in scheduler.tick(now)] for now in (4.9, 5.0, 9.9, 10.0)}

    assert turns == {4.9: [], 5.0: ["b0"], 9.9: [], 10.0: ["b1"]}


def test_priorities_of_their_own_do_not_give_a_tier_more_turns() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")], TIERED)
    dispatched(scheduler, "p0", "p1", "p2", "p3", tier="interactive")
    for own in (-2, -1, 0, 1, 2):
        scheduler.route(request(f"b{own}", tier="batch", priority=own), now=0.0)

    turns = {now: [one.request_id for one in scheduler.tick(now)] for now in (5.0, 9.9, 10.0)}

    assert turns == {5.0: ["b2"], 9.9: [], 10.0: ["b1"]}


def test_who_waited_as_long_as_it_may_is_refused_or_served_by_tier() -> None:
    tiers = TIERS | {"batch": TierSettings(priority=-10, sheddable=True, max_wait_s=3.0)}
    scheduler = make_scheduler(
        KnownPhysics(),
        [endpoint("a:1", max_seqs=1)],
        SchedulerSettings(tiers=tiers, max_wait_s=4.0),
    )
    dispatched(scheduler, "one", tier="standard")
    scheduler.route(request("bulk", tier="batch"), now=0.0)
    scheduler.route(request("other", tier="standard"), now=0.0)

    actions = [action for now in (2.9, 3.0, 4.0) for action in scheduler.tick(now)]

    assert [type(action) for action in actions] == [Shed, Dispatch]
    shed = actions[0]
    assert isinstance(shed, Shed)
    assert (shed.request_id, shed.reason) == ("bulk", "queue_timeout")
    assert shed.record.queued_s == pytest.approx(3.0)
    assert shed.record.waited_for == "endpoints_full"


def test_one_that_could_not_be_given_up_is_given_up_a_second_later() -> None:
    control = FlowControl(SchedulerSettings(max_wait_s=4.0))
    asked = request("r")
    fleet = make_scheduler(KnownPhysics(), [endpoint("a:1")]).fleets["m"]
    live = LiveRequest(request=asked, tier=TierSettings(), fleet=fleet)
    control.enter(live, Held(reason="endpoints_full"), 0.0)
    shed = Shed(record=record_unplaced(asked, 4.0), reason="queue_timeout", retry_after_s=1.0)
    answers: list[Held] = []

    def attempt(_live: LiveRequest, _now: float, _placing: str) -> Held:
        return answers.pop()  # IndexError while there is none

    with pytest.raises(IndexError):
        list(control.release(4.0, attempt, lambda *_: shed))
    answers.append(Held(reason="endpoints_full"))

    assert list(control.release(5.0, attempt, lambda *_: shed)) == [shed]
    assert len(control) == 0


def test_an_end_told_late_with_an_old_clock_still_ends_the_request() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")], TIERED)
    dispatched(scheduler, "old", tier="interactive")
    scheduler.first_token("old", now=0.2)
    dispatched(scheduler, "new", tier="interactive", now=12_000.0)

    scheduler.finished("old", DONE, now=1.0)

    assert scheduler.inflight_requests == 1


def test_all_draining_is_waited_out_and_no_endpoint_at_all_refused() -> None:
    draining = make_scheduler(KnownPhysics(), [endpoint("a:1", draining=True)])
    unknown = make_scheduler(KnownPhysics(), [endpoint("a:1", model=None)])

    waits = draining.route(request(), now=0.0)
    refused = unknown.route(request(), now=0.0)

    assert isinstance(waits, Wait)
    assert waits.reason == "no_endpoint"
    assert isinstance(refused, Shed)
    assert (refused.reason, refused.record.refused) == ("no_endpoint", "no_endpoint")


def test_a_preview_says_nothing_of_who_would_wait() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=1)])
    before = scheduler.preview(request("r"), now=0.0)
    dispatched(scheduler, "one", tier="standard")

    assert before is not None
    assert scheduler.preview(request("r"), now=0.0) is None
    assert scheduler.waiting_requests == 0


def test_a_busy_queue_keeps_the_order_of_chance_out() -> None:
    """The same events give the same actions, whatever the seed of ties."""
    stories = []
    for seed in (1, 2):
        scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=1)])
        scheduler._decider._rng = random.Random(seed)
        dispatched(scheduler, "one", tier="standard")
        for number in range(5):
            scheduler.route(request(f"r{number}", arrived_s=number * 0.1), now=number * 0.1)
        scheduler.finished("one", DONE, now=1.0)
        stories.append([action.request_id for action in scheduler.tick(now=1.0)])

    assert stories[0] == stories[1] == ["r0"]
