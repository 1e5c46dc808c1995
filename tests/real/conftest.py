"""Two real vLLM servers and the proxy in front of them, once per test run.

Where vLLM cannot be installed or started these fixtures raise: the tests fail, they
never skip.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import openai
import pytest

from foretoken.vllm_cpu import VllmServer, proxy_before, vllm_pair

Pair = tuple[VllmServer, VllmServer]


@pytest.fixture(scope="session")
def servers() -> Iterator[Pair]:
    with vllm_pair() as pair:
        yield pair


@pytest.fixture(scope="session")
def proxy(servers: Pair) -> Iterator[str]:
    stack = AsyncExitStack()
    with asyncio.Runner() as runner:
        try:
            yield runner.run(stack.enter_async_context(proxy_before(servers)))
        finally:
            runner.run(stack.aclose())


@pytest.fixture
def client(proxy: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{proxy}/v1", api_key="unused", max_retries=0) as made:
        yield made
