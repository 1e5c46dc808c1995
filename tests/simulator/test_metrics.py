from random import Random

import pytest
from prometheus_client.parser import text_string_to_metric_families

from simulator.engine import Engine
from simulator.metrics import EndpointMetrics, Histogram
from simulator.playback import play
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import SimRequest


def _samples(page: bytes) -> dict[str, float]:
    """Read a page: value by name, the labels that tell series apart appended."""
    samples = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            suffix = "".join(
                f" {sample.labels[key]}"
                for key in ("finished_reason", "le", "source")
                if key in sample.labels
            )
            samples[sample.name + suffix] = sample.value
    return samples


def test_a_page_tells_what_the_engine_did() -> None:
    settings = EngineSettings(step_noise_sigma=0.0, stall_share=0.0, request_overhead_s=0.0)
    engine = Engine(profile("h100_sxm/llama-3.1-8b"), settings, Random(0))
    metrics = EndpointMetrics(engine, "tiny")
    hashes = tuple(range(100))
    for name, reason in (("a", "stop"), ("b", "length")):
        engine.submit(
            SimRequest(
                request_id=name,
                prompt_tokens=320,
                output_tokens=10,
                block_hashes=hashes,
                finish_reason=reason,
            ),
            0.0,
        )
        now = 0.0
        while (step := engine.begin_step(now)) is not None:
            now += step.duration_s
            for token in engine.end_step(step, now):
                metrics.token(token)

    samples = _samples(metrics.page())

    assert samples["vllm:prompt_tokens_total"] == 640
    assert samples["vllm:generation_tokens_total"] == 20
    assert samples["vllm:prefix_cache_queries_total"] == 640
    assert samples["vllm:prefix_cache_hits_total"] == 304
    assert samples["vllm:request_success_total stop"] == 1
    assert samples["vllm:request_success_total length"] == 1
    assert samples["vllm:time_to_first_token_seconds_count"] == 2
    assert samples["vllm:inter_token_latency_seconds_count"] == 18
    assert samples["vllm:inter_token_latency_seconds_bucket 0.01"] == 18
    assert samples["vllm:request_time_per_output_token_seconds_count"] == 2
    assert samples["vllm:e2e_request_latency_seconds_sum"] == pytest.approx(
        samples["vllm:time_to_first_token_seconds_sum"]
        + samples["vllm:inter_token_latency_seconds_sum"]
    )


def test_gauges_are_read_at_the_scrape() -> None:
    settings = EngineSettings(kv_tokens=16_000, max_num_seqs=1, request_overhead_s=0.0)
    engine = Engine(profile("h100_sxm/llama-3.1-8b"), settings, Random(0))
    metrics = EndpointMetrics(engine, "tiny")
    for name in "abc":
        engine.submit(SimRequest(request_id=name, prompt_tokens=1600, output_tokens=10), 0.0)
    engine.begin_step(0.0)

    samples = _samples(metrics.page())

    assert samples["vllm:num_requests_running"] == 1
    assert samples["vllm:num_requests_waiting"] == 2
    assert samples["vllm:kv_cache_usage_perc"] == pytest.approx(0.1)


def test_the_cache_configuration_is_published_as_labels() -> None:
    settings = EngineSettings(kv_tokens=16_005, block_size=32)
    engine = Engine(profile("l40s/llama-3.1-8b"), settings, Random(0))

    page = EndpointMetrics(engine, "tiny").page().decode()

    (line,) = [line for line in page.splitlines() if line.startswith("vllm:cache_config_info{")]
    assert 'num_gpu_blocks="500"' in line
    assert 'block_size="32"' in line
    assert 'kv_cache_size_tokens="16000"' in line


def test_a_bucket_includes_its_bound_and_the_last_one_everything() -> None:
    histogram = Histogram("seconds", "Some.", (1.0, 2.0))
    for seconds in (0.5, 1.0, 1.5, 9.0):
        histogram.observe(seconds)

    values = {
        sample.labels.get("le", sample.name): sample.value
        for sample in histogram.family({}).samples
    }

    assert values == {"1.0": 2, "2.0": 3, "+Inf": 4, "seconds_count": 4, "seconds_sum": 12.0}


def test_what_came_from_cpu_memory_is_counted_as_external() -> None:
    settings = EngineSettings(kv_tokens=960, cpu_tier_tokens=9600)
    engine = Engine(profile("h100_sxm/llama-3.1-8b"), settings, Random(0))
    metrics = EndpointMetrics(engine, "tiny", offloads=True)
    for number, content in enumerate((100, 200, 300, 100)):
        request = SimRequest(
            request_id=str(number),
            prompt_tokens=480,
            output_tokens=1,
            block_hashes=range(content, content + 30),
        )
        play(engine, [(float(number), request)])

    samples = _samples(metrics.page())

    assert samples["vllm:prefix_cache_queries_total"] == 1920
    assert samples["vllm:prefix_cache_hits_total"] == 0
    assert samples["vllm:external_prefix_cache_queries_total"] == 1920
    assert samples["vllm:external_prefix_cache_hits_total"] == 464
    assert samples["vllm:prompt_tokens_cached_by_source_total device"] == 0
    assert samples["vllm:prompt_tokens_cached_by_source_total host"] == 464


def test_without_a_tier_behind_the_gpu_nothing_is_asked_of_one() -> None:
    engine = Engine(profile("h100_sxm/llama-3.1-8b"), EngineSettings(), Random(0))
    metrics = EndpointMetrics(engine, "tiny")
    play(engine, [(0.0, SimRequest(request_id="a", prompt_tokens=480, output_tokens=1))])

    samples = _samples(metrics.page())

    assert samples["vllm:prefix_cache_queries_total"] == 480
    assert samples["vllm:external_prefix_cache_queries_total"] == 0


def test_a_reset_page_begins_again_at_zero() -> None:
    engine = Engine(profile("h100_sxm/llama-3.1-8b"), EngineSettings(), Random(0))
    metrics = EndpointMetrics(engine, "tiny")
    engine.submit(SimRequest(request_id="a", prompt_tokens=480, output_tokens=1), 0.0)
    step = engine.begin_step(1.0)
    assert step is not None
    for token in engine.end_step(step, 2.0):
        metrics.token(token)
    before = _samples(metrics.page())

    engine.crash()
    metrics.reset()
    after = _samples(metrics.page())

    assert before["vllm:request_success_total stop"] == 1
    assert before["vllm:time_to_first_token_seconds_count"] == 1
    assert {name: value for name, value in after.items() if name.endswith(("total", "count"))}
    assert not any(value for name, value in after.items() if name.endswith(("total", "count")))
