import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from simulator.driver import Driver, TokenStream
from simulator.engine import Engine
from simulator.errors import RequestTooLong
from simulator.kv_tier import KvTier
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import Completion, SimRequest, Token

H100 = profile("h100_sxm/llama-3.1-8b")


def _driver(seen: list[Token] | None = None, **overrides: float) -> tuple[Engine, Driver]:
    exact = {"step_noise_sigma": 0.0, "stall_share": 0.0}
    engine = Engine(H100, EngineSettings.model_validate(exact | overrides), Random(0))
    return engine, Driver(engine, ([] if seen is None else seen).append)


@asynccontextmanager
async def _running(driver: Driver) -> AsyncIterator[None]:
    task = asyncio.create_task(driver.run())
    yield
    task.cancel()
    await asyncio.wait([task])


def _request(name: str = "a", prompt: int = 1000, output: int = 20) -> SimRequest:
    return SimRequest(request_id=name, prompt_tokens=prompt, output_tokens=output)


async def _all(stream: TokenStream) -> tuple[list[int], Completion | None]:
    indices: list[int] = []
    while tokens := await stream.fetch():
        indices += [token.index for token in tokens]
        if tokens[-1].completion is not None:
            return indices, tokens[-1].completion
    return indices, None


def test_tokens_come_in_order_and_at_the_time_the_profile_says(run: Any) -> None:
    async def scenario() -> tuple[list[int], Completion | None, float]:
        _, driver = _driver(request_overhead_s=0.006)
        async with _running(driver):
            start = asyncio.get_running_loop().time()
            indices, completion = await _all(driver.submit(_request()))
            return indices, completion, asyncio.get_running_loop().time() - start

    indices, completion, elapsed_s = run(scenario())

    expected_s = 0.006 + H100.step_s([(1000, 0)], 0, 0)
    expected_s += sum(H100.step_s([], 1, 1001 + n) for n in range(19))
    assert indices == list(range(20))
    assert completion is not None
    assert completion.e2e_s == pytest.approx(expected_s)
    assert elapsed_s == pytest.approx(expected_s, abs=1e-3)


def test_a_late_wake_up_does_not_move_the_next_step(run: Any) -> None:
    async def scenario() -> Completion | None:
        _, driver = _driver()
        async with _running(driver):
            stream = driver.submit(_request(output=200))
            reader = asyncio.create_task(_all(stream))
            loop: Any = asyncio.get_running_loop()
            for _ in range(50):
                await asyncio.sleep(0.02)
                loop._no_wait.now += 0.005  # the loop was busy with something else
            return (await reader)[1]

    completion = run(scenario())

    assert completion is not None
    assert completion.tpot_s == pytest.approx(H100.step_s([], 1, 1100), rel=0.01)


def test_every_token_is_observed(run: Any) -> None:
    seen: list[Token] = []

    async def scenario() -> None:
        _, driver = _driver(seen)
        async with _running(driver):
            await asyncio.gather(*(_all(driver.submit(_request(name))) for name in "ab"))

    run(scenario())

    assert len(seen) == 40
    assert sum(token.completion is not None for token in seen) == 2


def test_cancelling_ends_the_stream_and_frees_the_engine(run: Any) -> None:
    async def scenario() -> tuple[bool, Completion | None]:
        engine, driver = _driver()
        async with _running(driver):
            stream = driver.submit(_request(output=5000))
            await stream.fetch()
            driver.cancel("a")
            return engine.busy, (await _all(stream))[1]

    busy, completion = run(scenario())

    assert not busy
    assert completion is None


def test_the_engine_goes_on_after_a_pause(run: Any) -> None:
    async def scenario() -> list[Completion | None]:
        _, driver = _driver()
        async with _running(driver):
            first = await _all(driver.submit(_request()))
            await asyncio.sleep(100.0)
            second = await _all(driver.submit(_request()))
            return [first[1], second[1]]

    first, second = run(scenario())

    assert first is not None
    assert second is not None
    assert second.e2e_s == pytest.approx(first.e2e_s)


def test_a_request_that_comes_while_another_loads_is_not_kept_waiting(run: Any) -> None:
    hashes = tuple(range(60))
    shared = KvTier(capacity_blocks=100, load_s_per_token=0.01)
    shared.store(hashes)
    settings = EngineSettings(step_noise_sigma=0.0, stall_share=0.0, request_overhead_s=0.0)
    engine = Engine(H100, settings, Random(0), shared)
    driver = Driver(engine, lambda _: None)
    loads = SimRequest(request_id="loads", prompt_tokens=961, output_tokens=1, block_hashes=hashes)

    async def scenario() -> tuple[Completion | None, Completion | None]:
        async with _running(driver):
            loading = asyncio.create_task(_all(driver.submit(loads)))
            await asyncio.sleep(1.0)
            beside = await _all(driver.submit(_request("beside", output=1)))
            return (await loading)[1], beside[1]

    loaded, beside = run(scenario())

    assert loaded is not None
    assert loaded.queued_s == pytest.approx(9.6)
    assert beside is not None
    assert beside.e2e_s == pytest.approx(H100.step_s([(1000, 0)], 0, 0))


def test_what_was_done_for_a_request_before_is_part_of_its_overhead(run: Any) -> None:
    async def scenario() -> tuple[Completion | None, float]:
        _, driver = _driver(request_overhead_s=0.006)
        async with _running(driver):
            loop = asyncio.get_running_loop()
            came_s = loop.time()
            await asyncio.sleep(0.004)
            _, completion = await _all(driver.submit(_request(output=1), came_s))
            return completion, loop.time() - came_s

    completion, elapsed_s = run(scenario())

    expected_s = 0.006 + H100.step_s([(1000, 0)], 0, 0)
    assert completion is not None
    assert completion.ttft_s == pytest.approx(expected_s)
    assert elapsed_s == pytest.approx(expected_s, abs=1e-6)


def test_no_token_comes_while_the_endpoint_hangs(run: Any) -> None:
    async def scenario() -> tuple[float, Completion | None]:
        _, driver = _driver()
        async with _running(driver):
            stream = driver.submit(_request(output=200))
            await stream.fetch()
            driver.hang(30.0)
            began_s = asyncio.get_running_loop().time()
            await stream.fetch()
            silent_s = asyncio.get_running_loop().time() - began_s
            return silent_s, (await _all(stream))[1]

    silent_s, completion = run(scenario())

    assert silent_s == pytest.approx(30.0)
    assert completion is not None
    assert 30.0 < completion.e2e_s < 33.0


def test_after_a_crash_in_a_hang_the_endpoint_serves_at_once(run: Any) -> None:
    async def scenario() -> tuple[list[Token], bool, Completion | None]:
        _, driver = _driver()
        async with _running(driver):
            stream = driver.submit(_request(output=200))
            await stream.fetch()
            driver.hang(1000.0)
            await asyncio.sleep(1.0)
            driver.crash()
            lost = await stream.fetch()
            return lost, stream.failed, (await _all(driver.submit(_request())))[1]

    lost, failed, completion = run(scenario())

    assert (lost, failed) == ([], True)
    assert completion is not None
    assert completion.e2e_s < 1.0


def test_a_slowed_down_endpoint_takes_longer_until_it_is_not(run: Any) -> None:
    async def scenario() -> list[float]:
        _, driver = _driver(request_overhead_s=0.0)
        seconds = []
        async with _running(driver):
            for factor in (1.0, 3.0, 1.0):
                driver.slow_down(factor)
                _, completion = await _all(driver.submit(_request()))
                assert completion is not None
                seconds.append(completion.e2e_s)
        return seconds

    usual_s, slow_s, again_s = run(scenario())

    assert slow_s == pytest.approx(3 * usual_s)
    assert again_s == pytest.approx(usual_s)


def test_a_refused_request_leaves_nothing_behind(run: Any) -> None:
    async def scenario() -> bool:
        engine, driver = _driver(max_model_len=100)
        with pytest.raises(RequestTooLong):
            driver.submit(_request())
        return engine.busy

    assert run(scenario()) is False
