"""Keys, limits and the context on the data path, over real sockets."""

import json
import logging

import httpx
import pytest

from predictor.types import EndpointState
from proxy import ProxySettings
from proxy.access import Access, read_keys
from scheduler import SchedulerSettings
from tests.fakes import CLOSE, FakeEndpoint, json_response
from tests.proxy.harness import CHAT, RunningProxy, running_proxy, state_of
from tests.proxy.raw import BODY

pytestmark = pytest.mark.anyio

KEY, OTHER = "sk-team-a-0123456", "sk-team-b-0123456"
BEARER = {"authorization": f"Bearer {KEY}"}


def keys() -> Access:
    return Access(read_keys(None, f"team-a={KEY},team-b={OTHER}"))


def limited(**access: int) -> ProxySettings:
    return ProxySettings.model_validate({"access": access})


async def ask(proxy: RunningProxy, body: object = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await proxy.client.post(CHAT, json=body or BODY, headers=named)


async def test_without_a_key_nothing_reaches_an_endpoint_and_the_body_is_not_read() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, access=keys()) as proxy:
        reader, writer = await proxy.connect()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n")
        early = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        wrong = await ask(proxy, authorization="Bearer sk-wrong-key")

        assert early.startswith(b"HTTP/1.1 401 ")
        assert wrong.status_code == 401
        assert wrong.json()["error"]["code"] == "invalid_api_key"
        assert endpoint.seen == []
        assert proxy.registry.get_sample_value(
            "foretoken_rejected_requests_total", {"reason": "invalid_api_key"}
        )


async def test_the_models_are_for_callers_and_the_health_is_for_all() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, access=keys()) as proxy:
        answers = [
            (await proxy.client.get(path, headers=headers)).status_code
            for path in ("/v1/models", "/health", "/ready")
            for headers in ({}, BEARER)
        ]

        assert answers == [401, 200, 200, 200, 200, 200]


async def test_a_keys_name_is_the_tenant_and_the_key_goes_no_further() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, access=keys()) as proxy:
        by_bearer = await ask(proxy, authorization=f"Bearer {KEY}")
        by_header = await ask(proxy, x_api_key=OTHER, x_llm_d_inference_fairness_id="somebody")

        assert (by_bearer.status_code, by_header.status_code) == (200, 200)
        for seen in endpoint.seen:
            sent = {name for name, _ in seen.headers}
            assert not sent & {"authorization", "x-api-key"}
        assert [record.request.tenant for record in proxy.records] == ["team-a", "team-b/somebody"]


async def test_without_keys_clients_credentials_are_the_endpoints_to_judge() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        await ask(proxy, **BEARER)

        assert endpoint.seen[0].header("authorization") == BEARER["authorization"]


async def test_an_endpoint_gets_its_own_key() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, access=keys()) as proxy:
        proxy.upstream.authorize(endpoint.url, "sk-of-the-endpoint")
        await ask(proxy, **BEARER)
        proxy.upstream.authorize(endpoint.url, None)
        await ask(proxy, **BEARER)

        sent = [seen.header("authorization") for seen in endpoint.seen]
        assert sent == ["Bearer sk-of-the-endpoint", None]


async def test_keys_stand_in_no_log_record_and_no_metric(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, access=keys()) as proxy:
        await ask(proxy, **BEARER)
        await ask(proxy, authorization="Bearer sk-wrong-key")
        page = (await proxy.client.get("/metrics")).text

    logged = " ".join(
        str(vars(record)) for record in caplog.records if record.name.startswith("proxy")
    )
    for secret in (KEY, "sk-wrong-key"):
        assert secret not in logged
        assert secret not in page


async def test_requests_past_a_keys_limit_are_refused_with_a_time_to_come_back() -> None:
    settings = limited(requests_per_minute=2)
    async with (
        FakeEndpoint() as endpoint,
        running_proxy(endpoint, settings=settings, access=keys()) as proxy,
    ):
        answers = [await ask(proxy, **BEARER) for _ in range(3)]
        others = await ask(proxy, x_api_key=OTHER)

        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert answers[2].json()["error"]["code"] == "rate_limit_exceeded"
        assert int(answers[2].headers["retry-after"]) >= 1
        assert others.status_code == 200
        assert len(endpoint.seen) == 3


async def test_tokens_are_counted_by_what_the_endpoint_reports() -> None:
    large = [json_response({"usage": {"prompt_tokens": 7, "completion_tokens": 500}})]
    settings = limited(tokens_per_minute=400)
    async with (
        FakeEndpoint(large) as endpoint,
        running_proxy(endpoint, settings=settings, access=keys()) as proxy,
    ):
        answers = [await ask(proxy, **BEARER) for _ in range(2)]

        assert [answer.status_code for answer in answers] == [200, 429]
        assert "tokens" in answers[1].json()["error"]["message"]
        assert proxy.guard._taps == {}


def with_context(endpoint: FakeEndpoint, tokens: int) -> EndpointState:
    return state_of(endpoint, max_model_len=tokens)


async def test_a_bound_that_does_not_fit_is_clamped_and_nothing_else_changes() -> None:
    settings = ProxySettings.model_validate(
        {"context": {"excess": "clamp", "margin_ratio": 0.0, "margin_tokens": 20}}
    )
    payload = b'{ "model": "m", "prompt": [1, 2, 3],\n "max_tokens" : 5000, "vendor": {"a": 1.0}}'
    async with FakeEndpoint() as endpoint:
        states = [with_context(endpoint, 1000)]
        async with running_proxy(endpoint, states=states, settings=settings) as proxy:
            await proxy.client.post("/v1/completions", content=payload)

            assert endpoint.seen[0].body == payload.replace(b"5000", b"997")


async def test_a_bound_that_does_not_fit_is_refused_where_asked() -> None:
    settings = ProxySettings.model_validate({"context": {"excess": "refuse"}})
    async with FakeEndpoint() as endpoint:
        states = [with_context(endpoint, 1000)]
        async with running_proxy(endpoint, states=states, settings=settings) as proxy:
            refused = await ask(proxy, {**BODY, "max_tokens": 1500})
            served = await ask(proxy, {**BODY, "max_tokens": 900})

            assert (refused.status_code, served.status_code) == (400, 200)
            error = refused.json()["error"]
            assert (error["type"], error["param"]) == ("invalid_request_error", "max_tokens")
            assert [json.loads(seen.body)["max_tokens"] for seen in endpoint.seen] == [900]


@pytest.mark.parametrize("excess", ["pass", "clamp", "refuse"])
async def test_where_no_endpoint_tells_its_context_all_bounds_pass(excess: str) -> None:
    settings = ProxySettings.model_validate({"context": {"excess": excess}})
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, settings=settings) as proxy:
        answer = await ask(proxy, {**BODY, "max_tokens": 10**9})

        assert answer.status_code == 200
        assert json.loads(endpoint.seen[0].body)["max_tokens"] == 10**9


async def test_tokens_of_what_was_refused_or_never_served_are_not_counted() -> None:
    settings = limited(tokens_per_minute=6)
    async with (
        FakeEndpoint(default=[CLOSE]) as endpoint,
        running_proxy(
            endpoint,
            settings=settings,
            access=keys(),
            scheduling=SchedulerSettings(max_wait_s=0, failure_backoff_s=1e-3),
        ) as proxy,
    ):
        refused = [await ask(proxy, x_foretoken_cache="maybe", **BEARER) for _ in range(9)]
        failed = [await ask(proxy, **BEARER) for _ in range(4)]

        assert {answer.status_code for answer in refused} == {400}
        assert {answer.status_code for answer in failed} <= {502, 503}
