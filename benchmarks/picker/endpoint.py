"""An endpoint that answers every chat at once: ``python -m benchmarks.picker.endpoint PORT``."""

import asyncio
import sys
from typing import Final, cast

import httptools
import uvloop

MODEL: Final = "stub"
_ANSWER: Final = (
    b'{"id":"1","object":"chat.completion","model":"stub","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"ok"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":500,"completion_tokens":4,"total_tokens":504}}'
)
_MODELS: Final = b'{"object":"list","data":[{"id":"stub","object":"model"}]}'
_METRICS: Final = b'vllm:num_requests_running{model_name="stub"} 0\n'


def _response(body: bytes, kind: bytes = b"application/json") -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (kind, len(body)) + body


_PAGES: Final = {b"/v1/models": _response(_MODELS), b"/metrics": _response(_METRICS, b"text/plain")}
_CHAT: Final = _response(_ANSWER)


class Connection(asyncio.Protocol):
    """Answer one request after the other."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._transport = cast("asyncio.Transport", None)  # until the connection is made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Take in bytes."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Note what is asked for."""
        self._target = url

    def on_message_complete(self) -> None:
        """Answer."""
        self._transport.write(_PAGES.get(self._target, _CHAT))


async def main() -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
