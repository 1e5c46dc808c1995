"""Exploration: tried when it is cheap, never more than was saved."""

from dataclasses import replace

import numpy as np

from predictor.types import Decision
from scheduler.candidates import Candidates
from scheduler.exploration import BUDGET_RATIO, LONG_DISPATCHES, Exploration
from tests.scheduler.policy_cases import candidates, load

COSTS = np.array([10.0, 11.0, 30.0])
ORDER = np.array([0, 1, 2])
PASSED_OVER = 3 * LONG_DISPATCHES + 2


def test_nothing_is_tried_while_all_get_requests() -> None:
    exploration = saved(Exploration(), decisions=10_000)

    assert exploration.order(after(1, 2, 3), COSTS, ORDER) is None


def test_an_endpoint_passed_over_is_tried_once_savings_pay_for_it() -> None:
    exploration, given = Exploration(), after(PASSED_OVER, 1, PASSED_OVER)
    extra_s = float(COSTS[1] - COSTS[0])

    early = exploration.order(given, COSTS, ORDER)
    tried = saved(exploration, decisions=round(2 * extra_s / (BUDGET_RATIO * 10.0))).order(
        given, COSTS, ORDER
    )

    assert early is None
    assert tried is not None
    assert tried.tolist() == [1, 0, 2]


def test_what_is_tried_is_paid_for() -> None:
    exploration, given = saved(Exploration(), decisions=80), after(PASSED_OVER, 1, PASSED_OVER)

    exploration.decided(decision(chosen=1, reason="explored"))

    assert exploration.order(given, COSTS, ORDER) is None


def test_savings_never_pay_for_a_spree() -> None:
    exploration = saved(Exploration(), decisions=10_000)
    far_dearer = np.array([10.0, 50.0, 60.0])

    assert exploration.order(after(PASSED_OVER, 1, 1), far_dearer, ORDER) is None


def saved(exploration: Exploration, *, decisions: int) -> Exploration:
    one = decision(chosen=0, reason="predicted")
    for _ in range(decisions):
        exploration.decided(one)
    return exploration


def after(*turns: float) -> Candidates:
    return replace(candidates([load()] * 3), turns=np.array(turns))


def decision(*, chosen: int, reason: str) -> Decision:
    given = candidates([load()] * 3)
    return Decision(
        endpoints=given.names,
        features=given.features,
        matched_tokens=given.matched_tokens,
        predictions=None,
        costs=COSTS,
        chosen=chosen,
        order=(0, 1, 2),
        policy="predicted_latency",
        reason=reason,
        prompt_tokens=1000,
        decided_s=0.0,
    )
