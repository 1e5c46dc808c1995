"""One HTTP request of a plain ASGI server, and the way to answer it.

Decides nothing but the order of messages; the endpoint's handlers speak through it.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final

from simulator.errors import ClientGone
from simulator.responses import compact

Scope = MutableMapping[str, Any]  # ASGI leaves the values open
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]

JSON: Final = b"application/json"


class Exchange:
    """One HTTP request and the way to answer it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope.get("query_string", b"").decode("latin-1")
        self.headers: Mapping[str, str] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        self._receive = receive
        self._send = send

    async def body(self) -> bytes:
        """Read the whole body."""
        parts = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(parts)

    async def disconnected(self) -> None:
        """Return when the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, content_type: bytes, status: int, length: int | None = None) -> None:
        """Send status and headers; the request's id is echoed."""
        headers = [(b"content-type", content_type)]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        if "x-request-id" in self.headers:
            headers.append((b"x-request-id", self.headers["x-request-id"].encode("latin-1")))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes, *, more: bool) -> None:
        """Send a part of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def reply(self, body: bytes, content_type: bytes, status: int = 200) -> None:
        """Answer with one whole body."""
        await self.start(content_type, status, len(body))
        await self.write(body, more=False)

    async def reply_json(self, value: Mapping[str, object]) -> None:
        """Answer with one JSON value."""
        await self.reply(compact(value), JSON)
