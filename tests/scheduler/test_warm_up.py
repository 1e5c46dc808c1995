"""New endpoints: a growing share at first, never nothing, and everything in the end."""

from collections import Counter

import numpy as np
import pytest

from predictor.types import Measurement
from scheduler import Dispatch, Scheduler, SchedulerSettings
from scheduler.endpoint_table import Members
from scheduler.warm_up import FIRST_RATIO, TRY_EVERY, WarmUp
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

OLD = ("a:1", "b:1")
WARM = SchedulerSettings(warm_up_s=30.0, flow_control=False)


def members(*names: str) -> Members:
    return Members(
        names=names, rows=np.arange(len(names), dtype=np.intp), hardware=(None,) * len(names)
    )


def warm_up(**came_s: float) -> WarmUp:
    made = WarmUp(30.0)
    for name, at_s in came_s.items():
        made.came(name, at_s)
    return made


def test_a_new_endpoint_has_a_growing_share_of_what_the_others_have() -> None:
    made, inflight = warm_up(a=0.0, b=0.0, new=100.0), np.array([40.0, 60.0, 10.0])
    everyone = members("a", "b", "new")

    admitted = {
        age_s: made.admit(everyone, inflight, 100.0 + age_s, kept=None).names
        for age_s in (0.0, 5.0, 7.0, 30.0)
    }

    assert admitted[0.0] == admitted[5.0] == ("a", "b")
    assert admitted[7.0] == admitted[30.0] == ("a", "b", "new")
    assert made.share("new", 100.0) == FIRST_RATIO


def test_it_may_have_one_even_where_the_others_idle() -> None:
    made, everyone = warm_up(a=0.0, new=100.0), members("a", "new")

    assert made.admit(everyone, np.array([0.0, 0.0]), 100.0, kept=None) is everyone
    assert made.admit(everyone, np.array([0.0, 1.0]), 100.0, kept=None).names == ("a",)


def test_its_own_conversations_stay() -> None:
    made, everyone = warm_up(a=0.0, new=100.0), members("a", "new")

    assert made.admit(everyone, np.array([0.0, 9.0]), 100.0, kept="new") is everyone


def test_where_nobody_else_may_take_it_a_new_one_does() -> None:
    made, alone = warm_up(a=0.0, new=100.0), members("new")

    assert made.admit(alone, np.array([9.0]), 100.0, kept=None) is alone


def test_those_that_come_with_the_router_are_not_new() -> None:
    made = warm_up(a=0.0, b=0.3, c=9.0)

    assert made.until_s == -np.inf


def test_off_is_off() -> None:
    made = WarmUp(0.0)
    made.came("a", 0.0)
    made.came("new", 100.0)

    assert made.until_s == -np.inf


def test_one_that_has_left_is_forgotten() -> None:
    made = warm_up(a=0.0, new=100.0)

    made.forget("new")

    assert made.until_s == -np.inf
    assert not made.knows("new")


def scheduler_of(physics: KnownPhysics, settings: SchedulerSettings = WARM) -> Scheduler:
    made = make_scheduler(physics, [endpoint(name) for name in OLD], settings)
    join(made, 100.0)
    return made


def join(scheduler: Scheduler, at_s: float, **changes: object) -> None:
    old = [endpoint(name, scraped_s=at_s) for name in OLD]
    scheduler.update([*old, endpoint("new:1", scraped_s=at_s, **changes)])


def send(scheduler: Scheduler, number: int, now: float) -> str:
    action = scheduler.route(request(str(number), arrived_s=now), now)
    assert isinstance(action, Dispatch)
    return action.endpoint


def test_no_herd_goes_to_a_new_endpoint() -> None:
    first = scheduler_of(KnownPhysics({"new:1": 1e-6}))
    unbounded = scheduler_of(
        KnownPhysics({"new:1": 1e-6}), WARM.model_copy(update={"warm_up_s": 0.0})
    )

    sent = Counter(send(first, number, 100.0) for number in range(30))
    herd = Counter(send(unbounded, number, 100.0) for number in range(30))

    assert sent["new:1"] == 1
    assert herd["new:1"] == 30


def test_one_that_disappoints_is_tried_now_and_then() -> None:
    scheduler = scheduler_of(KnownPhysics({"new:1": 1.0}))
    sent = Counter[str]()
    for number in range(int(10 * TRY_EVERY * 3)):
        sent[send(scheduler, number, 101.0)] += 1
        scheduler.finished(str(number), Measurement(outcome="completed"), 101.1)

    assert 5 <= sent["new:1"] <= 10


def test_one_that_has_begun_anew_is_new() -> None:
    scheduler = scheduler_of(KnownPhysics(), WARM)
    (fleet,) = scheduler.fleets.values()
    join(scheduler, 500.0, prefix_queries_total=90.0)
    assert fleet.warm_up.until_s < 500.0

    join(scheduler, 501.0, prefix_queries_total=3.0)

    assert fleet.warm_up.until_s == 531.0


@pytest.mark.parametrize("role", ["prefill", "encode"])
def test_one_that_does_not_decode_gets_nothing(role: str) -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1"), endpoint("b:1", role=role)], WARM)

    sent = Counter(send(scheduler, number, 0.0) for number in range(6))

    assert sent == {"a:1": 6}
