"""How many endpoints a fleet needs: demand, capacity at the objective, what is ahead."""

from math import inf, isnan

import numpy as np
import pytest

from predictor.features import COLUMN
from predictor.types import EndpointState, Measurement
from scheduler import Scheduler, SchedulerSettings, sized_for
from scheduler.arrivals import SPAN_S, Arrivals
from scheduler.mix import Knowledge
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

DONE = Measurement(outcome="completed", prompt_tokens=1000, output_tokens=101, cached_tokens=0)


def scheduler_of(
    *states: EndpointState, physics: KnownPhysics | None = None, **scaling: object
) -> Scheduler:
    settings = SchedulerSettings.model_validate({"scaling": scaling})
    return make_scheduler(physics or KnownPhysics(), states or (endpoint("a:1"),), settings)


def play(scheduler: Scheduler, per_s: float, seconds: float, begin_s: float = 0.0) -> float:
    """Send requests of 1,000 tokens evenly, each answered after 1 s; give the time then."""
    count = int(per_s * seconds)
    times = [begin_s + (number + 0.5) / per_s for number in range(count)]
    open_ones: list[tuple[float, str]] = []
    for now in times:
        while open_ones and open_ones[0][0] <= now:
            end_s, name = open_ones.pop(0)
            scheduler.finished(name, DONE, end_s)
        name = f"{now:.6f}"
        scheduler.route(request(name, prompt_tokens=1000, arrived_s=now), now)
        scheduler.first_token(name, now + 1e-3)
        open_ones.append((now + 1.0, name))
    return begin_s + seconds


def test_what_an_endpoint_has_been_seen_to_take_counts_whatever_is_predicted() -> None:
    scheduler = scheduler_of(tpot_s=0.05, ttft_s=10.0, confidence=0.5)
    now = play(scheduler, 2.0, 120.0)  # answered faster than by its physics

    found = scheduler.outlook(scheduler.fleets["m"], now)

    assert found.capacity_per_s == pytest.approx(2.0, rel=0.05)


def test_capacity_is_the_rate_at_which_the_objective_is_still_met() -> None:
    # 10 ms + 10 ms for each request in flight between two tokens: four fit into 50 ms.
    scheduler = scheduler_of(tpot_s=0.05, ttft_s=10.0, confidence=0.5)
    now = play(scheduler, 0.2, 300.0)

    found = scheduler.outlook(scheduler.fleets["m"], now)

    answer_s = 100 * 0.05
    assert found.demand_per_s == pytest.approx(0.2, rel=0.1)
    assert found.capacity_per_s == pytest.approx(4 / answer_s, rel=0.3)
    assert found.spare_per_s == found.capacity_per_s - found.demand_per_s


def test_twice_the_endpoints_take_twice_as_much() -> None:
    one = scheduler_of(endpoint("a:1"), tpot_s=0.2)
    two = scheduler_of(endpoint("a:1"), endpoint("b:1"), tpot_s=0.2)

    single, double = (
        each.outlook(each.fleets["m"], play(each, 0.2, 100.0)).capacity_per_s for each in (one, two)
    )

    assert double == pytest.approx(2 * single, rel=0.35)


def test_what_nobody_knows_is_not_told() -> None:
    blind = scheduler_of(physics=KnownPhysics(broken=True))
    cold = scheduler_of(physics=KnownPhysics(layer="cold"))
    for scheduler in (blind, cold):
        now = play(scheduler, 2.0, 60.0)

        found = scheduler.outlook(scheduler.fleets["m"], now)

        assert isnan(found.capacity_per_s)
        assert found.desired is None
        assert all(isnan(seconds) for seconds in found.saturation_s)
        assert found.demand_per_s == pytest.approx(2.0, rel=0.05)


def test_before_any_request_there_is_no_outlook() -> None:
    scheduler = scheduler_of()

    found = scheduler.outlook(scheduler.fleets["m"], now=5.0)

    assert isnan(found.demand_per_s)
    assert found.desired is None


def test_standby_endpoints_are_a_reserve_and_not_counted() -> None:
    standing_by = endpoint("z:1", priority_class=1)
    plain, reserved = scheduler_of(), scheduler_of(endpoint("a:1"), standing_by)

    found = [each.outlook(each.fleets["m"], play(each, 2.0, 60.0)) for each in (plain, reserved)]

    assert [one.endpoints for one in found] == [1, 1]
    assert found[0].capacity_per_s == pytest.approx(found[1].capacity_per_s)


def test_a_fleet_whose_endpoints_are_gone_still_knows_what_it_needs() -> None:
    scheduler = scheduler_of(tpot_s=0.2)
    now = play(scheduler, 2.0, 60.0)
    before = scheduler.outlook(scheduler.fleets["m"], now)

    scheduler.update([endpoint("a:1", up=False)])
    after = scheduler.outlook(scheduler.fleets["m"], now)

    assert (after.endpoints, after.capacity_per_s) == (0, 0.0)
    assert after.needed == pytest.approx(before.needed)


def test_an_objective_that_one_request_breaks_makes_no_endpoints() -> None:
    scheduler = scheduler_of(ttft_s=0.01)
    now = play(scheduler, 2.0, 60.0)

    assert scheduler.outlook(scheduler.fleets["m"], now).desired is None


def test_a_growing_demand_says_when_it_will_be_too_much() -> None:
    rng, arrivals = np.random.default_rng(1), Arrivals()
    for span in range(60):
        arrivals.add(int(rng.poisson((2.0 + 0.1 * span) * SPAN_S)), span * SPAN_S)

    trend = arrivals.trend(60 * SPAN_S, window_s=300.0)
    earliest_s, expected_s, latest_s = trend.reaches_s(10.0)

    assert trend.slope_per_s2 == pytest.approx(0.1 / SPAN_S, rel=0.2)
    assert earliest_s < expected_s < latest_s
    assert expected_s == pytest.approx((10.0 - 8.0) / (0.1 / SPAN_S), rel=0.4)


def test_an_even_demand_never_saturates() -> None:
    arrivals = Arrivals()
    for second in range(300):
        arrivals.add(3, float(second))

    assert arrivals.trend(300.0, window_s=300.0).reaches_s(5.0)[1:] == (inf, inf)


def test_silence_counts_as_no_demand() -> None:
    arrivals = Arrivals()
    for second in range(60):
        arrivals.add(3, float(second))

    assert arrivals.trend(1000.0, window_s=300.0).at(0.0) == 0.0


def test_arrivals_are_forgotten_after_an_hour() -> None:
    arrivals = Arrivals()
    for span in range(10_000):
        arrivals.add(1, span * SPAN_S)

    assert len(arrivals._counts) <= 720


def test_a_fleet_is_sized_for_the_tightest_promise_it_must_keep() -> None:
    tiers = {
        "fast": {"ttft_s": 0.5},
        "slow": {"ttft_s": 3.0, "tpot_s": 0.1},
        "any": {"ttft_s": 0.1, "sheddable": True},
    }
    settings = SchedulerSettings.model_validate({"tiers": tiers, "default_tier": "slow"})

    found = sized_for(settings)

    assert (found.ttft_s, found.tpot_s) == (0.5, 0.1)


def test_prompts_that_are_cached_whole_are_requests_like_others() -> None:
    knowledge = Knowledge()
    rows = np.zeros((1, len(COLUMN)))
    rows[0, COLUMN["dispatches_per_s"]] = 1.0

    for now in (0.0, 1.0):
        knowledge.see(rows, 100.0)
        knowledge.judge(2.0, 3.0, met=True, busy=False, now=now)

    assert knowledge.endpoint_per_s == pytest.approx(3.0, rel=1e-3)
