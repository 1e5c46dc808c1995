import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from simulator.errors import RequestRefused
from simulator.faults import (
    Crash,
    Flush,
    Hang,
    LoseEvents,
    Page,
    Refuse,
    Reset,
    SlowDown,
    read_fault,
)
from simulator.server import SimulatedEndpoint, create_app
from simulator.settings import EndpointSettings

CHAT = {"messages": [{"role": "user", "content": "Why is the sky blue? " * 40}]}
TOKENS = {"x-sim-output-tokens": "100"}


@pytest.fixture
def endpoint() -> SimulatedEndpoint:
    return create_app(EndpointSettings(step_noise_sigma=0.0, stall_share=0.0))


@asynccontextmanager
async def _client(endpoint: SimulatedEndpoint) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(endpoint)
    async with (
        endpoint.running(),
        httpx.AsyncClient(transport=transport, base_url="http://sim") as client,
    ):
        yield client


async def _timed(client: httpx.AsyncClient, **fields: Any) -> tuple[httpx.Response, float]:
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    response = await client.post("/v1/chat/completions", json=CHAT | fields, headers=TOKENS)
    return response, loop.time() - began_s


async def _begin(client: httpx.AsyncClient, query: str) -> None:
    response = await client.post(f"/sim/fault?{query}")
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("kind=slow_down&factor=2.5", SlowDown(factor=2.5)),
        ("kind=slow_down&factor=3&seconds=60", SlowDown(factor=3.0, seconds=60.0)),
        ("kind=hang&seconds=5", Hang(seconds=5.0)),
        ("seconds=5&kind=crash", Crash(seconds=5.0)),
        ("kind=flush", Flush()),
        ("kind=refuse&seconds=5&share=0.5", Refuse(seconds=5.0, share=0.5)),
        ("kind=reset&seconds=5", Reset(seconds=5.0)),
        ("kind=page&how=slow&seconds=5", Page(how="slow", seconds=5.0)),
        (
            "kind=lose_events&seconds=5&replayed=false",
            LoseEvents(seconds=5.0, replayed=False),
        ),
    ],
)
def test_faults_are_asked_for_in_the_query(query: str, fault: object) -> None:
    assert read_fault(query) == fault


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "slow_down, hang, crash, flush"),
        ("kind=explode", "explode"),
        ("kind=hang", "seconds"),
        ("kind=hang&seconds=", "seconds"),
        ("kind=hang&seconds=-1", "> 0"),
        ("kind=crash&seconds=nan", "> 0"),
        ("kind=crash&seconds=1e9", "86400"),
        ("kind=slow_down&factor=fast", "factor"),
        ("kind=flush&seconds=3", "seconds"),
        ("kind=refuse&seconds=3&share=2", "<= 1"),
        ("kind=page&how=odd&seconds=3", "how"),
    ],
)
def test_a_fault_that_cannot_be_is_refused_with_the_reason(query: str, says: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        read_fault(query)

    assert caught.value.status == 400
    assert says in str(caught.value)


def test_a_slow_down_begins_and_ends_by_itself(run: Any, endpoint: SimulatedEndpoint) -> None:
    async def scenario() -> list[float]:
        async with _client(endpoint) as client:
            seconds = [(await _timed(client))[1]]
            await client.post("/sim/fault?kind=flush")
            await _begin(client, "kind=slow_down&factor=4&seconds=10")
            seconds.append((await _timed(client))[1])
            await asyncio.sleep(10.0)
            await client.post("/sim/fault?kind=flush")
            return [*seconds, (await _timed(client))[1]]

    usual_s, slow_s, again_s = run(scenario())

    overhead_s = EndpointSettings().request_overhead_s
    assert slow_s - overhead_s == pytest.approx(4 * (usual_s - overhead_s), rel=1e-6)
    assert again_s == pytest.approx(usual_s)


def test_a_fault_asked_for_again_lasts_as_long_as_the_last_one_says(
    run: Any, endpoint: SimulatedEndpoint
) -> None:
    async def scenario() -> tuple[int, int]:
        async with _client(endpoint) as client:
            await _begin(client, "kind=crash&seconds=5")
            await _begin(client, "kind=crash&seconds=20")
            await asyncio.sleep(10.0)
            meanwhile = (await client.get("/health")).status_code
            await asyncio.sleep(11.0)
            return meanwhile, (await client.get("/health")).status_code

    assert run(scenario()) == (503, 200)


def test_a_hung_endpoint_is_healthy_but_silent(run: Any, endpoint: SimulatedEndpoint) -> None:
    async def scenario() -> tuple[int, str, float]:
        async with _client(endpoint) as client:
            await _begin(client, "kind=hang&seconds=30")
            asked = asyncio.create_task(_timed(client))
            await asyncio.sleep(10.0)
            health = (await client.get("/health")).status_code
            page = (await client.get("/metrics")).text
            return health, page, (await asked)[1]

    health, page, seconds = run(scenario())

    assert health == 200
    assert 'vllm:generation_tokens_total{engine="0",model_name="llama-3.1-8b"} 0.0' in page
    assert 30.0 < seconds < 33.0


def test_a_crash_ends_streams_with_vllms_error_and_answers_with_500(
    run: Any, endpoint: SimulatedEndpoint
) -> None:
    async def scenario() -> tuple[httpx.Response, httpx.Response]:
        async with _client(endpoint) as client:
            streamed = asyncio.create_task(_timed(client, stream=True))
            whole = asyncio.create_task(_timed(client))
            await asyncio.sleep(0.2)
            await _begin(client, "kind=crash&seconds=5")
            return (await streamed)[0], (await whole)[0]

    streamed, whole = run(scenario())

    *tokens, error, done, _ = streamed.text.split("\n\n")
    assert streamed.status_code == 200
    assert len(tokens) > 1
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == 500
    assert done == "data: [DONE]"
    assert whole.status_code == 500
    assert whole.json()["error"]["code"] == 500


def test_an_endpoint_that_comes_back_has_an_empty_cache_and_counts_from_zero(
    run: Any, endpoint: SimulatedEndpoint
) -> None:
    async def scenario() -> tuple[list[int], int, str]:
        async with _client(endpoint) as client:
            await _timed(client)
            await _begin(client, "kind=crash&seconds=5")
            down = [
                (await client.get(path)).status_code
                for path in ("/health", "/metrics", "/v1/models", "/nothing")
            ]
            await asyncio.sleep(5.1)
            response, _ = await _timed(client)
            cached = response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
            return down, cached, (await client.get("/metrics")).text

    down, cached, page = run(scenario())

    labels = '{engine="0",model_name="llama-3.1-8b"}'
    assert down == [503] * 4
    assert cached == 0
    assert f"vllm:generation_tokens_total{labels} 100.0" in page
    assert f"vllm:e2e_request_latency_seconds_count{labels} 1.0" in page


def test_the_http_face_refuses_a_bad_fault_in_vllms_form(
    run: Any, endpoint: SimulatedEndpoint
) -> None:
    async def scenario() -> httpx.Response:
        async with _client(endpoint) as client:
            return await client.post("/sim/fault?kind=hang&seconds=soon")

    response = run(scenario())

    assert response.status_code == 400
    assert "seconds" in response.json()["error"]["message"]


def test_a_refusing_endpoint_answers_its_probes(run: Any, endpoint: SimulatedEndpoint) -> None:
    async def scenario() -> list[int]:
        async with _client(endpoint) as client:
            await _begin(client, "kind=refuse&seconds=5")
            refused = (await _timed(client))[0].status_code
            probed = [(await client.get(path)).status_code for path in ("/health", "/metrics")]
            await asyncio.sleep(5.1)
            return [refused, *probed, (await _timed(client))[0].status_code]

    assert run(scenario()) == [503, 200, 200, 200]


def test_a_page_of_metrics_is_wrong_for_a_time(run: Any, endpoint: SimulatedEndpoint) -> None:
    async def scenario() -> tuple[int, bytes, float, bytes]:
        async with _client(endpoint) as client:
            loop = asyncio.get_running_loop()
            await _begin(client, "kind=page&how=gone&seconds=5")
            gone = (await client.get("/metrics")).status_code
            await _begin(client, "kind=page&how=garbage&seconds=5")
            garbage = (await client.get("/metrics")).content
            await _begin(client, "kind=page&how=slow&seconds=5")
            began_s = loop.time()
            right = (await client.get("/metrics")).content
            return gone, garbage, loop.time() - began_s, right

    gone, garbage, slow_s, right = run(scenario())

    assert gone == 404
    assert b"\xff" in garbage
    assert slow_s == pytest.approx(10.0)
    assert b"vllm:num_requests_running" in right


def test_events_cannot_be_lost_where_there_are_none(run: Any, endpoint: SimulatedEndpoint) -> None:
    async def scenario() -> httpx.Response:
        async with _client(endpoint) as client:
            return await client.post("/sim/fault?kind=lose_events&seconds=5")

    assert "no KV events" in run(scenario()).json()["error"]["message"]
