import math
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from simulator.engine import Engine
from simulator.kv_tier import KvTier
from simulator.noise import StepNoise
from simulator.profiles import profile
from simulator.projection import Projection, Projector, mean_noise
from simulator.settings import EngineSettings
from simulator.types import SimRequest

BLOCK = 16
PROFILE = profile("h100_sxm/llama-3.1-8b")


def _exact(**overrides: float | None) -> EngineSettings:
    exact = {"step_noise_sigma": 0.0, "stall_share": 0.0}
    return EngineSettings.model_validate(exact | overrides)


def _request(
    name: str, prompt: int, output: int, *, prefix: str = "", priority: int = 0
) -> SimRequest:
    """Build a request the first half of whose prompt is that of all of the same prefix."""
    shared = prompt // BLOCK // 2
    hashes = [hash((prefix or name, block)) for block in range(shared)]
    hashes += [hash((name, block)) for block in range(shared, (prompt + output) // BLOCK)]
    return SimRequest(
        request_id=name,
        prompt_tokens=prompt,
        output_tokens=output,
        block_hashes=hashes,
        priority=priority,
    )


def _unknown(request: SimRequest) -> SimRequest:
    """Let no block of a request be found again."""
    return replace(request, block_hashes=())


@dataclass
class Clock:
    """Plays an engine in virtual time and notes when tokens come."""

    engine: Engine
    now: float = 0.0
    first_token_s: dict[str, float] = field(default_factory=dict)
    end_s: dict[str, float] = field(default_factory=dict)

    def play(self, requests: list[tuple[SimRequest, float]], until_s: float = math.inf) -> None:
        """Submit what is due and go on, to the end or up to a time."""
        engine, requests = self.engine, list(requests)
        while True:
            due_s = engine.ends_s
            if due_s is None and engine.begin_stretch(self.now) is not None:
                continue
            if due_s is None:
                wake_s = engine.wake_s()
                due_s = math.inf if wake_s is None else max(wake_s, self.now)
            next_s = requests[0][1] if requests else math.inf
            if min(due_s, next_s) > until_s or (due_s == next_s == math.inf):
                self.now = max(self.now, until_s) if until_s < math.inf else self.now
                return
            self.now = min(due_s, next_s)
            if next_s < due_s:
                engine.submit(requests.pop(0)[0], self.now)
            elif engine.ends_s is not None:
                self._end(self.now)
            else:
                engine.begin_stretch(self.now)

    def _end(self, now: float) -> None:
        for token in self.engine.end_stretch(now):
            if token.index == 0:
                self.first_token_s[token.request_id] = now
            if token.completion is not None:
                self.end_s[token.request_id] = now


def _assert_came_true(projection: Projection, clock: Clock, at_s: float) -> None:
    """Check every time within 1e-9 relative."""
    firsts = {name: when for name, when in clock.first_token_s.items() if when > at_s}
    ends = {name: when for name, when in clock.end_s.items() if when > at_s}
    assert projection.first_token_s == pytest.approx(firsts, rel=1e-9)
    assert projection.end_s == pytest.approx(ends, rel=1e-9)


@st.composite
def _arrivals(
    draw: st.DrawFn, *, prefixes: str, longest: int = 400, longest_output: int = 120
) -> list[tuple[SimRequest, float]]:
    arrivals = []
    for number, at_s in enumerate(draw(st.lists(st.floats(0.0, 1.0), max_size=14, unique=True))):
        request = _request(
            str(number),
            draw(st.integers(1, longest)),
            draw(st.integers(1, longest_output)),
            prefix=draw(st.sampled_from(["", *prefixes])),
            priority=draw(st.integers(-1, 1)),
        )
        arrivals.append((request, at_s))
    return sorted(arrivals, key=lambda arrival: arrival[1])


def _split(
    arrivals: list[tuple[SimRequest, float]], at_s: float
) -> tuple[list[tuple[SimRequest, float]], list[tuple[SimRequest, float]]]:
    before = [arrival for arrival in arrivals if arrival[1] <= at_s]
    return before, arrivals[len(before) :]


@settings(max_examples=300, deadline=None)
@given(
    arrivals=_arrivals(prefixes="pq"),
    at_s=st.floats(0.0, 1.2),
    budget=st.integers(8, 300),
    seqs=st.integers(1, 12),
    speed=st.sampled_from([0.5, 1.0]),
    overhead_s=st.sampled_from([0.0, 0.006]),
)
def test_a_projection_with_requests_still_to_come_is_what_the_engine_then_does(
    arrivals: list[tuple[SimRequest, float]],
    at_s: float,
    budget: int,
    seqs: int,
    speed: float,
    overhead_s: float,
) -> None:
    chosen = _exact(
        max_num_batched_tokens=budget,
        max_num_seqs=seqs,
        speed=speed,
        request_overhead_s=overhead_s,
        step_overhead_s=0.001,
    )
    clock = Clock(Engine(PROFILE, chosen, Random(1)))
    before, after = _split(arrivals, at_s)
    clock.play(before, at_s)

    projection = Projector(PROFILE, chosen).project(clock.engine.snapshot(at_s), after)
    clock.play(after)

    _assert_came_true(projection, clock, at_s)


@settings(max_examples=300, deadline=None)
@given(
    arrivals=_arrivals(prefixes="", longest_output=8),
    at_s=st.floats(0.0, 0.4),
    kv_blocks=st.integers(26, 90),
    budget=st.integers(16, 300),
    block_size=st.sampled_from([4, 16]),
)
def test_a_projection_waits_for_kv_blocks_as_the_engine_does(
    arrivals: list[tuple[SimRequest, float]],
    at_s: float,
    kv_blocks: int,
    budget: int,
    block_size: int,
) -> None:
    chosen = _exact(kv_tokens=kv_blocks * 16, max_num_batched_tokens=budget, block_size=block_size)
    unknown = [(_unknown(request), when / 5) for request, when in arrivals]
    clock = Clock(Engine(PROFILE, chosen, Random(1)))
    before, after = _split(unknown, at_s)
    clock.play(before, at_s)
    state = clock.engine.snapshot(at_s)

    projection = Projector(PROFILE, chosen).project(state, after)
    preempted = clock.engine.counters.preemptions
    clock.play(after)

    assume(not clock.engine.counters.preemptions - preempted)
    _assert_came_true(projection, clock, at_s)


def test_an_admission_that_waits_for_blocks_is_among_what_is_projected() -> None:
    chosen = _exact(kv_tokens=40 * BLOCK)
    arrivals = [(_request(str(number), 30 * BLOCK, 5), 0.0) for number in range(3)]
    clock = Clock(Engine(PROFILE, chosen, Random(1)))
    clock.play(arrivals, 0.01)

    projection = Projector(PROFILE, chosen).project(clock.engine.snapshot(0.01))
    clock.play([])

    assert projection.first_token_s["1"] > projection.end_s["0"]
    _assert_came_true(projection, clock, 0.01)


def test_one_that_was_preempted_is_projected_to_be_computed_again() -> None:
    chosen = _exact(kv_tokens=20 * BLOCK, request_overhead_s=0.0)
    clock = Clock(Engine(PROFILE, chosen, Random(1)))
    clock.play([(_unknown(_request(name, 8 * BLOCK, 60)), 0.0) for name in "ab"], 0.25)
    state, waiting = clock.engine.snapshot(0.25), clock.engine.waiting_requests

    projection = Projector(PROFILE, chosen).project(state)
    clock.play([])

    assert clock.engine.counters.preemptions == waiting == 1
    assert projection.first_token_s == {}
    assert projection.end_s["b"] > projection.end_s["a"] + 0.1
    _assert_came_true(projection, clock, 0.25)


@settings(max_examples=100, deadline=None)
@given(arrivals=_arrivals(prefixes="pq"), at_s=st.floats(0.0, 1.2), stored=st.integers(0, 30))
def test_a_projection_loads_from_tiers_what_the_engine_then_loads(
    arrivals: list[tuple[SimRequest, float]], at_s: float, stored: int
) -> None:
    chosen = _exact()
    tier = KvTier(capacity_blocks=10_000, load_s_per_token=1e-4)
    for request, _ in arrivals:
        tier.store(request.block_hashes[:stored])
    clock = Clock(Engine(PROFILE, chosen, Random(1), tier))
    before, after = _split(arrivals, at_s)
    clock.play(before, at_s)

    projection = Projector(PROFILE, chosen).project(clock.engine.snapshot(at_s))
    clock.play([])

    _assert_came_true(projection, clock, at_s)
    assert not set(projection.end_s) & {request.request_id for request, _ in after}


def test_an_endpoint_that_hangs_is_projected_to_go_on_afterwards() -> None:
    chosen = _exact()
    clock = Clock(Engine(PROFILE, chosen, Random(1)))
    clock.play([(_request("a", 100, 50), 0.0), (_request("b", 100, 50), 0.1)], 0.101)
    clock.engine.hang(0.101, 5.0)

    projection = Projector(PROFILE, chosen).project(clock.engine.snapshot(0.101))
    clock.play([])

    assert projection.first_token_s["b"] > 5.0
    _assert_came_true(projection, clock, 0.101)


def test_projecting_changes_nothing_in_the_engine() -> None:
    arrivals = [(_request(str(n), 300, 40, prefix="p"), n / 30) for n in range(20)]
    chosen = EngineSettings(max_num_batched_tokens=256, max_num_seqs=8)
    watched, alone = (Clock(Engine(PROFILE, chosen, Random(1))) for _ in range(2))
    projector = Projector(PROFILE, chosen)

    for request, at_s in arrivals:
        watched.play([], at_s)
        projector.project(watched.engine.snapshot(at_s), [(request, at_s + 0.1)])
        watched.play([(request, at_s)], at_s)
    watched.play([])
    alone.play(arrivals)

    assert (watched.first_token_s, watched.end_s) == (alone.first_token_s, alone.end_s)
    assert watched.engine.counters == alone.engine.counters


def test_a_projection_stops_at_the_first_token_asked_for() -> None:
    chosen = _exact()
    clock = Clock(Engine(PROFILE, chosen, Random(1)))
    clock.play([(_request("a", 100, 500), 0.0)], 0.1)
    state, own = clock.engine.snapshot(0.1), (_request("own", 100, 50), 0.2)

    whole = Projector(PROFILE, chosen).project(state, [own])
    begun = Projector(PROFILE, chosen).project(state, [own], until="own")

    assert begun.first_token_s["own"] == whole.first_token_s["own"]
    assert begun.end_s == {}


def test_noisy_steps_are_projected_at_their_mean() -> None:
    noisy = EngineSettings(step_noise_sigma=0.3, stall_share=0.1, request_overhead_s=0.0)
    exact = _exact(request_overhead_s=0.0)
    own = [(_request("own", 100, 50), 0.0)]
    state = Engine(PROFILE, noisy, Random(1)).snapshot(0.0)
    drawn = StepNoise(sigma=0.3, stall_share=0.1, stall_factor=2.0, rng=Random(1)).coming(200_000)

    projected_s = Projector(PROFILE, noisy).project(state, own).end_s["own"]
    quiet_s = Projector(PROFILE, exact).project(state, own).end_s["own"]

    assert projected_s / quiet_s == pytest.approx(mean_noise(noisy), rel=1e-9)
    assert mean_noise(noisy) == pytest.approx(sum(drawn) / len(drawn), rel=0.01)


def test_blocks_that_requests_share_are_not_counted_for_each() -> None:
    """Three prompts of 60 blocks, 30 of them the same, fit 150 blocks; three others do not."""
    chosen = _exact(kv_tokens=150 * BLOCK)
    arrivals = [
        (_request(str(number), 60 * BLOCK, 30, prefix="p"), number / 100) for number in range(3)
    ]
    clock = Clock(Engine(PROFILE, chosen, Random(1)))
    clock.play(arrivals[:2], 0.1)
    state = clock.engine.snapshot(0.1)

    projection = Projector(PROFILE, chosen).project(state, [(arrivals[2][0], 0.1)])
    clock.play([(arrivals[2][0], 0.1)])

    assert projection.first_token_s["2"] < projection.end_s["0"]
    _assert_came_true(projection, clock, 0.1)
