"""Requests as bytes on a socket, and the bodies and streams the relay's tests share."""

import json

from tests.fakes import DONE, LAST_CHUNK, STREAM_HEAD, event, usage_event
from tests.proxy.harness import RunningProxy

BODY = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
STREAMED = {**BODY, "stream": True}
STREAM = [STREAM_HEAD, event("a"), event("b"), usage_event(7, 2, 4), DONE, LAST_CHUNK]


async def raw_exchange(proxy: RunningProxy, request: bytes) -> bytes:
    """Send raw bytes and read until the proxy closes."""
    reader, writer = await proxy.connect()
    writer.write(request)
    got = await reader.read()
    writer.close()
    return got


def raw_chat(body: object, *lines: bytes) -> bytes:
    data = json.dumps(body).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n" + b"".join(
        line + b"\r\n" for line in lines
    )
    return head + b"content-length: %d\r\n\r\n" % len(data) + data
