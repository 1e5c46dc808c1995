"""What requests teach, seen through the proxy: early labels, totals, the endpoint's metrics."""

import asyncio

import pytest

from predictor.labels import usable_labels
from predictor.physics import TPOT, TTFT
from scheduler import SchedulerSettings
from tests.fakes import DONE, LAST_CHUNK, STREAM_HEAD, FakeEndpoint, event, json_response
from tests.proxy.harness import CHAT, running_proxy
from tests.proxy.raw import BODY, STREAM, STREAMED

pytestmark = pytest.mark.anyio

AT_ONCE = SchedulerSettings(early_label_s=1e-6, early_label_tokens=4)
USAGE = {"prompt_tokens": 7, "completion_tokens": 3}


async def test_a_streams_tpot_teaches_before_its_end() -> None:
    rest, end = asyncio.Event(), asyncio.Event()
    script = [STREAM_HEAD, event("a"), rest, *map(event, "bcdef"), end, DONE, LAST_CHUNK]
    async with (
        FakeEndpoint(script) as endpoint,
        running_proxy(endpoint, scheduling=AT_ONCE) as proxy,
        proxy.client.stream("POST", CHAT, json=STREAMED) as got,
    ):
        parts = got.aiter_raw()
        await anext(parts)
        rest.set()
        seen = b""
        while b'"f"' not in seen:
            seen += await anext(parts)

        early = proxy.physics.learned[-1]
        assert early.use == "teaching"
        assert early.tpot_s is not None
        assert early.tpot_s > 0
        assert early.output_tokens is not None
        assert 4 <= early.output_tokens <= 6
        end.set()
        async for _ in parts:
            pass
        assert proxy.records[0].measurement.token_events == 6


async def test_a_stream_that_ends_before_is_learned_once() -> None:
    async with FakeEndpoint(STREAM) as endpoint, running_proxy(endpoint) as proxy:
        await proxy.client.post(CHAT, json=STREAMED)

        assert [seen.use for seen in proxy.physics.learned] == ["fully", "fully"]
        assert [seen.tpot_s is None for seen in proxy.physics.learned] == [True, False]


async def test_the_endpoints_metrics_are_the_labels_of_a_whole_response() -> None:
    metrics = {"queue_time_ms": 5.0, "time_to_first_token_ms": 15.0, "mean_itl_ms": 2.0}
    # By its own clock the request takes 20 ms to its first token: it must really last as long.
    lasting, answer = asyncio.Event(), json_response({"usage": USAGE, "metrics": metrics})
    async with FakeEndpoint([lasting, answer]) as endpoint, running_proxy(endpoint) as proxy:
        asking = asyncio.create_task(proxy.client.post(CHAT, json=BODY))
        await endpoint.arrived.wait()
        asyncio.get_running_loop().call_later(0.03, lasting.set)
        await asking

        (seen,) = proxy.physics.learned
        assert seen.upstream_ttft_s == pytest.approx(0.020)
        assert seen.tpot_s == pytest.approx(0.002)
        assert seen.total_s is None


async def test_without_metrics_the_total_of_a_whole_response_is_the_label() -> None:
    answer = json_response({"usage": USAGE})
    async with FakeEndpoint([answer]) as endpoint, running_proxy(endpoint) as proxy:
        await proxy.client.post(CHAT, json=BODY)

        (seen,) = proxy.physics.learned
        record = proxy.records[0]
        assert (seen.upstream_ttft_s, seen.tpot_s, seen.output_tokens) == (None, None, 3)
        assert seen.total_s is not None
        assert 0 < seen.total_s <= (record.e2e_s or 0.0)
        labels, refused = usable_labels(seen)
        assert refused == []
        assert labels[TTFT] + 2 * labels[TPOT] == pytest.approx(seen.total_s)
