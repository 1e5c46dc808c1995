"""OpenAI's own client against the proxy."""

import openai
import pytest

from tests.fakes import (
    DONE,
    LAST_CHUNK,
    RESET,
    STREAM_HEAD,
    FakeEndpoint,
    Script,
    event,
    json_response,
    usage_event,
)
from tests.proxy.harness import RunningProxy, running_proxy

pytestmark = pytest.mark.anyio

COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}
STREAM: Script = [STREAM_HEAD, event("a"), event("b"), usage_event(7, 2), DONE, LAST_CHUNK]
USER: openai.types.chat.ChatCompletionMessageParam = {"role": "user", "content": "hi"}


def client_of(proxy: RunningProxy) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        base_url=f"http://127.0.0.1:{proxy.port}/v1",
        api_key="none",
        max_retries=0,
        http_client=proxy.client,
    )


async def test_a_completion() -> None:
    script = [json_response(COMPLETION)]
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        got = await client_of(proxy).chat.completions.create(model="m", messages=[USER])

        assert got.choices[0].message.content == "hello"
        assert got.usage is not None
        assert got.usage.completion_tokens == 3


async def test_a_stream_without_usage_has_no_event_without_choices() -> None:
    async with FakeEndpoint(STREAM) as endpoint, running_proxy(endpoint) as proxy:
        stream = await client_of(proxy).chat.completions.create(
            model="m", messages=[USER], stream=True
        )
        parts = [part async for part in stream]

        assert [part.choices[0].delta.content for part in parts] == ["a", "b"]


async def test_a_stream_with_usage_ends_with_it() -> None:
    async with FakeEndpoint(STREAM) as endpoint, running_proxy(endpoint) as proxy:
        stream = await client_of(proxy).chat.completions.create(
            model="m", messages=[USER], stream=True, stream_options={"include_usage": True}
        )
        parts = [part async for part in stream]

        assert parts[-1].usage is not None
        assert parts[-1].usage.completion_tokens == 2


async def test_a_stream_that_breaks_is_an_error_to_it() -> None:
    script = [STREAM_HEAD, event("a"), RESET]
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        stream = await client_of(proxy).chat.completions.create(
            model="m", messages=[USER], stream=True
        )

        with pytest.raises(openai.APIError):
            _ = [part async for part in stream]


async def test_an_unknown_model_is_not_found() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        with pytest.raises(openai.NotFoundError) as refused:
            await client_of(proxy).chat.completions.create(model="nope", messages=[USER])

        assert refused.value.code == "model_not_found"


async def test_the_models_are_listed() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        models = [model.id async for model in client_of(proxy).models.list()]

        assert models == ["m"]
