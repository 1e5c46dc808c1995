"""An endpoint that answers at once, for measuring what is in front of it.

    python -m benchmarks.workers.stub PORT

Speaks as much HTTP as a router needs: ``/v1/models``, ``/metrics``, and one short answer
with usage to everything else. Run by :mod:`benchmarks.workers.cost`.
"""

import asyncio
import sys
from typing import Final, cast

import httptools
import uvloop

MODEL: Final = "stub"
_METRICS: Final = (
    b'vllm:num_requests_running{model_name="stub"} 0\n'
    b'vllm:num_requests_waiting{model_name="stub"} 0\n'
    b'vllm:kv_cache_usage_perc{model_name="stub"} 0\n'
)
_MODELS: Final = b'{"object":"list","data":[{"id":"stub","object":"model","parent":null}]}'
_ANSWER: Final = (
    b'{"id":"1","object":"chat.completion","model":"stub","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"ok"},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,'
    b'"completion_tokens":1,"total_tokens":21,"prompt_tokens_details":{"cached_tokens":0}}}'
)


class Stub(asyncio.Protocol):
    """Answer one connection."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.WriteTransport
        self._path = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.WriteTransport", transport)  # a stream's is one

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Note what is asked for."""
        self._path = url

    def on_message_complete(self) -> None:
        """Answer."""
        body = {b"/metrics": _METRICS, b"/v1/models": _MODELS}.get(self._path, _ANSWER)
        kind = b"text/plain" if self._path == b"/metrics" else b"application/json"
        self._transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (kind, len(body), body)
        )


async def main() -> None:
    """Serve until ended."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
