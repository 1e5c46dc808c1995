import asyncio
import json
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
import uvicorn

from simulator.language import Language, tokenize_chat
from simulator.server import SimulatedEndpoint, create_app
from simulator.settings import EndpointSettings

MODEL = "llama-3.1-8b"
CHAT: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Why is the sky blue? " * 20}],
}


@pytest.fixture
def endpoint() -> SimulatedEndpoint:
    return create_app(EndpointSettings(max_model_len=4096))


@pytest.fixture
def ask(run: Any, endpoint: SimulatedEndpoint) -> Callable[..., list[httpx.Response]]:
    """Send requests, given as keyword arguments of httpx, one after the other."""

    async def send(*requests: dict[str, Any]) -> list[httpx.Response]:
        transport = httpx.ASGITransport(endpoint)
        async with (
            endpoint.running(),
            httpx.AsyncClient(transport=transport, base_url="http://sim") as client,
        ):
            return [await client.request(**{"method": "POST"} | one) for one in requests]

    return lambda *requests: run(send(*requests))


def _chat(**fields: Any) -> dict[str, Any]:
    headers = fields.pop("headers", {})
    return {"url": "/v1/chat/completions", "json": CHAT | fields, "headers": headers}


def _events(response: httpx.Response) -> list[dict[str, Any]]:
    blocks = response.text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    return [json.loads(block.removeprefix("data: ")) for block in blocks[:-2]]


def _get(url: str) -> dict[str, Any]:
    return {"method": "GET", "url": url}


def test_a_chat_stream_has_the_shape_of_vllm(ask: Any) -> None:
    (response,) = ask(
        _chat(
            stream=True,
            stream_options={"include_usage": True},
            headers={"x-sim-output-tokens": "3", "x-request-id": "trace-1"},
        )
    )

    role, first, second, last, usage = _events(response)
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["x-request-id"] == "trace-1"
    assert list(first)[:4] == ["id", "object", "created", "model"]
    assert (role["id"], role["object"]) == ("chatcmpl-trace-1", "chat.completion.chunk")
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    reasons = [event["choices"][0]["finish_reason"] for event in (role, first, second, last)]
    assert reasons == [None, None, None, "stop"]
    assert usage["choices"] == []
    assert usage["usage"] == {
        "prompt_tokens": 119,
        "total_tokens": 122,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 0},
    }
    assert usage["metrics"]["time_to_first_token_ms"] > 0


def test_a_stream_without_include_usage_has_no_usage_chunk(ask: Any) -> None:
    (response,) = ask(_chat(stream=True, headers={"x-sim-output-tokens": "3"}))

    assert len(_events(response)) == 4
    assert "usage" not in response.text


def test_a_stream_of_one_token_carries_its_reason(ask: Any) -> None:
    (response,) = ask(_chat(stream=True, max_tokens=1, ignore_eos=True))

    role, only = _events(response)
    assert role["choices"][0]["delta"]["role"] == "assistant"
    assert only["choices"][0]["finish_reason"] == "length"


def test_streamed_or_not_the_answer_is_the_same_and_known_beforehand(ask: Any) -> None:
    headers = {"x-sim-output-tokens": "40"}
    whole, streamed = ask(_chat(headers=headers), _chat(headers=headers, stream=True))

    text = "".join(event["choices"][0]["delta"]["content"] for event in _events(streamed))
    prompt = tokenize_chat((message["role"], message["content"]) for message in CHAT["messages"])
    assert text == Language().answer(prompt, 40)
    assert whole.json()["choices"][0]["message"] == {"role": "assistant", "content": text}
    assert whole.json()["object"] == "chat.completion"


def test_the_next_turn_finds_the_answer_in_the_cache(ask: Any) -> None:
    prompt = tokenize_chat((message["role"], message["content"]) for message in CHAT["messages"])
    answer = {"role": "assistant", "content": Language().answer(prompt, 60)}
    following = [*CHAT["messages"], answer, {"role": "user", "content": "And at night?"}]

    _, response = ask(
        _chat(headers={"x-sim-output-tokens": "60"}),
        _chat(messages=following, headers={"x-sim-output-tokens": "5"}),
    )

    cached = response.json()["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached == 176  # of 119 + 59 tokens computed before


def test_text_completions_stream_and_take_token_ids(ask: Any) -> None:
    tokenized, _ = ask(
        {"url": "/tokenize", "json": {"prompt": "Once upon a time"}}, _get("/health")
    )
    ids = tokenized.json()["tokens"]
    bodies = [
        {"prompt": prompt, "max_tokens": 5, "ignore_eos": True}
        for prompt in (ids, "Once upon a time")
    ]

    by_ids, streamed = ask(
        {"url": "/v1/completions", "json": bodies[0]},
        {"url": "/v1/completions", "json": bodies[1] | {"stream": True}},
    )

    assert tokenized.json()["count"] == len(ids) == 4
    text = "".join(event["choices"][0]["text"] for event in _events(streamed))
    assert by_ids.json()["choices"][0] == {
        "index": 0,
        "text": text,
        "logprobs": None,
        "finish_reason": "length",
        "stop_reason": None,
    }
    assert by_ids.json()["id"].startswith("cmpl-")


def test_tokens_become_text_again(ask: Any) -> None:
    (tokenized,) = ask({"url": "/tokenize", "json": {"prompt": "Grüße!"}})
    (chat,) = ask({"url": "/tokenize", "json": {"messages": CHAT["messages"]}})
    (back,) = ask({"url": "/detokenize", "json": {"tokens": tokenized.json()["tokens"]}})

    assert back.json() == {"prompt": "Grüße!"}
    assert chat.json()["count"] == 119


def test_the_model_card_tells_the_context_length(ask: Any) -> None:
    models, health, version = ask(_get("/v1/models"), _get("/health"), _get("/version"))

    (card,) = models.json()["data"]
    assert (card["id"], card["root"], card["parent"]) == (MODEL, MODEL, None)
    assert card["max_model_len"] == 4096
    assert (health.status_code, health.content) == (200, b"")
    assert "version" in version.json()


def test_the_metrics_page_counts_what_was_served(ask: Any) -> None:
    _, page = ask(_chat(headers={"x-sim-output-tokens": "12"}), _get("/metrics"))

    labels = f'{{engine="0",model_name="{MODEL}"}}'
    assert page.headers["content-type"].startswith("text/plain; version=")
    assert f"vllm:generation_tokens_total{labels} 12.0" in page.text
    assert f"vllm:num_requests_running{labels} 0.0" in page.text


@pytest.mark.parametrize(
    ("request_", "status", "kind", "param"),
    [
        ({"url": "/v1/chat/completions", "content": b"{nonsense"}, 400, "Bad Request", "body"),
        ({"url": "/v1/chat/completions", "json": {"model": MODEL}}, 400, "Bad Request", "body"),
        (_chat(model="other"), 404, "NotFoundError", "model"),
        (_chat(max_tokens=99_999), 400, "BadRequestError", "max_tokens"),
        (
            {"url": "/v1/completions", "json": {"prompt": "word" * 5000}},
            400,
            "BadRequestError",
            "input_tokens",
        ),
        ({"url": "/tokenize", "json": {}}, 400, "BadRequestError", "prompt"),
        ({"url": "/v1/nothing", "json": {}}, 404, "NotFoundError", None),
        ({"url": "/v1/models", "json": {}}, 405, "MethodNotAllowedError", None),
    ],
)
def test_errors_have_the_form_of_vllm(
    ask: Any, request_: dict[str, Any], status: int, kind: str, param: str | None
) -> None:
    (response,) = ask(request_)

    error = response.json()["error"]
    assert response.status_code == status
    assert (error["type"], error["param"], error["code"]) == (kind, param, status)
    assert error["message"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_aborts_its_request(
    run: Any, endpoint: SimulatedEndpoint, *, stream: bool
) -> None:
    async def scenario() -> tuple[int, int]:
        body = json.dumps(CHAT | {"stream": stream, "ignore_eos": True}).encode()
        async with endpoint.running():
            connection = _Connection("/v1/chat/completions", body)
            task = asyncio.create_task(connection.through(endpoint))
            await asyncio.sleep(1.0)  # virtual
            running = endpoint.engine.running_requests
            connection.gone.set()
            await task
            return running, endpoint.engine.running_requests

    assert run(scenario()) == (1, 0)


def test_a_dead_engine_is_unhealthy_and_leaves_nobody_waiting(
    run: Any, endpoint: SimulatedEndpoint, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> tuple[bytes, int, int]:
        endpoint.engine.end_step = None  # type: ignore[method-assign,assignment]  # breaks it
        transport = httpx.ASGITransport(endpoint)
        async with (
            endpoint.running(),
            httpx.AsyncClient(transport=transport, base_url="http://sim") as client,
        ):
            under_way = await client.post("/v1/chat/completions", json=CHAT | {"stream": True})
            later = await client.post("/v1/chat/completions", json=CHAT)
            health = await client.get("/health")
            return under_way.content, later.status_code, health.status_code

    under_way, later, health = run(scenario())

    assert b'"finish_reason":"abort"' in under_way
    assert (later, health) == (500, 503)
    assert "engine_died" in caplog.text


def test_being_told_to_stop_ends_streams_with_an_abort(
    run: Any, endpoint: SimulatedEndpoint
) -> None:
    async def scenario() -> bytes:
        body = json.dumps(CHAT | {"stream": True, "ignore_eos": True}).encode()
        async with endpoint.running():
            connection = _Connection("/v1/chat/completions", body)
            task = asyncio.create_task(connection.through(endpoint))
            await asyncio.sleep(1.0)  # virtual
            endpoint.abort_all()
            await task
            return connection.body

    received = run(scenario())

    assert b'"finish_reason":"abort"' in received
    assert received.endswith(b"data: [DONE]\n\n")


def test_it_serves_over_loopback_and_its_lifespan_starts_the_engine() -> None:
    endpoint = create_app(EndpointSettings(speed=1000.0, request_overhead_s=0.0))

    async def scenario() -> httpx.Response:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            server = uvicorn.Server(uvicorn.Config(endpoint, lifespan="on", log_level="warning"))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            port = listener.getsockname()[1]
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
                response = await client.post(
                    "/v1/chat/completions",
                    json=CHAT | {"stream": True, "max_tokens": 30, "ignore_eos": True},
                )
            server.should_exit = True
            await serving
            return response

    response = asyncio.run(scenario())

    text = "".join(event["choices"][0]["delta"]["content"] for event in _events(response))
    assert len(text) == 4 * 30


class _Connection:
    """An ASGI client that sends one request and can go away."""

    def __init__(self, path: str, body: bytes) -> None:
        self.gone = asyncio.Event()
        self.body = b""
        self._scope = {"type": "http", "method": "POST", "path": path, "headers": []}
        self._messages = [{"type": "http.request", "body": body, "more_body": False}]

    def through(self, endpoint: SimulatedEndpoint) -> Coroutine[Any, Any, None]:
        return endpoint(self._scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._messages:
            return self._messages.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.body += message.get("body", b"")
