from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.engine import Engine
from simulator.kv_tier import KvTier
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import SimRequest, Token

BLOCK = 16
Event = tuple[float, str, SimRequest | None]


def _play(engine: Engine, events: list[Event], *, stretches: bool) -> dict[str, object]:
    """Run submissions and cancellations through an engine as a virtual-time driver does."""
    seen: list[tuple[float, Token]] = []
    usage: list[tuple[int, int, float]] = []
    begin = engine.begin_stretch if stretches else engine.begin_step
    pending, now = sorted(events, key=lambda event: event[0]), 0.0
    while pending or engine.busy:
        ends_s = engine.ends_s
        if pending and (ends_s is None or pending[0][0] < ends_s):
            now, name, request = pending.pop(0)
            if request is None:
                engine.cancel(name, now)
            else:
                engine.submit(request, now)
            engine.settle(now)
            state = (engine.running_requests, engine.waiting_requests, engine.kv_cache_usage)
            usage.append(state)
        elif ends_s is not None:
            now = ends_s
            seen += [
                (now, token)
                for token in engine.end_stretch(now)
                if token.index == 0 or token.completion
            ]
        if engine.ends_s is None and begin(now) is None:
            wake_s = engine.wake_s()
            if wake_s is not None and (not pending or wake_s <= pending[0][0]):
                now = max(now, wake_s)
                begin(now)
    return {"seen": seen, "usage": usage, "counters": engine.counters}


@st.composite
def _traffic(draw: st.DrawFn) -> list[Event]:
    events: list[Event] = []
    for number in range(draw(st.integers(1, 14))):
        at_s = draw(st.floats(0.0, 1.5))
        prompt, output = draw(st.integers(1, 400)), draw(st.integers(1, 120))
        prefix = draw(st.sampled_from("pq")) if draw(st.booleans()) else str(number)
        hashes = [hash((prefix, block)) for block in range(prompt // BLOCK)]
        hashes += [hash((number, block)) for block in range(prompt // BLOCK, 40)]
        request = SimRequest(
            request_id=str(number),
            prompt_tokens=prompt,
            output_tokens=output,
            block_hashes=hashes[: (prompt + output) // BLOCK],
            priority=draw(st.integers(-1, 1)),
        )
        events.append((at_s, str(number), request))
        if draw(st.integers(0, 3)) == 0:
            events.append((at_s + draw(st.floats(0.001, 0.8)), str(number), None))
    return events


@settings(max_examples=150, deadline=None)
@given(
    events=_traffic(),
    kv_blocks=st.integers(34, 120),
    budget=st.integers(16, 300),
    seqs=st.integers(1, 8),
    cpu_tokens=st.sampled_from([None, 1024]),
    shared=st.booleans(),
    ahead=st.booleans(),
)
def test_stretches_give_exactly_what_single_steps_give(
    events: list[Event],
    kv_blocks: int,
    budget: int,
    seqs: int,
    cpu_tokens: int | None,
    shared: bool,
    ahead: bool,
) -> None:
    chosen = EngineSettings(
        kv_tokens=kv_blocks * BLOCK,
        max_num_batched_tokens=budget,
        max_num_seqs=seqs,
        cpu_tier_tokens=cpu_tokens,
        stall_share=0.05,
        async_scheduling=ahead,
    )

    def engine() -> Engine:
        tier = KvTier(capacity_blocks=100, load_s_per_token=1e-4) if shared else None
        return Engine(profile("h100_sxm/llama-3.1-8b"), chosen, Random(3), tier)

    by_steps = _play(engine(), events, stretches=False)
    by_stretches = _play(engine(), events, stretches=True)

    assert by_stretches == by_steps


def test_a_stretch_ends_where_the_first_request_ends_or_the_next_becomes_ready() -> None:
    settings = EngineSettings(request_overhead_s=0.0, async_scheduling=False)
    engine = Engine(profile("h100_sxm/llama-3.1-8b"), settings, Random(0))
    for name, output in (("short", 20), ("long", 50)):
        engine.submit(SimRequest(request_id=name, prompt_tokens=100, output_tokens=output), 0.0)
    prefill = engine.begin_stretch(0.0)
    assert prefill is not None
    engine.end_stretch(prefill.ends_s[-1])

    stretch = engine.begin_stretch(prefill.ends_s[-1])
    assert stretch is not None
    planned = list(stretch.ends_s)
    engine.submit(SimRequest(request_id="new", prompt_tokens=100, output_tokens=2), planned[3])

    assert len(planned) == 19
    assert stretch.ends_s == planned[:4]


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("step", [0, 3])
def test_a_request_that_comes_as_a_step_begins_gets_its_token_when_single_steps_give_it(
    step: int, ahead: bool
) -> None:
    chosen = EngineSettings(request_overhead_s=0.0, async_scheduling=ahead)
    old = SimRequest(request_id="old", prompt_tokens=100, output_tokens=50)
    new = SimRequest(request_id="new", prompt_tokens=100, output_tokens=2)

    def first_token_s(*, stretches: bool) -> float:
        engine = Engine(profile("h100_sxm/llama-3.1-8b"), chosen, Random(0))
        begin = engine.begin_stretch if stretches else engine.begin_step
        engine.submit(old, 0.0)
        began = begin(0.0)
        for _ in range(1 if stretches else 1 + step):
            assert began is not None
            now = began.ends_s[-1]
            engine.end_stretch(now)
            began = begin(now)
        assert began is not None
        if stretches and step:
            now = began.ends_s[step - 1]
            engine.settle(now)
        engine.submit(new, now)
        while True:
            ends_s = engine.ends_s
            assert ends_s is not None
            if "new" in {token.request_id for token in engine.end_stretch(ends_s)}:
                return ends_s
            begin(ends_s)

    assert first_token_s(stretches=True) == first_token_s(stretches=False)


def test_scheduled_ahead_a_request_joins_the_step_after_next() -> None:
    settings = EngineSettings(request_overhead_s=0.0)
    engine = Engine(profile("h100_sxm/llama-3.1-8b"), settings, Random(0))
    engine.submit(SimRequest(request_id="old", prompt_tokens=100, output_tokens=50), 0.0)
    first = engine.begin_step(0.0)
    assert first is not None
    engine.submit(SimRequest(request_id="new", prompt_tokens=100, output_tokens=2), 0.001)

    prefilled = [first.prefill_tokens]
    for _ in range(2):
        now = engine.ends_s
        assert now is not None
        engine.end_stretch(now)
        step = engine.begin_step(now)
        assert step is not None
        prefilled.append(step.prefill_tokens)

    assert prefilled == [100, 0, 100]
