"""Ideal physics against the engine whose step times it knows."""

import random

import numpy as np
import pytest

from foretoken.simulation.ideal import IdealPhysics
from predictor.feature_rows import feature_matrix
from predictor.features import OUTSIDE
from predictor.types import (
    EndpointLoad,
    EndpointState,
    FloatArray,
    Objective,
    Observation,
    Predictions,
)
from simulator import Engine, EngineSettings, SimRequest, profile
from simulator.fleets import load_fleet

QWEN = profile("h100_sxm/qwen3-32b")
L40S = profile("l40s/llama-3.1-8b")
QUIET = EngineSettings(step_noise_sigma=0.0, stall_share=0.0)


def row(
    load: EndpointLoad | None = None,
    *,
    prompt: int = 4000,
    cached: int | tuple[int, int, int] = 0,
    expected: float = 200.0,
    usage: float | None = 0.1,
) -> FloatArray:
    return feature_matrix(
        prompt_tokens=prompt,
        cached_tokens=np.array([cached], dtype=np.float64),
        max_tokens=None,
        expected_output_tokens=expected,
        streamed=True,
        states=[EndpointState(endpoint="a:1", url="", scraped_s=0.0, kv_cache_usage=usage)],
        loads=[load or EndpointLoad()],
        now=0.0,
    )


def predict(features: FloatArray, settings: EngineSettings = QUIET) -> Predictions:
    return IdealPhysics({"a:1": (QWEN, settings)}).predict(features, ["a:1"], [None])


def play(*requests: SimRequest, settings: EngineSettings = QUIET) -> dict[str, tuple[float, float]]:
    """Run requests submitted together; give each one's TTFT and TPOT."""
    engine = Engine(QWEN, settings, random.Random(0))
    for request in requests:
        engine.submit(request, 0.0)
    now, done = engine.wake_s() or 0.0, {}
    while engine.busy:
        step = engine.begin_step(now)
        assert step is not None
        now = step.ends_s[-1]
        for token in engine.end_step(step, now):
            if token.completion is not None:
                end = token.completion
                done[token.request_id] = (end.ttft_s, end.tpot_s or 0.0)
    return done


def sim(name: str, prompt: int, output: int = 2) -> SimRequest:
    return SimRequest(request_id=name, prompt_tokens=prompt, output_tokens=output)


def queue(requests: int, tokens: int) -> EndpointLoad:
    return EndpointLoad(
        inflight_requests=requests,
        queued_requests=requests,
        queued_prefill_tokens=float(requests * tokens),
    )


def decoding(requests: int, held: int) -> EndpointLoad:
    return EndpointLoad(
        inflight_requests=requests,
        decoding_requests=requests,
        context_tokens=float(requests * held),
    )


@pytest.mark.parametrize("prompt", [64, 100, 2048, 5000, 60_000])
def test_ttft_at_an_idle_endpoint_is_exact(prompt: int) -> None:
    said = predict(row(prompt=prompt))

    assert said.ttft_s[0] == pytest.approx(play(sim("own", prompt))["own"][0], rel=1e-9)


def test_ttft_behind_a_queue_is_what_the_engine_needs_for_all_of_it() -> None:
    others = [sim(f"q{i}", 3000) for i in range(4)]
    actual_s = play(*others, sim("own", 5000))["own"][0]

    said = predict(row(queue(4, 3000), prompt=5000))

    assert said.ttft_s[0] == pytest.approx(actual_s, rel=0.05)


def test_what_the_oldest_has_done_by_now_is_not_waited_for_again() -> None:
    load = queue(1, 8000)
    begun = EndpointLoad(
        inflight_requests=1,
        queued_requests=1,
        queued_prefill_tokens=8000.0,
        oldest_queued_s=0.2,
    )

    spared_s = predict(row(load)).ttft_s[0] - predict(row(begun)).ttft_s[0]

    # What is done is counted by the marginal token, not by whole steps.
    assert spared_s == pytest.approx(0.2, rel=0.15)


def test_tpot_is_the_step_of_all_who_will_decode() -> None:
    outcome = play(*[sim(f"d{i}", 1000, 400) for i in range(33)])

    said = predict(row(decoding(32, 1200), prompt=1000, expected=400))

    assert said.tpot_s[0] == pytest.approx(outcome["d32"][1], rel=0.01)


def test_prefill_beside_decodes_costs_what_it_adds_to_their_steps() -> None:
    step_s = QWEN.step_s([(1500, 500)], 40, 40_000) - QWEN.step_s([], 40, 40_000)

    said = predict(row(decoding(40, 1000), prompt=2000, cached=500))

    assert said.prefill_s[0] == pytest.approx(step_s, rel=1e-9)


def test_one_more_sequence_costs_what_it_adds_to_a_step() -> None:
    added_s = QWEN.step_s([], 43, 40_000 + 1000) - QWEN.step_s([], 42, 40_000)

    said = predict(row(decoding(41, 1000), prompt=900, expected=200))

    assert said.decode_step_s[0] == pytest.approx(added_s, rel=1e-6)


def test_a_full_batch_makes_the_request_wait_for_an_end() -> None:
    seats = QUIET.model_copy(update={"max_num_seqs": 32})
    free, full = predict(row(decoding(31, 1000)), seats), predict(row(decoding(32, 1000)), seats)

    waited_s = full.ttft_s[0] - free.ttft_s[0]

    # 32 requests of 200 tokens each end every 200 / 32 steps.
    assert waited_s == pytest.approx(200 / 32 * QWEN.step_s([], 32, 32_000), rel=0.15)


def test_a_full_kv_cache_makes_the_request_wait_for_ends_and_an_unknown_one_does_not() -> None:
    free, full, unknown = (
        predict(row(decoding(64, 5000), usage=usage)).ttft_s[0] for usage in (0.1, 1.0, None)
    )

    # Each end leaves what a request holds, less 200 tokens that the 64 grew by meanwhile.
    ends = 4000 / (QWEN.kv_tokens / 64 + 100 - 200)
    assert full - free == pytest.approx(ends * 200 / 64 * QWEN.step_s([], 64, 320_000), rel=1e-6)
    assert unknown == free


def test_a_slower_endpoint_takes_longer_for_everything() -> None:
    slow = QUIET.model_copy(update={"speed": 0.5, "request_overhead_s": 0.0})
    even = QUIET.model_copy(update={"request_overhead_s": 0.0})
    names = ["slow:1", "even:1"]
    ideal = IdealPhysics({"slow:1": (QWEN, slow), "even:1": (QWEN, even)})

    said = ideal.predict(np.repeat(row(decoding(10, 1000)), 2, axis=0), names, [None] * 2)

    for seconds in (said.ttft_s, said.tpot_s, said.prefill_s, said.decode_step_s):
        assert seconds[0] == pytest.approx(2 * seconds[1], rel=1e-9)


def test_candidates_may_come_in_any_order_and_number() -> None:
    ideal = IdealPhysics({"qwen:1": (QWEN, QUIET), "l40s:1": (L40S, QUIET)})
    both = np.repeat(row(), 2, axis=0)

    forward = ideal.predict(both, ["qwen:1", "l40s:1"], [None] * 2).ttft_s
    backward = ideal.predict(both, ["l40s:1", "qwen:1"], [None] * 2).ttft_s
    alone = ideal.predict(row(), ["l40s:1"], [None]).ttft_s

    assert forward.tolist() == backward[::-1].tolist()
    assert alone.tolist() == [forward[1]]


def test_the_network_counts_both_ways() -> None:
    far = IdealPhysics({"a:1": (QWEN, QUIET)}, network_delay_s=0.02)

    said = far.predict(row(), ["a:1"], [None])

    assert said.ttft_s[0] == pytest.approx(predict(row()).ttft_s[0] + 0.04)


def test_it_knows_every_endpoint_of_a_simulated_fleet() -> None:
    fleet = load_fleet("mixed-8b")
    names = [spec.name for spec in fleet.endpoints]
    rows = np.repeat(row(), len(names), axis=0)

    said = IdealPhysics.of(fleet).predict(rows, names, [None] * len(names))

    by_profile = {
        spec.profile.gpu: token_s
        for spec, token_s in zip(fleet.endpoints, said.prefill_token_s, strict=True)
    }
    assert by_profile["h100_sxm"] < by_profile["a100_sxm"] < by_profile["l40s"]


def test_noise_and_stalls_raise_the_mean_step() -> None:
    noisy = EngineSettings(step_noise_sigma=0.1, stall_share=0.01, stall_factor=3.0)

    said = predict(row(decoding(4, 1000)), noisy)

    expected = predict(row(decoding(4, 1000))).tpot_s[0] * np.exp(0.005) * 1.02
    assert said.tpot_s[0] == pytest.approx(expected)


def test_the_attention_of_queued_prompts_is_learned_from_those_dispatched() -> None:
    ideal = IdealPhysics({"a:1": (QWEN, QUIET)})
    before = ideal.predict(row(queue(3, 1000), prompt=1000), ["a:1"], [None]).ttft_s[0]

    long = row(prompt=61_000, cached=60_000)[0]
    ideal.learn(
        Observation(
            endpoint="a:1",
            model="m",
            hardware=None,
            observed_s=1.0,
            features=long,
            upstream_ttft_s=1.0,
        )
    )

    after = ideal.predict(row(queue(3, 1000), prompt=1000), ["a:1"], [None]).ttft_s[0]
    squares = 3 * 1000 * (60_000 + 500) / 1e6
    assert after - before == pytest.approx(QWEN.attention_s * (squares - 1.5), rel=0.01)


def test_what_tiers_hold_is_loaded_not_computed() -> None:
    settings = QUIET.model_copy(update={"cpu_load_s_per_token": 1e-5})
    ideal = IdealPhysics({"a:1": (QWEN, settings)}, shared_load_s_per_token=1e-4)

    said = [
        ideal.predict(row(cached=hit), ["a:1"], [None]).ttft_s[0]
        for hit in ((3000, 0, 0), (1000, 2000, 0), (1000, 0, 2000))
    ]

    assert said[1] - said[0] == pytest.approx(0.02)
    assert said[2] - said[0] == pytest.approx(0.2)


def test_everything_is_finite_and_non_negative_whatever_the_load() -> None:
    rng = np.random.default_rng(0)
    rows = rng.uniform(0, 5000, (200, row().shape[1]))
    rows[rng.random(rows.shape) < 0.3] = 0.0
    rows[:, OUTSIDE] = np.nan

    names = [f"e{i}" for i in range(200)]
    said = IdealPhysics(dict.fromkeys(names, (L40S, QUIET))).predict(rows, names, [None] * 200)

    for seconds in (said.ttft_s, said.tpot_s, said.prefill_s, said.decode_step_s):
        assert np.isfinite(seconds).all()
        assert (seconds >= 0).all()
    assert np.isfinite(said.experts).all()
    assert said.experts.shape == (2, 1, 200)
    assert (said.prefill_token_s > 0).all()


def test_an_objective_at_the_p90_is_met_with_nine_in_ten() -> None:
    ideal = IdealPhysics({"a:1": (QWEN, QUIET)})
    said = ideal.predict(row(), ["a:1"], [None])

    likely = ideal.probability(said, Objective(ttft_s=float(said.ttft_p90_s[0])))

    assert likely[0] == pytest.approx(0.9, abs=1e-3)
    assert ideal.probability(said, Objective(tpot_s=0.0))[0] == 0.0


def test_endpoints_of_one_kind_prefill_at_one_speed_whatever_runs_there() -> None:
    fleet = load_fleet("ten-qwen3-32b-h100")
    names = [spec.name for spec in fleet.endpoints[:2]]
    busy = EndpointLoad(inflight_requests=50, decoding_requests=50, context_tokens=50_000.0)
    rows = np.concatenate([row(prompt=1000), row(busy, prompt=1000)])

    said = IdealPhysics.of(fleet).predict(rows, names, [None, None])

    assert said.prefill_token_s[0] == said.prefill_token_s[1]
