"""The gRPC server: listens for Envoy, gives calls their handlers, and drains.

Its own, because the one that gRPC brings costs more per message than everything the
scheduler does for a request; docs/decisions/picker.md has the numbers. HTTP/2 without TLS,
with prior knowledge, as Envoy speaks to a cluster of its own host.
"""

import asyncio
import socket
from types import TracebackType
from typing import Final, Self

from proxy.picker import health
from proxy.picker.call import Call, Handler
from proxy.picker.connection import Connection
from proxy.picker.health import Health
from proxy.picker.picker import Picker
from proxy.picker.questions import SERVICE
from proxy.settings import ProxySettings

PROCESS: Final = f"/{SERVICE}/Process"
_MESSAGE_ROOM: Final = 1 << 20  # bytes of a message around the body it carries
_BACKLOG: Final = 1024
_HEALTH_S: Final = 0.2  # between two looks at it for those who watch: as often as scrapes come


class PickerServer:
    """Serve a picker on a socket; an asynchronous context manager.

    Args:
        picker: Takes the streams.
        settings: Limits.
        listener: A bound socket; whoever opened it closes it.
    """

    def __init__(self, picker: Picker, settings: ProxySettings, listener: socket.socket) -> None:
        self._picker = picker
        self._settings = settings
        self._listener = listener
        self._health = Health(self._is_ready)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._idle = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Begin to listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._connect, sock=self._listener, backlog=_BACKLOG
        )
        self._tell_health()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Take no more requests, let those in flight end for a while, and close."""
        if self._server is not None:
            self._server.close()
        if self._timer is not None:
            self._timer.cancel()
        self.drain()
        try:
            async with asyncio.timeout(self._settings.shutdown_s):
                while self._connections:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            for connection in list(self._connections):
                connection.abort()
            await asyncio.sleep(0)  # what was aborted hears of it in the next round
        self._picker.close()

    def drain(self) -> None:
        """Tell everybody to go elsewhere with further requests."""
        self._health.drain()
        for connection in list(self._connections):
            connection.drain()

    def _tell_health(self) -> None:
        """Tell those who watch the health what has changed, again and again."""
        self._health.tell()
        self._timer = asyncio.get_running_loop().call_later(_HEALTH_S, self._tell_health)

    def _connect(self) -> Connection:
        connection = Connection(
            self._accept,
            most_streams=self._settings.picker.max_streams,
            most_bytes=self._settings.max_body_bytes + _MESSAGE_ROOM,
            on_lost=self._lost,
        )
        self._connections.add(connection)
        return connection

    def _lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._idle.set()

    def _accept(self, path: str, call: Call) -> Handler | None:
        match path:
            case str() if path == PROCESS:
                return self._picker.accept(call)
            case health.CHECK:
                return self._health.check(call)
            case health.WATCH:
                return self._health.watch(call)
            case _:
                return None

    def _is_ready(self) -> bool:
        states = self._picker.scheduler.states.values()
        return any(state.up and state.model is not None for state in states)
