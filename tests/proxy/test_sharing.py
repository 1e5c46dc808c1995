"""The response cache on the data path, over real sockets."""

import asyncio
import json
from contextlib import suppress

import httpx
import pytest

from proxy import ProxySettings
from tests.fakes import (
    CLOSE,
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    FakeEndpoint,
    chunk,
    event,
    json_response,
    usage_event,
)
from tests.proxy.harness import CHAT, RunningProxy, running_proxy, state_of, until
from tests.proxy.raw import BODY, STREAM, STREAMED

pytestmark = pytest.mark.anyio

ON = {"x-foretoken-cache": "on"}
FAILURE = chunk(b'data: {"error": {"message": "x", "code": 500}}\n\n')
PLAIN = [json_response({"choices": [1], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})]


async def ask(
    proxy: RunningProxy, body: object = BODY, headers: dict[str, str] | None = None
) -> httpx.Response:
    return await proxy.client.post(CHAT, json=body, headers=ON if headers is None else headers)


def said(answer: httpx.Response) -> str | None:
    return answer.headers.get("x-foretoken-cache")


async def test_a_request_that_comes_again_is_answered_by_itself() -> None:
    async with FakeEndpoint(default=PLAIN) as endpoint, running_proxy(endpoint) as proxy:
        first, second = await ask(proxy), await ask(proxy, headers={**ON, "x-request-id": "mine"})

        assert (said(first), said(second)) == ("miss", "hit")
        assert (first.content, first.headers["content-type"]) == (
            second.content,
            second.headers["content-type"],
        )
        assert (second.headers["x-request-id"], second.headers["age"]) == ("mine", "0")
        assert second.headers["x-foretoken-reason"] == "cache_hit"
        assert "x-foretoken-endpoint" not in second.headers
        assert len(endpoint.seen) == 1
        (_, answered) = proxy.records
        assert (answered.answered, answered.endpoint, answered.fleet) == ("cache_hit", None, "m")
        assert len(proxy.physics.learned) <= 1
        labels = {"model_name": "m", "outcome": "completed", "reason": "cache_hit"}
        labels |= {"tier": "standard"}
        assert proxy.registry.get_sample_value("foretoken_requests_total", labels) == 1


async def test_a_stream_comes_again_as_a_stream_and_hides_the_same() -> None:
    async with FakeEndpoint(default=STREAM) as endpoint, running_proxy(endpoint) as proxy:
        first, second = await ask(proxy, STREAMED), await ask(proxy, STREAMED)
        with_usage = {**STREAMED, "stream_options": {"include_usage": True}}
        other = await ask(proxy, with_usage)

        assert (said(first), said(second), said(other)) == ("miss", "hit", "miss")
        assert first.text == second.text
        assert first.text.endswith("data: [DONE]\n\n")
        assert "usage" not in first.text
        assert "usage" in other.text
        assert second.headers["transfer-encoding"] == "chunked"
        assert second.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize(
    ("mode", "body", "headers", "results"),
    [
        ("header", BODY, {}, [None, None]),
        ("header", {**BODY, "temperature": 0}, {}, [None, None]),
        ("off", BODY, ON, [None, None]),
        ("deterministic", {**BODY, "temperature": 0}, {}, ["miss", "hit"]),
        ("deterministic", {**BODY, "temperature": 0.5}, {}, [None, None]),
        ("deterministic", {**BODY, "temperature": 0}, {"x-foretoken-cache": "off"}, [None, None]),
    ],
)
async def test_who_did_not_ask_is_not_answered_so(
    mode: str, body: object, headers: dict[str, str], results: list[str | None]
) -> None:
    settings = ProxySettings.model_validate({"response_cache": {"mode": mode}})
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, settings=settings) as proxy:
        assert [said(await ask(proxy, body, headers)) for _ in range(2)] == results


async def test_another_word_is_refused() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        answer = await ask(proxy, headers={"x-foretoken-cache": "maybe"})

        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "x-foretoken-cache")


async def test_a_rolled_model_is_asked_again() -> None:
    async with FakeEndpoint() as endpoint:
        old = state_of(endpoint, root="/models/1", version="0.32.0")
        async with running_proxy(endpoint, states=[old]) as proxy:
            await ask(proxy)
            proxy.scheduler.update([state_of(endpoint, root="/models/2", version="0.32.0")])

            assert said(await ask(proxy)) == "miss"


@pytest.mark.parametrize(
    "script",
    [
        [json_response({"error": {}}, status=b"400 Bad Request")],
        [STREAM_HEAD, event("a"), CLOSE],
        [STREAM_HEAD, event("a"), FAILURE, DONE, LAST_CHUNK],
    ],
)
async def test_what_is_not_a_whole_good_answer_is_not_kept(script: list[bytes]) -> None:
    async with FakeEndpoint(script, default=STREAM) as endpoint, running_proxy(endpoint) as proxy:
        with suppress(httpx.RemoteProtocolError):  # a broken stream is shown as one
            await ask(proxy, STREAMED)

        assert said(await ask(proxy, STREAMED)) == "miss"
        assert len(endpoint.seen) == 2
        assert proxy.guard.cache.flights == 0


def held_stream() -> tuple[list[object], asyncio.Event]:
    rest = asyncio.Event()
    return [STREAM_HEAD, event("a"), rest, event("b"), usage_event(7, 2), DONE, LAST_CHUNK], rest


async def test_equal_requests_share_an_answer_on_its_way() -> None:
    script, rest = held_stream()
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:  # type: ignore[arg-type]  # a script
        asking = [asyncio.create_task(ask(proxy, STREAMED)) for _ in range(5)]
        await until(lambda: proxy.guard.cache.counts.coalesced == 4)
        rest.set()
        answers = await asyncio.gather(*asking)

        assert sorted(filter(None, map(said, answers))) == ["coalesced"] * 4 + ["miss"]
        assert len({answer.text for answer in answers}) == 1
        assert len({answer.headers["x-request-id"] for answer in answers}) == 5
        assert len(endpoint.seen) == 1
        assert said(await ask(proxy, STREAMED)) == "hit"
        outcomes = [(record.answered, record.measurement.outcome) for record in proxy.records]
        assert outcomes.count(("cache_coalesced", "completed")) == 4


async def test_an_answer_goes_on_without_its_leader_while_somebody_follows() -> None:
    script, rest = held_stream()
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:  # type: ignore[arg-type]  # a script
        leader = asyncio.create_task(ask(proxy, STREAMED))
        await endpoint.arrived.wait()
        follower = asyncio.create_task(ask(proxy, STREAMED))
        await until(lambda: proxy.guard.cache.counts.coalesced == 1)
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)
        await asyncio.sleep(0.02)
        still_there = not endpoint.aborted.is_set()
        rest.set()
        answer = await follower

        assert still_there
        assert answer.text.endswith("data: [DONE]\n\n")
        assert proxy.scheduler.inflight_requests == 0


async def test_when_the_last_one_has_gone_the_endpoint_is_told() -> None:
    script, _ = held_stream()
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:  # type: ignore[arg-type]  # a script
        leader = asyncio.create_task(ask(proxy, STREAMED))
        await endpoint.arrived.wait()
        follower = asyncio.create_task(ask(proxy, STREAMED))
        await until(lambda: proxy.guard.cache.counts.coalesced == 1)
        for task in (leader, follower):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait_for(endpoint.aborted.wait(), 5)

        await until(lambda: proxy.guard.cache.flights == 0)
        assert proxy.scheduler.inflight_requests == 0
        assert proxy.relay.live_requests == 0


async def test_followers_go_on_their_own_when_the_leader_fails_before_its_answer() -> None:
    rest = asyncio.Event()
    refused = json_response({"error": {"message": "no"}}, status=b"400 Bad Request")
    async with (
        FakeEndpoint([rest, refused], default=PLAIN) as endpoint,
        running_proxy(endpoint) as proxy,
    ):
        leader = asyncio.create_task(ask(proxy))
        await endpoint.arrived.wait()
        followers = [asyncio.create_task(ask(proxy)) for _ in range(3)]
        await until(lambda: proxy.guard.cache.counts.coalesced == 3)
        rest.set()
        answers = await asyncio.gather(leader, *followers)

        assert [answer.status_code for answer in answers] == [400, 200, 200, 200]
        assert len(endpoint.seen) == 4
        assert proxy.scheduler.inflight_requests == 0


async def test_followers_that_have_begun_are_cut_as_the_leader_is() -> None:
    rest = asyncio.Event()
    async with (
        FakeEndpoint([STREAM_HEAD, event("a"), rest, CLOSE]) as endpoint,
        running_proxy(endpoint) as proxy,
    ):
        asking = [asyncio.create_task(_lines(proxy)) for _ in range(2)]
        await until(lambda: proxy.guard.cache.counts.coalesced == 1)
        await asyncio.sleep(0.02)
        rest.set()
        texts = await asyncio.gather(*asking)

        for text in texts:
            assert '"a"' in text
            assert "error" in text
            assert "[DONE]" not in text
        outcomes = {record.measurement.outcome for record in proxy.records}
        assert outcomes == {"cut"}


async def _lines(proxy: RunningProxy) -> str:
    got = ""
    with suppress(httpx.RemoteProtocolError):
        async with proxy.client.stream("POST", CHAT, json=STREAMED, headers=ON) as response:
            async for text in response.aiter_text():
                got += text
    return got


async def test_tenants_do_not_share_answers() -> None:
    async with FakeEndpoint(default=PLAIN) as endpoint, running_proxy(endpoint) as proxy:
        results = [
            said(await ask(proxy, headers={**ON, "x-llm-d-inference-fairness-id": tenant}))
            for tenant in ("a", "b", "a")
        ]

        assert results == ["miss", "miss", "hit"]


async def test_a_body_that_differs_in_one_byte_is_another() -> None:
    async with FakeEndpoint(default=PLAIN) as endpoint, running_proxy(endpoint) as proxy:
        for text in (json.dumps(BODY), json.dumps(BODY) + " "):
            answer = await proxy.client.post(CHAT, content=text, headers=ON)
            assert said(answer) == "miss"
