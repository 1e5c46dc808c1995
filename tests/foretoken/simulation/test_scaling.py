"""A fleet that grows and shrinks in virtual time."""

from dataclasses import replace
from functools import partial

import pytest

from foretoken.simulation.arms import ARMS
from foretoken.simulation.outcome import Run
from foretoken.simulation.run import simulate
from foretoken.simulation.scaling import ScaledSimulation, ScalingRules, Spent, View
from simulator.fleets import load_fleet
from simulator.workloads import load_workload

RULES = ScalingRules(first=1, least=1, most=3, start_s=(20.0, 20.0), down_after_s=30.0)


class Plan:
    """Wish by the clock."""

    def __init__(self, *wishes: tuple[float, float]) -> None:
        self._wishes = wishes
        self.views: list[View] = []

    def wanted(self, view: View) -> float:
        self.views.append(view)
        return [wish for since_s, wish in self._wishes if view.now >= since_s][-1]


def play(plan: Plan, rules: ScalingRules = RULES) -> tuple[Run, Spent]:
    fleet, spent = load_fleet("eight-8b-h100"), Spent()
    run = simulate(
        fleet=replace(fleet, endpoints=fleet.endpoints[:3]),
        workload=load_workload("sharegpt"),
        rate=2.0,
        arm=ARMS["least_request"],
        seed=1,
        warmup_s=0.0,
        measure_s=150.0,
        simulation=partial(ScaledSimulation, scaler=plan, rules=rules, spent=spent),
    )
    return run, spent


def test_endpoints_that_are_asked_for_serve_after_their_start() -> None:
    run, spent = play(Plan((0.0, 1.0), (30.0, 3.0)))

    first_s = {
        name: min(one.arrived_s for one in run.outcomes if one.endpoint == name)
        for name in run.endpoints
    }
    assert spent.counts == [(0.0, 1), (30.0, 3)]
    assert first_s["h100-0"] < 10.0
    assert all(50.0 <= first_s[name] < 60.0 for name in ("h100-1", "h100-2"))


def test_endpoints_that_leave_answer_what_they_have_and_get_no_more() -> None:
    run, spent = play(Plan((0.0, 3.0), (60.0, 1.0)))

    late = {one.endpoint for one in run.outcomes if one.arrived_s > 100.0}
    assert spent.counts[-1][1] == 1
    assert late == {"h100-0"}
    assert {one.outcome for one in run.outcomes if one.arrived_s < 150.0} == {"completed"}
    # One all the time; two from 15 s on, gone once they were asked to leave and empty.
    assert spent.endpoint_s == pytest.approx(run.ended_s + 2 * 80.0, abs=60.0)


def test_one_that_is_given_up_before_it_serves_is_paid_for_so_long() -> None:
    rules = replace(RULES, start_s=(1000.0, 1000.0))
    run, spent = play(Plan((0.0, 3.0), (60.0, 1.0)), rules)

    assert {one.endpoint for one in run.outcomes} == {"h100-0"}
    assert spent.starts == 2
    assert spent.endpoint_s - run.ended_s == pytest.approx(2 * 75.0, abs=2 * 15.0 + 1.0)


def test_a_scaler_sees_what_waits_and_runs() -> None:
    plan = Plan((0.0, 1.0))

    play(plan)

    assert all(view.endpoints == 1 for view in plan.views)
    assert max(view.running_requests for view in plan.views) > 1
