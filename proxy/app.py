"""The ASGI application: everything but inference paths, which never get here.

``/foretoken/`` goes to the control plane; what is left are a few answers of our own. Run
by uvicorn, see :mod:`proxy.server`; which paths are an endpoint's says
:func:`proxy.relay.serves`.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import msgspec
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.access import Access
from proxy.answers import send_answer, send_error
from proxy.errors import NotAuthenticated, UnknownPath, to_response
from proxy.metrics_page import CONTENT_TYPES, Encoding, encoding_of, page_of
from scheduler import Scheduler

Lifespan = Callable[[], AbstractAsyncContextManager[None]]


class ProxyApp:
    """Send every request where it belongs.

    Args:
        scheduler: Knows the models and the endpoints.
        registry: What ``/metrics`` shows.
        lifespan: Entered before the first request, left after the last.
        control: Serves ``/foretoken/``, ``None`` for nobody.
        access: Knows who may ask for the models, ``None`` for everyone.
        page: Makes the page of ``/metrics``, ``None`` to make it of the registry.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        registry: CollectorRegistry,
        lifespan: Lifespan,
        control: ASGIApp | None = None,
        access: Access | None = None,
        page: Callable[[Encoding], Awaitable[bytes]] | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._registry = registry
        self._lifespan = lifespan
        self._control = control
        self._access = access or Access()
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope."""
        if scope["type"] == "lifespan":
            await self._run_lifespan(receive, send)
        elif scope["type"] == "http":
            await self._serve(scope["path"], scope, receive, send)

    async def _serve(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        if self._control is not None and path.startswith("/foretoken"):
            await self._control(scope, receive, send)
        elif scope["method"] in {"GET", "HEAD"} and path in {
            "/v1/models",
            "/health",
            "/ready",
            "/metrics",
        }:
            headers = dict(scope["headers"])
            try:
                if path == "/v1/models":
                    self._access.caller_of(headers)
            except NotAuthenticated as error:
                await send_error(send, to_response(error))
                return
            await self._answer(path, encoding_of(headers.get(b"accept", b"")), send)
        else:
            await send_error(send, to_response(UnknownPath(scope["method"], path)))

    async def _answer(self, path: str, encoding: Encoding, send: Send) -> None:
        match path:
            case "/v1/models":
                await send_answer(send, 200, self._models())
            case "/health":
                await send_answer(send, 200, b'{"status":"alive"}')
            case "/ready":
                await self._answer_ready(send)
            case _:
                make = self._page
                page = await (make(encoding) if make else page_of(self._registry, encoding))
                await send_answer(send, 200, page, content_type=CONTENT_TYPES[encoding])

    async def _answer_ready(self, send: Send) -> None:
        states = self._scheduler.states.values()
        down = sorted(state.endpoint for state in states if not state.up)
        ready = any(state.up and state.model is not None for state in states)
        body = {"status": "ready" if ready else "no endpoint is up", "down": down}
        await send_answer(send, 200 if ready else 503, msgspec.json.encode(body))

    def _models(self) -> bytes:
        """Give the union of what the endpoints serve, in OpenAI's form."""
        base_of = {
            name: state.model
            for state in self._scheduler.states.values()
            if state.model is not None
            for name in (state.model, *state.adapters)
        }
        cards = [
            {
                "id": name,
                "object": "model",
                "created": 0,
                "owned_by": "foretoken",
                "root": base,
                "parent": None if name == base else base,
            }
            for name, base in sorted(base_of.items())
        ]
        return msgspec.json.encode({"object": "list", "data": cards})

    async def _run_lifespan(self, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        phase = "startup"
        try:
            async with self._lifespan():
                await send({"type": "lifespan.startup.complete"})
                phase = "shutdown"
                await receive()  # lifespan.shutdown
        except Exception as error:
            await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})
