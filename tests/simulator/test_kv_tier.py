from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.engine import Engine
from simulator.kv_tier import KvTier
from simulator.playback import play
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import SimRequest

BLOCK = 16
LOAD_S = 1e-4


def _engine(shared: KvTier | None = None, **overrides: float | None) -> Engine:
    exact: dict[str, float | None] = {
        "step_noise_sigma": 0.0,
        "stall_share": 0.0,
        "request_overhead_s": 0.0,
        "cpu_load_s_per_token": LOAD_S,
    }
    chosen = EngineSettings.model_validate(exact | overrides)
    return Engine(profile("h100_sxm/llama-3.1-8b"), chosen, Random(0), shared)


def _request(
    name: str, prompt: int, output: int = 1, *, content: str = "", priority: int = 0
) -> SimRequest:
    blocks = (prompt + output) // BLOCK
    return SimRequest(
        request_id=name,
        prompt_tokens=prompt,
        output_tokens=output,
        block_hashes=[hash((content or name, index)) for index in range(blocks)],
        priority=priority,
    )


def test_a_full_tier_forgets_the_end_of_the_least_recently_used_prefix_first() -> None:
    tier = KvTier(capacity_blocks=6, load_s_per_token=LOAD_S)
    tier.store((1, 2, 3))
    tier.store((4, 5, 6))

    tier.use((1, 2, 3, 99))
    tier.store((7, 8))

    assert tier.match((4, 5, 6)) == 1
    assert tier.match((1, 2, 3)) == 3
    assert len(tier) == 6


@given(
    stored=st.lists(st.lists(st.integers(0, 40), max_size=12, unique=True), max_size=12),
    capacity=st.integers(1, 20),
)
def test_a_tier_never_holds_more_than_it_can(stored: list[list[int]], capacity: int) -> None:
    tier = KvTier(capacity_blocks=capacity, load_s_per_token=LOAD_S)

    for hashes in stored:
        tier.store(hashes)
        tier.use(hashes[::2])

    assert len(tier) <= capacity
    assert len(tier) == min(capacity, len({block for hashes in stored for block in hashes}))


def test_blocks_the_gpu_evicted_come_back_from_cpu_memory_at_its_pace() -> None:
    without, engine = _engine(kv_tokens=960), _engine(kv_tokens=960, cpu_tier_tokens=9600)
    arrivals = [(0.0, _request("old", 480)), (1.0, _request("new", 480))]
    arrivals += [(2.0, _request("newest", 480)), (3.0, _request("again", 480, content="old"))]

    computed, loaded = play(without, arrivals)["again"], play(engine, arrivals)["again"]

    assert (computed.cached_tokens, loaded.cached_tokens) == (0, 464)
    assert loaded.queued_s == pytest.approx(464 * LOAD_S)
    assert (engine.counters.prefix_hits, engine.counters.external_hits) == (0, 464)


def test_what_one_endpoint_computed_another_finds_on_shared_storage() -> None:
    shared = KvTier(capacity_blocks=1000, load_s_per_token=LOAD_S)
    first, second = _engine(shared), _engine(shared)
    play(first, [(0.0, _request("a", 480))])

    found = play(second, [(1.0, _request("b", 480, content="a"))])["b"]

    assert found.cached_tokens == 464
    assert second.counters.external_hits == 464


def test_the_nearer_tier_is_asked_first_and_the_shared_one_for_the_rest() -> None:
    shared = KvTier(capacity_blocks=1000, load_s_per_token=10 * LOAD_S)
    engine = _engine(shared, kv_tokens=960, cpu_tier_tokens=160)
    play(engine, [(0.0, _request("a", 480))])
    engine.flush()

    again = play(engine, [(1.0, _request("again", 480, content="a"))])["again"]

    near, far = 160, 464 - 160
    assert again.cached_tokens == 464
    assert again.queued_s == pytest.approx(near * LOAD_S + far * 10 * LOAD_S)


def test_loads_follow_one_another() -> None:
    shared = KvTier(capacity_blocks=1000, load_s_per_token=LOAD_S)
    play(_engine(shared), [(0.0, _request("a", 480)), (1.0, _request("b", 480))])
    engine = _engine(shared)

    done = play(
        engine, [(0.0, _request("c", 480, content="a")), (0.0, _request("d", 480, content="b"))]
    )

    assert done["c"].queued_s == pytest.approx(464 * LOAD_S)
    assert done["d"].queued_s == pytest.approx(2 * 464 * LOAD_S)


def test_a_request_that_loads_waits_without_being_in_the_batch() -> None:
    shared = KvTier(capacity_blocks=1000, load_s_per_token=LOAD_S)
    play(_engine(shared), [(0.0, _request("a", 480))])
    engine = _engine(shared)

    engine.submit(_request("b", 480, content="a"), 0.0)
    step = engine.begin_stretch(0.0)

    assert step is None
    assert (engine.running_requests, engine.waiting_requests) == (0, 1)
    assert engine.wake_s() == pytest.approx(464 * LOAD_S)
    assert engine.kv_cache_usage > 0.0


def test_a_request_that_has_loaded_goes_before_a_more_urgent_one_without_blocks() -> None:
    shared = KvTier(capacity_blocks=1000, load_s_per_token=LOAD_S)
    play(_engine(shared), [(0.0, _request("a", 640))])
    engine = _engine(shared, kv_tokens=960)  # room for one of the two

    done = play(
        engine,
        [
            (0.0, _request("loads", 640, content="a")),
            (0.001, _request("urgent", 640, priority=-1)),
        ],
    )

    assert list(done) == ["loads", "urgent"]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("prompt", range(56, 66))
def test_the_last_one_running_gives_way_to_one_that_has_loaded_and_nothing_stalls(
    prompt: int, ahead: bool
) -> None:
    shared = KvTier(capacity_blocks=1000, load_s_per_token=1e-7)
    play(_engine(shared), [(0.0, _request("a", 96))])
    engine = _engine(shared, kv_tokens=160, async_scheduling=ahead)  # what the two hold is all

    done = play(
        engine,
        [(0.0, _request("long", prompt, 40)), (0.001, _request("loads", 96, 4, content="a"))],
    )

    assert done.keys() == {"long", "loads"}
    assert not engine.busy


def test_a_cancelled_load_gives_its_blocks_back() -> None:
    shared = KvTier(capacity_blocks=1000, load_s_per_token=LOAD_S)
    play(_engine(shared), [(0.0, _request("a", 480))])
    engine = _engine(shared)
    engine.submit(_request("b", 480, content="a"), 0.0)
    engine.begin_stretch(0.0)

    engine.cancel("b", 0.001)

    assert engine.kv_cache_usage == 0.0
    assert engine.wake_s() is None
    assert not engine.busy
