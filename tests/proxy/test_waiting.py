"""Requests that wait, are refused, or are given up."""

import asyncio

import pytest

from scheduler import SchedulerSettings
from tests.fakes import (
    CLOSE,
    HOLD,
    FakeEndpoint,
)
from tests.proxy.harness import CHAT, running_proxy, state_of, until
from tests.proxy.raw import BODY

pytestmark = pytest.mark.anyio


async def test_a_refused_request_comes_back_after_a_wait_for_another_endpoint() -> None:
    scheduling = SchedulerSettings(failure_backoff_s=60)
    async with (
        FakeEndpoint([CLOSE]) as endpoint,
        FakeEndpoint() as later,
        running_proxy(endpoint, scheduling=scheduling) as proxy,
    ):
        call = asyncio.ensure_future(proxy.client.post(CHAT, json=BODY))
        await until(lambda: proxy.scheduler.waiting_requests == 1)

        proxy.scheduler.update([state_of(endpoint), state_of(later)])
        proxy.relay.tick()

        assert (await call).headers["x-foretoken-endpoint"] == later.name
        assert proxy.records[0].attempts == 2


async def test_a_waiting_request_goes_when_an_endpoint_comes() -> None:
    async with (
        FakeEndpoint() as endpoint,
        running_proxy(endpoint, states=[state_of(endpoint, up=False)]) as proxy,
    ):
        call = asyncio.ensure_future(proxy.client.post(CHAT, json=BODY))
        await until(lambda: proxy.scheduler.waiting_requests == 1)

        proxy.scheduler.update([state_of(endpoint)])
        proxy.relay.tick()

        assert (await call).status_code == 200


async def test_a_request_that_waits_too_long_is_given_up() -> None:
    scheduling = SchedulerSettings(max_wait_s=0)
    async with FakeEndpoint() as endpoint:
        states = [state_of(endpoint, up=False)]
        async with running_proxy(endpoint, states=states, scheduling=scheduling) as proxy:
            got = await proxy.client.post(CHAT, json=BODY)

            assert got.status_code == 503
            assert got.headers["x-llm-d-request-dropped-reason"] == "rejected-ttl-expired"
            assert "retry-after" in got.headers


async def test_a_sheddable_request_that_no_endpoint_can_serve_in_time_gets_429() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(
            CHAT, json=BODY, headers={"x-slo-tier": "batch", "x-slo-ttft-ms": "0.001"}
        )

        assert got.status_code == 429
        assert got.headers["x-llm-d-request-dropped-reason"] == "rejected-saturated"
        assert got.json()["error"]["type"] == "rate_limit_error"
        assert endpoint.seen == []


async def test_a_tenant_that_fills_its_share_of_the_queue_is_told_so() -> None:
    scheduling = SchedulerSettings(max_waiting_requests=2)
    named = {"x-llm-d-inference-fairness-id": "greedy", "x-llm-d-inference-objective": "batch"}
    async with FakeEndpoint() as endpoint:
        states = [state_of(endpoint, up=False)]
        async with running_proxy(endpoint, states=states, scheduling=scheduling) as proxy:
            first = asyncio.ensure_future(proxy.client.post(CHAT, json=BODY, headers=named))
            await until(lambda: proxy.scheduler.waiting_requests == 1)

            got = await proxy.client.post(CHAT, json=BODY, headers=named)

            assert got.status_code == 429
            assert got.json()["error"]["code"] == "tenant_queue_full"
            assert got.headers["x-llm-d-request-dropped-reason"] == "rejected-saturated"
            assert int(got.headers["retry-after"]) >= 1
            assert proxy.records[0].refused == "tenant_queue_full"
            assert proxy.records[0].request.tier == "batch"
            first.cancel()
            await until(lambda: proxy.scheduler.waiting_requests == 0)


async def test_an_unknown_objective_name_is_refused_with_the_known_tiers() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(
            CHAT, json=BODY, headers={"x-llm-d-inference-objective": "gold"}
        )

        assert got.status_code == 400
        assert "interactive" in got.json()["error"]["message"]


async def test_a_request_held_back_from_a_full_endpoint_goes_when_another_has_ended() -> None:
    async with FakeEndpoint([HOLD]) as endpoint:
        states = [state_of(endpoint, max_seqs=1)]
        async with running_proxy(endpoint, states=states) as proxy:
            first = asyncio.ensure_future(proxy.client.post(CHAT, json=BODY))
            await until(lambda: proxy.scheduler.inflight_requests == 1)
            second = asyncio.ensure_future(proxy.client.post(CHAT, json=BODY))
            await until(lambda: proxy.scheduler.waiting_requests == 1)

            first.cancel()

            assert (await second).status_code == 200
            assert proxy.records[-1].waited_for == "endpoints_full"
            assert proxy.records[-1].queued_s > 0
