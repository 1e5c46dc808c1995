"""A copied engine goes on as the first one does; a forked one differs by noise alone."""

from random import Random

import pytest

from simulator.engine import Engine
from simulator.fork import copy_engine, fork
from simulator.playback import play, play_one
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import SimRequest


def _requests(count: int, seed: int) -> list[tuple[float, SimRequest]]:
    rng, at_s, arrivals = Random(seed), 0.0, []
    for number in range(count):
        at_s += rng.expovariate(4.0)
        prompt = rng.randrange(500, 12_000)
        hashes = [*range(prompt // 32), *(number * 10_000 + block for block in range(prompt // 32))]
        request = SimRequest(
            request_id=f"{seed}-{number}",
            prompt_tokens=prompt,
            output_tokens=rng.randrange(1, 400),
            block_hashes=hashes,
        )
        arrivals.append((at_s, request))
    return arrivals


def _busy(arrivals: list[tuple[float, SimRequest]], now: float, **settings: float) -> Engine:
    engine = Engine(profile("l40s/llama-3.1-8b"), EngineSettings(**settings), Random(5))
    early = [(at_s, request) for at_s, request in arrivals if at_s <= now]
    for at_s, request in early:
        _advance(engine, at_s)
        engine.submit(request, at_s)
        if engine.ends_s is None:
            engine.begin_stretch(at_s)
    _advance(engine, now)
    return engine


def _advance(engine: Engine, until_s: float) -> None:
    while True:
        ends_s = engine.ends_s
        due_s = engine.wake_s() if ends_s is None else ends_s
        if due_s is None or due_s > until_s:
            return
        if ends_s is not None:
            engine.end_stretch(due_s)
        engine.begin_stretch(due_s)


@pytest.mark.parametrize("kv_tokens", [40_000, 150_000])  # one preempts, one does not
def test_a_copy_goes_on_as_the_engine_does(kv_tokens: int) -> None:
    arrivals, now = _requests(40, 1), 5.0
    engine = _busy(arrivals, now, kv_tokens=kv_tokens)
    later = [(at_s, request) for at_s, request in arrivals if at_s > now]

    copy = copy_engine(engine, now)

    assert engine.busy
    assert play(copy, later) == play(engine, later)


def test_playing_a_copy_leaves_the_engine_as_it_was() -> None:
    arrivals, now = _requests(40, 2), 5.0
    engine, twin = _busy(arrivals, now), _busy(arrivals, now)
    later = [(at_s, request) for at_s, request in arrivals if at_s > now]

    play(fork(engine, now, Random(9)), later)

    assert play(engine, later) == play(twin, later)


def test_a_fork_differs_by_noise_and_only_by_noise() -> None:
    arrivals, now = _requests(30, 3), 4.0
    noisy = _busy(arrivals, now)
    silent = _busy(arrivals, now, step_noise_sigma=0.0, stall_share=0.0)
    later = [(at_s, request) for at_s, request in arrivals if at_s > now]
    last = later[-1][1].request_id

    noisy_s = {play(fork(noisy, now, Random(s)), later)[last].e2e_s for s in range(4)}
    silent_s = {play(fork(silent, now, Random(s)), later)[last].e2e_s for s in range(4)}

    assert len(noisy_s) == 4
    assert max(silent_s) - min(silent_s) < 1e-9


def test_answers_can_get_other_lengths() -> None:
    arrivals, now = _requests(10, 4), 1.0
    engine = _busy(arrivals, now)
    alive = engine.snapshot(now).decoding[0].request
    longer = alive.output_tokens + 500

    other = fork(engine, now, Random(1), {alive.request_id: longer})
    done = play_one(other, (), alive.request_id)

    assert done is not None
    assert done.output_tokens == longer


def test_playing_one_ends_with_it() -> None:
    arrivals = _requests(30, 5)
    engine = Engine(profile("l40s/llama-3.1-8b"), EngineSettings(), Random(5))
    whole = play(Engine(profile("l40s/llama-3.1-8b"), EngineSettings(), Random(5)), arrivals)

    found = play_one(engine, arrivals, "5-7")

    assert found == whole["5-7"]
    assert engine.busy
    assert play_one(engine, (), "nobody") is None
