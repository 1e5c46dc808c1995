from dataclasses import replace

import pytest

from benchmarks.fidelity.multiturn import _extend
from benchmarks.fidelity.play import Sent, play
from benchmarks.fidelity.recorded_steps import (
    Served,
    StepNumbers,
    Stretch,
    fit,
    stretches,
    without_corrections,
)
from benchmarks.fidelity.replay import block_keys
from benchmarks.fidelity.rows import Row
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import SimRequest

RTX = profile("rtx_pro_6000/llama-3.1-8b")
EXACT = EngineSettings(step_noise_sigma=0.0, stall_share=0.0, request_overhead_s=0.0)


def _request(request_id: str, *, output_tokens: int = 3) -> SimRequest:
    return SimRequest(request_id=request_id, prompt_tokens=100, output_tokens=output_tokens)


def test_a_turn_is_sent_after_its_predecessor_and_the_pause() -> None:
    chain = [Sent(request=_request("a")), Sent(request=_request("b"), think_s=5.0)]

    played = play([chain], profile=RTX, settings=EXACT, seed=1)

    alone = play([chain[:1]], profile=RTX, settings=EXACT, seed=1).completions["a"]
    assert played.completions["a"] == alone
    assert played.completions["b"].e2e_s == pytest.approx(alone.e2e_s)
    assert len(played.seconds) == 6
    assert [second.running for second in played.seconds[1:]] == [0] * 5


def test_a_request_waits_for_its_time() -> None:
    chains = [[Sent(request=_request("late"), at_s=2.5)], [Sent(request=_request("early"))]]

    played = play(chains, profile=RTX, settings=EXACT, seed=1)

    assert played.completions["late"].ttft_s == pytest.approx(played.completions["early"].ttft_s)
    assert len(played.seconds) == 3


def test_a_row_passes_only_if_every_seed_keeps_the_limit() -> None:
    row = Row(data="d", quantity="q", real=10.0, simulated=[10.4, 9.0], limit=0.05)

    assert row.passes is False
    assert replace(row, limit=0.1).passes is True
    assert replace(row, limit=None).passes is None
    assert replace(row, limit=1.0, absolute=True).deviations == pytest.approx([0.4, -1.0])


def test_stamps_linked_both_ways_must_agree() -> None:
    numbers = StepNumbers()

    numbers.link(1.0, 3.0, 20)
    numbers.link(2.0, 3.0, 5)
    numbers.link(1.0, 2.0, 15)
    numbers.link(1.0, 2.0, 14)

    assert numbers.find(2.0)[1] - numbers.find(1.0)[1] == 15
    assert numbers.contradictions == 1


def test_stretches_count_the_steps_between_stamps() -> None:
    # The second is scheduled as the first one ends, and gets its first token two steps on.
    first = Served(
        scheduled_s=0.0,
        first_s=1.0,
        last_s=11.0,
        prompt_tokens=64,
        cached_tokens=0,
        output_tokens=11,
    )
    steady = replace(first, last_s=16.0, output_tokens=15)
    second = replace(
        first, scheduled_s=11.0001, first_s=13.5, last_s=17.5, output_tokens=5, cached_tokens=16
    )

    found = stretches([first, steady, second], budget=512)

    steps = {(one.steps, round(one.real_s, 6), one.decoding, one.chunks) for one in found}
    assert (10, 10.0, 2, ()) in steps
    assert (2, 2.5, 1, ((48, 16),)) in steps


def test_the_fit_finds_the_corrections_a_log_was_made_with() -> None:
    tables = without_corrections(RTX, 1.1)
    shapes = [
        Stretch(
            steps=steps,
            real_s=0.0,
            decoding=batch,
            context_tokens=batch * each,
            chunks=((prompt, 0),) if prompt else (),
        )
        for steps, batch, each, prompt in (
            (1, 4, 300, 0),
            (9, 64, 900, 0),
            (2, 100, 1200, 700),
            (1, 127, 1300, 400),
            (1, 30, 500, 1500),
        )
    ]
    made = [replace(shape, real_s=shape.composed_s(RTX)) for shape in shapes]

    ratio, context_s = fit(made, tables)

    assert ratio == pytest.approx(1.1, rel=0.02)
    assert context_s == pytest.approx(RTX.prefill_context_s, rel=0.05)


def test_prompts_share_block_keys_as_far_as_their_tokens_agree() -> None:
    tokens = list(range(64))

    same, other = block_keys(tokens), block_keys([*tokens[:40], 7, *tokens[41:]])

    assert len(same) == 4
    assert [a == b for a, b in zip(same, other, strict=True)] == [True, True, False, False]


def test_a_turn_repeats_the_conversation_as_far_as_its_prompt_is_long() -> None:
    history = [(1, 10), (2, 5)]

    assert _extend(history, 20, 3) == [(1, 10), (2, 5), (3, 5)]
    assert _extend(history, 12, 3) == [(1, 10), (2, 2)]
