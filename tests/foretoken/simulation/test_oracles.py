"""Oracles on small fleets whose futures can be told, or played, for comparison."""

from random import Random

import numpy as np
import pytest

from foretoken.simulation.oracles import ORACLES
from foretoken.simulation.world import World
from predictor.types import IDLE
from scheduler.candidates import Candidates, total
from simulator.content import block_hashes
from simulator.engine import Engine
from simulator.fleets import EndpointSpec, FleetSpec
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import SimRequest
from tests.scheduler.known_physics import endpoint, request
from tests.scheduler.policy_cases import candidates

FAST, SLOW = "h100_sxm/llama-3.1-8b", "l40s/llama-3.1-8b"


def _world(*profiles: str, delay_s: float = 0.0, **settings: float) -> World:
    exact = {"step_noise_sigma": 0.0, "stall_share": 0.0}
    chosen = EngineSettings.model_validate(exact | settings)
    specs = tuple(
        EndpointSpec(name=f"e{number}", profile=profile(name), engine=chosen)
        for number, name in enumerate(profiles)
    )
    fleet = FleetSpec(
        name="small",
        model="m",
        description="",
        scrape_interval_s=0.1,
        scrape_delay_s=0.0,
        network_delay_s=delay_s,
        shared_tier=None,
        endpoints=specs,
    )
    return World(
        fleet=fleet, engines={spec.name: Engine(spec.profile, chosen, Random(0)) for spec in specs}
    )


def _request(name: str, prompt: int, output: int, *, shared: int = 0) -> SimRequest:
    """Build a request that begins with the same ``shared`` tokens as every other one."""
    segments = [(1, shared), (hash(name) % 2**30, prompt - shared + output)]
    return SimRequest(
        request_id=name,
        prompt_tokens=prompt,
        output_tokens=output,
        block_hashes=block_hashes(tuple(segments), 16),
    )


def _candidates(world: World, asked: SimRequest, draw: list[float] | None = None) -> Candidates:
    world.requests[asked.request_id] = asked
    names = list(world.engines)
    return candidates(
        [IDLE] * len(names),
        states=[endpoint(name) for name in names],
        asked=request(asked.request_id),
        draw=draw,
    )


def _run(engine: Engine, now: float, until_s: float = np.inf) -> dict[str, tuple[float, float]]:
    """Run an engine; give first and last token times of those that end."""
    done: dict[str, tuple[float, float]] = {}
    while True:
        if engine.ends_s is None and engine.begin_stretch(now) is None:
            wake_s = engine.wake_s()
            if wake_s is None or wake_s > until_s:
                return done
            now = wake_s
        elif engine.ends_s is not None:
            if engine.ends_s > until_s:
                return done
            now = engine.ends_s
            for token in engine.end_stretch(now):
                if token.completion is not None:
                    first_s = now - token.completion.e2e_s + token.completion.ttft_s
                    done[token.request_id] = (first_s, now)


def _load(world: World, name: str, requests: list[SimRequest]) -> None:
    """Let an endpoint decode these at the world's present."""
    engine = world.engines[name]
    for one in requests:
        engine.submit(one, 0.0)
    _run(engine, 0.0, world.now_s)


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_an_oracle_gives_equal_endpoints_equal_cost(name: str) -> None:
    world = _world(FAST, FAST, FAST)

    costs = total(ORACLES[name](world).terms(_candidates(world, _request("own", 500, 50))))

    assert costs.shape == (3,)
    assert costs[0] > 0
    assert (costs == costs[0]).all()


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_an_oracle_prefers_the_endpoint_that_is_faster(name: str) -> None:
    world = _world(SLOW, FAST)

    costs = total(ORACLES[name](world).terms(_candidates(world, _request("own", 500, 50))))

    assert costs[1] < costs[0]


def test_what_oracles_expect_is_what_then_happens() -> None:
    world = _world(FAST, delay_s=0.01)
    world.now_s = 0.5
    others = [_request(f"o{number}", 700, 100 + 10 * number) for number in range(8)]
    _load(world, "e0", others)
    own = _request("own", 3000, 80)
    given = _candidates(world, own)

    ttft_s = ORACLES["oracle_ttft"](world).terms(given)["ttft"][0]
    e2e_s = ORACLES["oracle_e2e"](world).terms(given)["e2e"][0]
    terms = ORACLES["oracle_total"](world).terms(given)
    alone = _world(FAST)
    alone.now_s = 0.5
    _load(alone, "e0", others)
    without = _run(alone.engines["e0"], 0.5)
    world.engines["e0"].submit(own, 0.51)
    after = _run(world.engines["e0"], 0.51)

    assert ttft_s == pytest.approx(after["own"][0] + 0.01 - 0.5, rel=1e-9)
    assert e2e_s == pytest.approx(after["own"][1] + 0.01 - 0.5, rel=1e-9)
    assert terms["e2e"][0] == e2e_s
    delay_s = sum(after[name][1] - end_s for name, (_, end_s) in without.items())
    assert len(without) == 8
    assert terms["delay_of_others"][0] == pytest.approx(delay_s, rel=1e-6)


def test_only_the_oracle_of_everyone_spares_those_that_decode() -> None:
    """A cached prefix makes the busy endpoint the better one for the request alone."""
    world = _world(FAST, FAST)
    world.now_s = 1.0
    busy = [_request(f"o{number}", 1200, 400, shared=1000) for number in range(20)]
    _load(world, "e0", busy)
    given = _candidates(world, _request("own", 2000, 1, shared=1000))

    ttft = total(ORACLES["oracle_ttft"](world).terms(given))
    everyone = ORACLES["oracle_total"](world).terms(given)

    assert ttft[0] < ttft[1]
    assert everyone["delay_of_others"][0] > 0
    assert everyone["delay_of_others"][1] == 0
    assert total(everyone)[0] > total(everyone)[1]


def test_an_oracle_knows_which_endpoint_will_soon_be_done() -> None:
    """Both run as many requests as they have seats; how long these go on nobody else knows."""
    world = _world(FAST, FAST, max_num_seqs=2)
    world.now_s = 0.2
    _load(world, "e0", [_request(f"long{number}", 200, 900) for number in range(2)])
    _load(world, "e1", [_request(f"short{number}", 200, 60) for number in range(2)])

    ttft_s = ORACLES["oracle_ttft"](world).terms(_candidates(world, _request("own", 100, 10)))

    assert ttft_s["ttft"][1] < 1.0 < ttft_s["ttft"][0]


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_an_oracle_counts_in_what_it_sent_and_has_not_arrived(name: str) -> None:
    world = _world(FAST, FAST, delay_s=0.01)
    oracle = ORACLES[name](world)
    first = oracle.terms(_candidates(world, _request("a", 4000, 100), draw=[0.9, 0.1]))

    world.now_s = 0.002
    second = total(oracle.terms(_candidates(world, _request("b", 4000, 100), draw=[0.9, 0.1])))
    world.now_s = 0.1
    third = total(oracle.terms(_candidates(world, _request("c", 4000, 100), draw=[0.9, 0.1])))

    assert total(first)[0] == total(first)[1]
    assert second[0] < second[1]
    assert third[0] == third[1]  # it has arrived by then, though this world lost it


def test_an_oracle_asks_nothing_of_what_a_router_sees() -> None:
    world = _world(FAST, SLOW)
    given = _candidates(world, _request("own", 500, 50))
    blind = candidates(
        [IDLE, IDLE],
        states=[endpoint("e0"), endpoint("e1")],
        asked=request("own"),
        predictor=None,
    )

    seen = ORACLES["oracle_total"](world).terms(given)
    unseen = ORACLES["oracle_total"](world).terms(blind)

    assert np.array_equal(total(seen), total(unseen))
