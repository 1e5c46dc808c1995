"""Exploration: tried when it is cheap, never more than was saved."""

import numpy as np

from predictor.types import Decision
from scheduler.exploration import BUDGET_RATIO, LONG_DECISIONS, Exploration
from tests.scheduler.policy_cases import candidates, load

NAMES = ("e0:1", "e1:1", "e2:1")
COSTS = np.array([10.0, 11.0, 30.0])
ORDER = np.array([0, 1, 2])
ENOUGH = round(LONG_DECISIONS * 3) + 8


def test_nothing_is_tried_while_all_get_requests() -> None:
    exploration = Exploration()
    for _ in range(ENOUGH):
        for chosen in range(3):
            exploration.decided(decision(chosen=chosen, reason="predicted"))

    assert exploration.order(NAMES, COSTS, ORDER) is None


def test_the_cheapest_passed_over_for_long_is_tried_once_savings_pay() -> None:
    exploration = saved(decisions=ENOUGH)

    assert COSTS[1] - COSTS[0] < BUDGET_RATIO * 10.0 * ENOUGH
    assert first(exploration) == 1


def test_one_that_costs_more_than_was_saved_is_not_tried() -> None:
    far_dearer = np.array([10.0, 50.0, 60.0])

    assert saved(decisions=100 * ENOUGH).order(NAMES, far_dearer, ORDER) is None


def test_what_is_tried_is_paid_for() -> None:
    dear = np.array([10.0, 35.0, 36.0])
    exploration = saved(decisions=100 * ENOUGH)
    before = exploration.order(NAMES, dear, ORDER)

    exploration.decided(decision(chosen=1, reason="explored", costs=dear))
    again = saved(exploration, decisions=7)

    assert before is not None
    assert again.order(NAMES, dear, ORDER) is None


def first(exploration: Exploration) -> int:
    order = exploration.order(NAMES, COSTS, ORDER)
    assert order is not None
    return int(order[0])


def saved(exploration: Exploration | None = None, *, decisions: int) -> Exploration:
    exploration, one = exploration or Exploration(), decision(chosen=0, reason="predicted")
    for _ in range(decisions):
        exploration.decided(one)
    return exploration


def decision(*, chosen: int, reason: str, costs: np.ndarray = COSTS) -> Decision:
    given = candidates([load()] * 3)
    return Decision(
        endpoints=NAMES,
        features=given.features,
        matched_tokens=given.matched_tokens,
        predictions=None,
        costs=costs,
        chosen=chosen,
        order=(0, 1, 2),
        policy="predicted_latency",
        reason=reason,
        prompt_tokens=1000,
        decided_s=0.0,
    )
