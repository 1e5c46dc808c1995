"""How uvicorn serves: its shell of sockets and signals, our connections inside.

Without a relay (the predictor's API alone) its own HTTP protocol serves.
"""

import asyncio
import signal
import socket
from contextlib import suppress
from types import FrameType
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp

from collectors.in_step import until_next
from proxy.acceptor import Acceptor
from proxy.relay import Relay
from proxy.settings import ProxySettings

_LOOK_S: Final = 1.0  # whatever has become of the signal


class _Server(uvicorn.Server):
    """Tell endless responses when shutdown begins: uvicorn waits for them to end."""

    def __init__(
        self, config: uvicorn.Config, closing: asyncio.Event, acceptor: Acceptor | None
    ) -> None:
        super().__init__(config)
        self._closing = closing
        self._acceptor = acceptor

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  # uvicorn's
        """Begin to shut down, at once on a second interrupt.

        uvicorn's own would raise the signal again at the end, and a server that was told
        to stop and did would exit as if killed.
        """
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self._closing.set()

    async def main_loop(self) -> None:
        """Wait for a signal; uvicorn would look for one ten times a second."""
        await self.on_tick(0)  # its own protocol, where that serves, sends headers made there
        while not self.should_exit:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), until_next(_LOOK_S))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down; what runs on past its time is told so and ended.

        uvicorn would cancel tasks, and inference requests have none.
        """
        if self._acceptor is not None:
            limit_s = self.config.timeout_graceful_shutdown or 0
            asyncio.get_running_loop().call_later(limit_s, self._acceptor.end)
        await super().shutdown(sockets)


def build_server(
    app: ASGIApp, settings: ProxySettings, *, closing: asyncio.Event, relay: Relay | None = None
) -> uvicorn.Server:
    """Build the server; ``server.run()`` runs it until SIGTERM, when it sets ``closing``.

    Endpoints' ``date`` and ``server`` headers pass through, so it sets none; requests
    are logged once, at their end, by :mod:`proxy.request_log`.
    """
    acceptor = None if relay is None else Acceptor(relay, settings)
    # uvicorn calls it for each connection, as it would a protocol class.
    protocol = cast("Any", acceptor)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools" if acceptor is None else protocol,
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
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
    return _Server(config, closing, acceptor)
