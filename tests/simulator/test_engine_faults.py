from random import Random

import pytest

from simulator.engine import Engine
from simulator.kv_tier import KvTier
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import SimRequest, Step, Token

BLOCK = 16
H100 = profile("h100_sxm/llama-3.1-8b")


def _engine(shared: KvTier | None = None, **overrides: float) -> Engine:
    exact = {"step_noise_sigma": 0.0, "stall_share": 0.0, "request_overhead_s": 0.0}
    return Engine(H100, EngineSettings.model_validate(exact | overrides), Random(0), shared)


def _request(name: str, prompt: int = 320, output: int = 100) -> SimRequest:
    return SimRequest(
        request_id=name,
        prompt_tokens=prompt,
        output_tokens=output,
        block_hashes=tuple(range(1, (prompt + output) // BLOCK + 1)),
    )


def _decoding(engine: Engine, name: str = "a") -> tuple[Step, list[float]]:
    """Bring one request past its prefill; give the stretch then begun and its planned ends."""
    engine.submit(_request(name), 0.0)
    prefill = engine.begin_stretch(0.0)
    assert prefill is not None
    engine.end_stretch(prefill.ends_s[-1])
    stretch = engine.begin_stretch(prefill.ends_s[-1])
    assert stretch is not None
    return stretch, list(stretch.ends_s)


def _drain(engine: Engine) -> list[tuple[float, Token]]:
    tokens = []
    while engine.busy:
        if engine.ends_s is None:
            wake_s = engine.wake_s()
            assert wake_s is not None
            engine.begin_stretch(wake_s)
        ends_s = engine.ends_s
        assert ends_s is not None
        tokens += [(ends_s, token) for token in engine.end_stretch(ends_s)]
        engine.begin_stretch(ends_s)
    return tokens


def test_the_step_under_way_ends_when_a_hang_ends_and_the_rest_comes_that_much_later() -> None:
    undisturbed, engine = _engine(), _engine()
    _decoding(undisturbed)
    _, planned = _decoding(engine)

    engine.hang(planned[9] + 1e-4, planned[10] + 5.0)
    hung_until_s = engine.ends_s
    (usual_s, _), (late_s, _) = _drain(undisturbed)[-1], _drain(engine)[-1]

    assert hung_until_s == planned[10] + 5.0
    assert late_s == pytest.approx(usual_s + 5.0)


def test_an_idle_endpoint_that_hangs_takes_requests_and_begins_them_afterwards() -> None:
    engine = _engine()
    engine.hang(1.0, 4.0)
    engine.submit(_request("a"), 2.0)

    early = engine.begin_stretch(2.0)
    wake_s = engine.wake_s()
    step = engine.begin_stretch(4.0)

    assert early is None
    assert wake_s == 4.0
    assert step is not None
    assert step.began_s == 4.0


def test_a_step_that_outlasts_the_hang_is_not_shortened() -> None:
    engine = _engine()
    engine.submit(_request("a", prompt=8000), 0.0)
    step = engine.begin_stretch(0.0)
    assert step is not None
    planned_s = step.ends_s[-1]

    engine.hang(0.001, 0.002)

    assert engine.ends_s == planned_s


def test_a_crash_loses_requests_caches_and_counts_and_it_begins_again_as_new() -> None:
    engine = _engine(cpu_tier_tokens=100_000)
    _decoding(engine)
    engine.submit(_request("waiting"), 0.1)
    engine.hang(0.1, 100.0)

    lost = engine.crash()
    tokens = engine.end_stretch(0.2)
    engine.submit(_request("again"), 1.0)
    begun = engine.begin_stretch(1.0)

    assert lost == ["a", "waiting"]
    assert tokens == []
    assert begun is not None
    assert begun.prefill_tokens == 320
    assert (engine.counters.prefix_hits, engine.counters.external_hits) == (0, 0)
    assert engine.counters.generation_tokens == 0
    assert (engine.running_requests, engine.waiting_requests) == (1, 0)


def test_what_a_crashed_endpoint_put_on_shared_storage_is_still_there() -> None:
    shared = KvTier(capacity_blocks=1000, load_s_per_token=1e-6)
    engine = _engine(shared)
    engine.submit(_request("a"), 0.0)
    _drain(engine)

    engine.crash()
    engine.submit(_request("again"), 10.0)
    engine.begin_stretch(10.0)

    assert engine.counters.external_hits == 304  # all but the block of the last token


def test_a_flush_forgets_what_nobody_holds_and_keeps_what_is_held() -> None:
    engine = _engine()
    engine.submit(_request("a"), 0.0)
    _drain(engine)
    engine.flush()
    engine.submit(_request("again"), 10.0)
    engine.begin_stretch(10.0)
    after_flush = engine.counters.prefix_hits

    engine.flush()
    engine.submit(_request("beside", output=1), 10.0)
    _drain(engine)

    assert after_flush == 0
    assert engine.counters.prefix_hits == 304


def test_a_change_of_speed_counts_from_the_step_after_the_one_under_way() -> None:
    engine = _engine()
    stretch, planned = _decoding(engine)
    between_s = (planned[4] + planned[5]) / 2

    engine.cut(between_s)
    engine.speed = 0.5
    engine.end_stretch(stretch.ends_s[-1])
    slow = engine.begin_stretch(planned[5])

    assert stretch.ends_s == planned[:6]
    assert slow is not None
    assert slow.ends_s[0] - planned[5] == pytest.approx(2 * (planned[6] - planned[5]))


def test_settling_counts_the_steps_that_ended_and_leaves_the_stretch_as_it_is() -> None:
    engine = _engine()
    stretch, planned = _decoding(engine)
    before = engine.counters.generation_tokens

    engine.settle(planned[7])
    engine.settle(planned[7])
    settled = engine.counters.generation_tokens
    engine.settle(planned[-1] + 1.0)

    assert settled - before == 8
    assert engine.counters.generation_tokens - before == len(planned) - 1  # the last is to end
    assert stretch.ends_s == planned


def test_a_stretch_that_was_settled_and_cut_gives_the_tokens_of_one_that_was_not() -> None:
    undisturbed, engine = _engine(), _engine()
    _decoding(undisturbed)
    _, planned = _decoding(engine)

    for end_s in planned[3:60:7]:
        engine.settle(end_s)
        engine.cut(end_s + 1e-4)
        cut_s = engine.ends_s
        assert cut_s is not None
        engine.end_stretch(cut_s)
        engine.begin_stretch(cut_s)

    assert _drain(engine)[-1] == _drain(undisturbed)[-1]
    assert engine.counters == undisturbed.counters
