from collections import defaultdict
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from simulator.engine import Engine
from simulator.errors import DuplicateRequest, RequestTooLong
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import Completion, SimRequest, Step, Token

BLOCK = 16


def _engine(seed: int = 0, **overrides: float) -> Engine:
    exact = {
        "step_noise_sigma": 0.0,
        "stall_share": 0.0,
        "request_overhead_s": 0.0,
        "async_scheduling": False,
    }
    chosen = EngineSettings.model_validate(exact | overrides)
    return Engine(profile("h100_sxm/llama-3.1-8b"), chosen, Random(seed))


def _request(
    name: str, prompt: int, output: int, prefix: str = "", priority: int = 0
) -> SimRequest:
    """Build a request whose blocks are named by ``prefix``: same prefix, same content."""
    blocks = (prompt + output) // BLOCK
    hashes = tuple(hash((prefix or name, index)) for index in range(blocks))
    return SimRequest(
        request_id=name,
        prompt_tokens=prompt,
        output_tokens=output,
        block_hashes=hashes,
        priority=priority,
    )


def _step(engine: Engine, now: float) -> tuple[Step, float, list[Token]]:
    step = engine.begin_step(now)
    assert step is not None
    now += step.duration_s
    return step, now, engine.end_step(step, now)


def _drain(engine: Engine, now: float = 0.0) -> dict[str, Completion]:
    done: dict[str, Completion] = {}
    while engine.busy:
        step = engine.begin_step(now)
        if step is None:
            wake_s = engine.wake_s()
            assert wake_s is not None
            now = max(now, wake_s)
            continue
        now += step.duration_s
        for token in engine.end_step(step, now):
            if token.completion is not None:
                done[token.request_id] = token.completion
    return done


def test_a_long_prompt_is_computed_in_chunks_of_the_budget() -> None:
    engine = _engine(max_num_batched_tokens=1000)
    engine.submit(_request("a", 2500, 2), 0.0)

    steps, now, tokens = [], 0.0, []
    for _ in range(4):
        step, now, generated = _step(engine, now)
        steps.append((step.prefill_tokens, step.decoding))
        tokens.append(len(generated))

    assert steps == [(1000, 0), (1000, 0), (500, 0), (0, 1)]
    assert tokens == [0, 0, 1, 1]


def test_running_decodes_come_before_prefill_within_the_budget() -> None:
    engine = _engine(max_num_batched_tokens=100)
    engine.submit(_request("old", 50, 10), 0.0)
    _, now, _ = _step(engine, 0.0)
    engine.submit(_request("new", 300, 10), now)

    step, _, tokens = _step(engine, now)

    assert (step.decoding, step.prefill_tokens) == (1, 99)
    assert [token.request_id for token in tokens] == ["old"]


def test_a_step_takes_what_the_profile_says() -> None:
    engine = _engine()
    engine.submit(_request("a", 700, 2), 0.0)
    h100 = profile("h100_sxm/llama-3.1-8b")

    prefill, now, _ = _step(engine, 0.0)
    decode, _, _ = _step(engine, now)

    assert prefill.duration_s == pytest.approx(h100.step_s([(700, 0)], 0, 0))
    assert decode.duration_s == pytest.approx(h100.step_s([], 1, 701))


def test_a_step_overhead_is_added_to_each_step() -> None:
    plain, late = _engine(), _engine(step_overhead_s=0.002)
    for engine in (plain, late):
        engine.submit(_request("a", 700, 20), 0.0)

    plain_s, late_s = (_drain(engine)["a"].e2e_s for engine in (plain, late))

    assert late_s == pytest.approx(plain_s + 20 * 0.002)


def test_half_the_speed_takes_twice_as_long() -> None:
    usual, slow = _engine(), _engine(speed=0.5)
    for engine in (usual, slow):
        engine.submit(_request("a", 700, 20), 0.0)

    usual_s, slow_s = (_drain(engine)["a"].e2e_s for engine in (usual, slow))

    assert slow_s == pytest.approx(2 * usual_s)


def test_no_more_requests_run_than_max_num_seqs() -> None:
    engine = _engine(max_num_seqs=2)
    for name in "abc":
        engine.submit(_request(name, 32, 4), 0.0)

    _step(engine, 0.0)

    assert (engine.running_requests, engine.waiting_requests) == (2, 1)


def test_a_shared_prefix_is_found_in_whole_blocks() -> None:
    engine = _engine()
    engine.submit(_request("first", 500, 4, prefix="p"), 0.0)
    _drain(engine)

    engine.submit(_request("second", 1000, 4, prefix="p"), 1.0)
    second = _drain(engine, 1.0)["second"]

    assert second.cached_tokens == 496  # of 500 + 3 computed output tokens, 31 full blocks
    assert (engine.counters.prefix_queries, engine.counters.prefix_hits) == (1500, 496)


def test_the_whole_prompt_is_never_a_hit() -> None:
    engine = _engine()
    for name in ("first", "again"):
        engine.submit(_request(name, 512, 1, prefix="p"), 0.0)
        completion = _drain(engine)[name]

    assert completion.cached_tokens == 512 - BLOCK


def test_generated_blocks_are_found_in_the_next_turn() -> None:
    engine = _engine()
    engine.submit(_request("turn-1", 160, 161, prefix="chat"), 0.0)
    _drain(engine)

    engine.submit(_request("turn-2", 480, 4, prefix="chat"), 0.0)
    second = _drain(engine)["turn-2"]

    assert second.cached_tokens == 320  # the last token of an answer has no KV


def test_requests_that_start_together_share_what_the_first_one_computes() -> None:
    engine = _engine()
    engine.submit(_request("a", 320, 2, prefix="p"), 0.0)
    engine.submit(_request("b", 320, 2, prefix="p"), 0.0)

    step, _, _ = _step(engine, 0.0)

    assert step.prefill_tokens == 320 + BLOCK


def test_old_prefixes_are_evicted_when_the_cache_is_full() -> None:
    engine = _engine(kv_tokens=960)
    for name in ("old", "new", "newest"):
        engine.submit(_request(name, 480, 1), 0.0)
        _drain(engine)

    engine.submit(_request("old-again", 480, 1, prefix="old"), 0.0)
    engine.submit(_request("newest-again", 480, 1, prefix="newest"), 0.0)
    done = _drain(engine)

    assert done["old-again"].cached_tokens == 0
    assert done["newest-again"].cached_tokens == 464


def test_the_newest_request_is_preempted_when_blocks_run_out() -> None:
    engine = _engine(kv_tokens=640)
    engine.submit(_request("old", 256, 200), 0.0)
    engine.submit(_request("new", 256, 200), 0.0)

    done = _drain(engine)

    assert done["old"].preemptions == 0
    assert done["new"].preemptions > 0
    assert done["new"].output_tokens == 200
    assert done["new"].e2e_s > done["old"].e2e_s
    assert engine.counters.preemptions == done["new"].preemptions
    assert engine.kv_cache_usage == 0.0


def test_a_less_urgent_request_is_preempted_even_if_it_is_older() -> None:
    engine = _engine(kv_tokens=640)
    engine.submit(_request("batch", 256, 200, priority=5), 0.0)
    engine.submit(_request("urgent", 256, 200, priority=-1), 0.0)

    done = _drain(engine)

    assert done["urgent"].preemptions == 0
    assert done["batch"].preemptions > 0


def test_waiting_requests_start_by_priority_then_arrival() -> None:
    engine = _engine(max_num_seqs=1)
    for name, priority in (("running", 0), ("late", 1), ("soon", 0), ("first", -1)):
        engine.submit(_request(name, 32, 4, priority=priority), 0.0)
        if name == "running":
            _, now, _ = _step(engine, 0.0)

    done = _drain(engine, now)

    assert sorted(done, key=lambda name: done[name].e2e_s) == ["running", "first", "soon", "late"]


def test_a_prompt_waits_until_all_of_it_fits() -> None:
    engine = _engine(kv_tokens=1024, max_num_batched_tokens=64)
    engine.submit(_request("a", 512, 20), 0.0)
    _, now, _ = _step(engine, 0.0)
    for _ in range(7):
        _, now, _ = _step(engine, now)
    engine.submit(_request("b", 640, 2), now)

    _step(engine, now)

    assert (engine.running_requests, engine.waiting_requests) == (1, 1)


def test_the_constant_overhead_delays_the_first_step() -> None:
    engine = _engine(request_overhead_s=0.02)
    engine.submit(_request("a", 100, 1), 5.0)

    early = engine.begin_step(5.01)
    wake_s = engine.wake_s()
    completion = _drain(engine, 5.01)["a"]

    assert early is None
    assert wake_s == pytest.approx(5.02)
    assert completion.queued_s == pytest.approx(0.02)


def test_times_of_a_completion_add_up() -> None:
    engine = _engine()
    engine.submit(_request("a", 300, 11), 0.0)
    gaps, now = [], 0.0
    while engine.busy:
        _, now, tokens = _step(engine, now)
        gaps += [token.gap_s for token in tokens]
    completion = tokens[-1].completion

    assert completion is not None
    assert completion.ttft_s == pytest.approx(gaps[0])
    assert completion.e2e_s == pytest.approx(sum(gaps))
    assert completion.tpot_s == pytest.approx(sum(gaps[1:]) / 10)


def test_cancelling_frees_the_blocks_at_once() -> None:
    engine = _engine(max_num_seqs=1, request_overhead_s=0.001)
    engine.submit(_request("running", 320, 50), 0.0)
    engine.submit(_request("waiting", 320, 50), 0.0)
    step = engine.begin_step(0.01)
    assert step is not None
    engine.submit(_request("arriving", 320, 50), 0.01)

    cancelled = [
        engine.cancel(name, 0.015) for name in ("running", "waiting", "arriving", "unknown")
    ]

    assert cancelled == [True, True, True, False]
    assert engine.kv_cache_usage == 0.0
    assert not engine.busy
    assert engine.end_step(step, 0.02) == []


def test_a_request_that_can_never_fit_is_refused() -> None:
    engine = _engine(kv_tokens=1000, max_model_len=4096)

    with pytest.raises(RequestTooLong) as caught:
        engine.submit(_request("a", 900, 93), 0.0)

    assert (caught.value.tokens, caught.value.limit) == (993, 992)  # 62 whole blocks
    assert not engine.busy


def test_an_id_in_use_is_refused() -> None:
    engine = _engine()
    engine.submit(_request("a", 10, 1), 0.0)

    with pytest.raises(DuplicateRequest):
        engine.submit(_request("a", 10, 1), 0.0)


def test_the_same_seed_gives_the_same_times_and_another_does_not() -> None:
    def times(seed: int) -> list[float]:
        engine = _engine(seed, step_noise_sigma=0.04, stall_share=0.05)
        for number in range(20):
            engine.submit(_request(str(number), 100 + 37 * number, 20), 0.05 * number)
        return [completion.e2e_s for completion in _drain(engine).values()]

    first, again, other = times(1), times(1), times(2)

    assert first == again
    assert first != other


class EngineMachine(RuleBasedStateMachine):
    """Submit, cancel and step in any order; in the end all must have gone out whole."""

    @initialize(kv_blocks=st.integers(32, 80), budget=st.integers(16, 300), seqs=st.integers(1, 6))
    def start(self, kv_blocks: int, budget: int, seqs: int) -> None:
        self.budget, self.seqs, self.now = budget, seqs, 0.0
        self.engine = _engine(
            kv_tokens=kv_blocks * BLOCK, max_num_batched_tokens=budget, max_num_seqs=seqs
        )
        self.wanted: dict[str, int] = {}
        self.indices: dict[str, list[int]] = defaultdict(list)
        self.submitted = 0

    @rule(
        prompt=st.integers(1, 400),
        output=st.integers(1, 100),
        prefix=st.sampled_from("pqr"),
        priority=st.integers(-1, 1),
    )
    def submit(self, prompt: int, output: int, prefix: str, priority: int) -> None:
        name = str(self.submitted)
        self.engine.submit(_request(name, prompt, output, prefix, priority), self.now)
        self.wanted[name] = output
        self.submitted += 1

    @rule(number=st.integers(0, 20))
    def cancel(self, number: int) -> None:
        if self.engine.cancel(str(number), self.now):
            del self.wanted[str(number)]

    @rule()
    def step(self) -> None:
        step = self.engine.begin_step(self.now)
        if step is None:
            return
        assert 0 < step.prefill_tokens + step.decoding <= self.budget
        self.now += step.duration_s
        for token in self.engine.end_step(step, self.now):
            self.indices[token.request_id].append(token.index)
            if token.completion is not None:
                assert token.completion.cached_tokens % BLOCK == 0
                assert token.completion.cached_tokens < token.completion.prompt_tokens

    @invariant()
    def limits_hold(self) -> None:
        assert self.engine.running_requests <= self.seqs
        assert 0.0 <= self.engine.kv_cache_usage <= 1.0

    def teardown(self) -> None:
        while self.engine.busy:
            self.step()
        for name, output in self.wanted.items():
            assert self.indices[name] == list(range(output))
        assert self.engine.kv_cache_usage == 0.0
        assert (self.engine.running_requests, self.engine.waiting_requests) == (0, 0)


EngineMachine.TestCase.settings = settings(max_examples=60, deadline=None)
test_requests_end_whole_and_leave_no_block_behind = EngineMachine.TestCase
