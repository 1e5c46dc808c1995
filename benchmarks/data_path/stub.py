"""Endpoints that answer at once, or token by token at a fixed pace, on a raw protocol.

    python -m benchmarks.data_path.stub PORT,PORT,... [--ttft-ms N] [--itl-ms N]

One process listens on all ports. A chat answers as vLLM would, with usage: a stream has as
many content events as its ``max_tokens`` (1 without), the first after ``--ttft-ms``, the
others ``--itl-ms`` apart; an answer that is not streamed comes after ``--ttft-ms``. The
``/metrics`` page is vLLM 0.32's in length and names. What routers ask at their start is
answered too; all else is not found. vllm-router's default policy asks for
``/v1/chat/completions/render``, then ``/tokenize``, before every request: with tokens to
read it takes several times the CPU, and a comparison with it would show little.
"""

import argparse
import asyncio
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final, cast

import httptools
import uvloop

from benchmarks.data_path.vllm_page import PageTemplate

MODEL: Final = "stub"
CHATS: Final = b"/v1/chat/completions"
BYTES_PER_TOKEN: Final = 4
_STREAM: Final = re.compile(rb'"stream"\s*:\s*true')
_WITH_USAGE: Final = re.compile(rb'"include_usage"\s*:\s*true')
_MAX_TOKENS: Final = re.compile(rb'"max_(?:completion_)?tokens"\s*:\s*(\d+)')
_STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_STREAM_END: Final = b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Say when tokens come, in seconds."""

    ttft_s: float = 0.0
    itl_s: float = 0.0


class Endpoint:
    """One endpoint: its connections make answers by it, and it counts what runs."""

    def __init__(self, pace: Pace, template: PageTemplate) -> None:
        self.pace = pace
        self.running = 0
        self._template = template
        self._fixed = {path: response(json.dumps(body).encode()) for path, body in FIXED.items()}

    def get(self, path: bytes) -> bytes:
        """Answer what is no chat."""
        if path == b"/metrics":
            page = self._template.page(running=self.running, waiting=0)
            return response(page, b"text/plain; version=1.0.0; charset=utf-8")
        known = self._fixed.get(path.decode("latin-1"))
        return known or response(b'{"error":"not found"}', status=b"404 Not Found")


class Connection(asyncio.Protocol):
    """One connection; answers one request at a time."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports have the interface without the base class.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        """Stop what was being answered."""
        if self._timer is not None:
            self._timer.cancel()
            self._endpoint.running -= 1

    def data_received(self, data: bytes) -> None:
        """Take in bytes; nonsense closes."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._write_and_close(b"")

    def on_url(self, url: bytes) -> None:
        """Note the target."""
        self._target += url

    def on_body(self, data: bytes) -> None:
        """Note the body."""
        self._body += data

    def on_message_complete(self) -> None:
        """Answer."""
        path, body = self._target.partition(b"?")[0], bytes(self._body)
        self._begin()
        if path != CHATS:
            self._write(self._endpoint.get(path))
        elif _STREAM.search(body):
            self._play(stream_events(body), self._endpoint.pace.ttft_s, first=_STREAM_HEAD)
        elif self._endpoint.pace.ttft_s:
            self._play(iter((answer(body),)), self._endpoint.pace.ttft_s)
        else:
            self._write(answer(body))

    def _begin(self) -> None:
        self._target = b""
        self._body = bytearray()

    def _play(self, parts: Iterator[bytes], after_s: float, first: bytes = b"") -> None:
        """Write parts at the endpoint's pace, the first of them after some seconds."""
        if first:
            self._write(first)
        self._endpoint.running += 1
        loop = asyncio.get_running_loop()
        begun_s, itl_s = loop.time() + after_s, self._endpoint.pace.itl_s

        def step(number: int, part: bytes) -> None:
            self._write(part)
            following = next(parts, None)
            if following is None:
                self._timer = None
                self._endpoint.running -= 1
            else:
                due_s = begun_s + (number + 1) * itl_s
                self._timer = loop.call_at(due_s, step, number + 1, following)

        self._timer = loop.call_at(begun_s, step, 0, next(parts))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _write_and_close(self, data: bytes) -> None:
        self._write(data)
        if self._transport is not None:
            self._transport.close()


def response(
    body: bytes, content_type: bytes = b"application/json", status: bytes = b"200 OK"
) -> bytes:
    """Build a whole response."""
    lines = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    return lines % (status, content_type, len(body)) + body


def usage(body: bytes, output_tokens: int) -> dict[str, object]:
    """Count a request's tokens.

    >>> usage(b"x" * 400, 3)["prompt_tokens"]
    100
    """
    prompt_tokens = max(len(body) // BYTES_PER_TOKEN, 1)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": prompt_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    }


def answer(body: bytes) -> bytes:
    """Build the response of a chat that is not streamed; its one token says hello."""
    message = {"role": "assistant", "content": "hello"}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    whole = {**_head("chat.completion"), "choices": [choice], "usage": usage(body, 1)}
    return response(_json(whole))


def stream_events(body: bytes) -> Iterator[bytes]:
    """Build the chunks of a streamed chat, one a token; the last one ends the response."""
    found = _MAX_TOKENS.search(body)
    tokens = max(int(found[1]) if found else 1, 1)
    for number in range(tokens):
        last = number == tokens - 1
        delta = {"content": f"t{number} "}
        choice = {"index": 0, "delta": delta, "finish_reason": "length" if last else None}
        event = _event({**_head("chat.completion.chunk"), "choices": [choice]})
        if not last:
            yield event
            continue
        counted = b""
        if _WITH_USAGE.search(body):
            end = {"choices": [], "usage": usage(body, tokens)}
            counted = _event({**_head("chat.completion.chunk"), **end})
        yield event + counted + _STREAM_END


def _head(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-stub", "object": kind, "created": 1, "model": MODEL}


def _event(value: dict[str, object]) -> bytes:
    text = b"data: " + _json(value) + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(text), text)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_CARD: Final = {
    "id": MODEL,
    "object": "model",
    "created": 1,
    "owned_by": "vllm",
    "root": MODEL,
    "parent": None,
    "max_model_len": 131072,
}
_INFO: Final = {
    "model_path": MODEL,
    "model_id": MODEL,
    "served_model_name": MODEL,
    "tokenizer_path": MODEL,
    "is_generation": True,
    "version": "0.32.0",
    "dp_size": 1,
    "tp_size": 1,
    "max_running_requests": 256,
}
_LOAD: Final = {"dp_rank": 0, "num_reqs": 0, "num_waiting_reqs": 0, "num_tokens": 0}
FIXED: Final[dict[str, object]] = {
    "/v1/models": {"object": "list", "data": [_CARD]},
    "/version": {"version": "0.32.0"},
    **{path: {} for path in ("/health", "/ping", "/health_generate", "/readiness", "/liveness")},
    **dict.fromkeys(("/get_server_info", "/server_info", "/get_model_info"), _INFO),
    "/model_info": _INFO,
    "/get_load": [_LOAD],
}
"""What routers ask, and the answers."""


async def serve(ports: Sequence[int], pace: Pace) -> None:
    """Listen until cancelled."""
    loop, template = asyncio.get_running_loop(), PageTemplate()

    def protocol(endpoint: Endpoint) -> Callable[[], Connection]:
        return lambda: Connection(endpoint)

    async with AsyncExitStack() as stack:
        for port in ports:
            made = protocol(Endpoint(pace, template))
            server = await loop.create_server(made, "127.0.0.1", port, backlog=4096)
            await stack.enter_async_context(server)
        await asyncio.Event().wait()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ports", type=lambda text: [int(port) for port in text.split(",")])
    parser.add_argument("--ttft-ms", type=float, default=0.0)
    parser.add_argument("--itl-ms", type=float, default=0.0)
    given = parser.parse_args()
    pace = Pace(ttft_s=given.ttft_ms / 1e3, itl_s=given.itl_ms / 1e3)
    uvloop.run(serve(given.ports, pace))


if __name__ == "__main__":
    main()
