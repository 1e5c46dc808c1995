"""How uvicorn serves the application: lean, and adding no headers of its own."""

import asyncio
import signal
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from proxy.settings import ProxySettings


class _Server(uvicorn.Server):
    """Tell endless responses when shutdown begins: uvicorn waits for them to end."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self._closing = closing

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's
        """Begin to shut down, at once on a second interrupt.

        uvicorn's own would raise the signal again at the end, and a server that was told
        to stop and did would exit as if killed.
        """
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self._closing.set()


def build_server(
    app: ASGIApp, settings: ProxySettings, *, closing: asyncio.Event
) -> uvicorn.Server:
    """Build the server; ``server.run()`` runs it until SIGTERM, when it sets ``closing``.

    Endpoints' ``date`` and ``server`` headers pass through, so it sets none; requests
    are logged once, at their end, by :mod:`proxy.request_log`.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="uvloop",
        ws="none",
        lifespan="on",
        interface="asgi3",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=4096,
        timeout_keep_alive=settings.keepalive_s,
        timeout_graceful_shutdown=settings.shutdown_s,
    )
    return _Server(config, closing)
