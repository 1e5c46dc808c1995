"""Whose turn it is among those that wait."""

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor.types import RequestFeatures
from scheduler.fair_queue import MOST_GONE, FairQueue, Waiting

NUMBERS = count()


def waiting(
    tenant: str | None = None, *, cost_s: float = 1.0, due_s: float = 10.0, since_s: float = 0.0
) -> Waiting:
    name = f"{tenant}-{next(NUMBERS)}"
    request = RequestFeatures(request_id=name, arrived_s=since_s, model="m", tenant=tenant)
    return Waiting(request=request, since_s=since_s, due_s=due_s, expires_s=due_s, cost_s=cost_s)


def served(queue: FairQueue, number: int) -> list[Waiting]:
    found = []
    for _ in range(number):
        first = queue.turns()[0]
        queue.serve(first)
        found.append(first)
    return found


def test_within_a_tenant_the_earliest_deadline_goes_first() -> None:
    queue = FairQueue()
    late, soon, also_late = waiting(due_s=9.0), waiting(due_s=2.0), waiting(due_s=9.0)
    for one in (late, soon, also_late):
        queue.add(one)

    assert served(queue, 3) == [soon, late, also_late]
    assert len(queue) == 0


def test_tenants_share_predicted_seconds_and_not_requests() -> None:
    queue = FairQueue()
    for _ in range(100):
        queue.add(waiting("long", cost_s=4.0))
        queue.add(waiting("short", cost_s=1.0))

    seconds = {"long": 0.0, "short": 0.0}
    for one in served(queue, 60):
        seconds[str(one.request.tenant)] += one.cost_s

    assert seconds["long"] == pytest.approx(seconds["short"], abs=8.0)


def test_a_tenant_with_much_to_do_delays_another_by_no_more_than_a_turn() -> None:
    queue = FairQueue()
    for _ in range(50):
        queue.add(waiting("greedy"))
    served(queue, 10)
    modest = waiting("modest")
    queue.add(modest)

    assert modest in served(queue, 3)


def test_looking_changes_nothing_and_shows_one_of_each_tenant() -> None:
    queue = FairQueue()
    for tenant in ("a", "a", "b", None):
        queue.add(waiting(tenant))

    first = [one.request_id for one in queue.turns()]
    again = [one.request_id for one in queue.turns()]

    assert first == again
    assert len(first) == 3


def test_who_leaves_is_not_served_and_the_next_is() -> None:
    queue = FairQueue()
    gone, stays = waiting("a", due_s=1.0), waiting("a", due_s=2.0)
    queue.add(gone)
    queue.add(stays)

    queue.remove(gone)

    assert served(queue, 1) == [stays]


def test_who_is_postponed_comes_after_its_tenants_others_until_reinstated() -> None:
    queue = FairQueue()
    stuck, free, other = waiting("a", due_s=1.0), waiting("a", due_s=2.0), waiting("b")
    for one in (stuck, free, other):
        queue.add(one)

    following = queue.postpone(stuck)
    free_first = queue.turns()
    none_left = queue.postpone(free)
    other_first = queue.turns()
    queue.reinstate()

    assert (following, none_left) == (free, None)
    assert free_first == [free, other]
    assert other_first == [other, stuck]
    assert queue.turns() == [other, stuck]
    assert served(queue, 3) == [other, stuck, free]


def test_a_standing_request_does_not_pile_up_those_that_left() -> None:
    queue = FairQueue()
    queue.add(waiting("a", due_s=0.0))

    for _ in range(1000):
        leaves = waiting("a")
        queue.add(leaves)
        queue.remove(leaves)

    assert len(queue) == 1
    (tenant,) = queue._tenants.values()
    assert len(tenant.by_deadline) < 50


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.01, 20.0)), max_size=40))
def test_everyone_is_served_once_whatever_it_costs(asked: list[tuple[str, float]]) -> None:
    queue = FairQueue()
    entered = [waiting(tenant, cost_s=cost_s) for tenant, cost_s in asked]
    for one in entered:
        queue.add(one)

    found = served(queue, len(entered))

    assert sorted(one.request_id for one in found) == sorted(one.request_id for one in entered)
    assert queue.turns() == []


@given(st.lists(st.floats(0.1, 5.0), min_size=20, max_size=60), st.floats(0.1, 5.0))
def test_no_tenant_falls_behind_by_more_than_two_of_the_dearest(
    costs: list[float], other: float
) -> None:
    queue = FairQueue()
    for cost_s in costs:
        queue.add(waiting("a", cost_s=cost_s))
        queue.add(waiting("b", cost_s=other))

    seconds = {"a": 0.0, "b": 0.0}
    for one in served(queue, len(costs)):  # both still wait, up to the last
        seconds[str(one.request.tenant)] += one.cost_s

    assert abs(seconds["a"] - seconds["b"]) <= 2 * max(*costs, other)


def test_a_tenant_pays_for_what_is_served_elsewhere() -> None:
    queue = FairQueue()
    for tenant in ("a", "a", "b", "b"):
        queue.add(waiting(tenant))

    queue.served_elsewhere("a", 0.0, 5.0)

    assert [one.request.tenant for one in served(queue, 4)] == ["b", "b", "a", "a"]


def test_a_tenant_that_comes_again_has_not_been_forgotten() -> None:
    queue = FairQueue()
    for tenant in ("a", "b", "b", "b"):
        queue.add(waiting(tenant, cost_s=3.0 if tenant == "a" else 1.0))
    served(queue, 1)
    queue.add(waiting("a"))
    queue.served_elsewhere("gone", 0.0, 2.5)
    queue.add(waiting("gone"))

    order = [one.request.tenant for one in served(queue, 5)]

    assert order == ["b", "b", "b", "gone", "a"]


def test_a_tenant_that_could_not_go_for_long_has_no_burst_afterwards() -> None:
    queue = FairQueue()
    stuck = waiting("x")
    queue.add(stuck)
    for _ in range(60):
        queue.add(waiting("y"))
    queue.postpone(stuck)
    served(queue, 40)
    for _ in range(20):
        queue.add(waiting("x"))
    queue.reinstate()

    order = [one.request.tenant for one in served(queue, 20)]

    assert order.count("x") <= 15


def test_tenants_that_have_left_do_not_pile_up() -> None:
    queue = FairQueue()
    queue.add(waiting("stays", due_s=1.0))

    for number in range(2 * MOST_GONE):
        queue.served_elsewhere(f"t{number}", 0.0, 1.0)

    assert len(queue._gone) == MOST_GONE


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.1, 5.0)), min_size=20, max_size=60),
    st.floats(0.1, 5.0),
)
def test_of_two_queues_that_tell_each_other_no_tenant_falls_behind(
    turns: list[tuple[bool, float]], other: float
) -> None:
    here, there = FairQueue(), FairQueue()
    for queue in (here, there):
        for _, cost_s in turns:
            queue.add(waiting("a", cost_s=cost_s))
            queue.add(waiting("b", cost_s=other))

    seconds = {"a": 0.0, "b": 0.0}
    for is_here, _ in turns:  # both still wait in both
        queue, told = (here, there) if is_here else (there, here)
        first = queue.turns()[0]
        told.served_elsewhere(first.request.tenant, queue.serve(first), first.cost_s)
        seconds[str(first.request.tenant)] += first.cost_s

    dearest = max(*(cost_s for _, cost_s in turns), other)
    assert abs(seconds["a"] - seconds["b"]) <= 2 * dearest
