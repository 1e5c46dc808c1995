"""All client connections: made for uvicorn, counted, looked after once a second.

uvicorn opens the sockets, takes signals and runs the lifespan; it makes connections by
calling what it was given as its HTTP protocol, an :class:`Acceptor`.
"""

import asyncio
from typing import TYPE_CHECKING, Any, Final

from collectors.in_step import until_next
from proxy.client import ClientConnection
from proxy.relay import Relay
from proxy.settings import ProxySettings

if TYPE_CHECKING:
    import uvicorn
    from uvicorn._types import ASGI3Application
    from uvicorn.server import ServerState

# How often connections are looked at: time limits on them are as coarse.
SWEEP_S: Final = 1.0


class Acceptor:
    """Make and know the connections of clients.

    Args:
        relay: Serves inference requests.
        settings: Limits.

    Attributes:
        relay: As above.
        settings: As above.
        loop: The event loop, from the first connection on.
        app: Serves all other requests.
        app_state: What its lifespan left for them.
    """

    def __init__(self, relay: Relay, settings: ProxySettings) -> None:
        self.relay = relay
        self.settings = settings
        self.app_state: dict[str, Any] = {}  # ASGI's: any application's own
        self.app: ASGI3Application
        self.loop: asyncio.AbstractEventLoop
        self._state: ServerState | None = None
        self._connections: set[ClientConnection] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def __call__(
        self,
        config: "uvicorn.Config",
        server_state: "ServerState",
        app_state: dict[str, Any],  # as above
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> ClientConnection:
        """Make a connection; uvicorn calls this as it would construct its own protocol."""
        self.app, self.app_state, self._state = config.loaded_app, app_state, server_state
        self.loop = _loop or asyncio.get_running_loop()
        return ClientConnection(self)

    def enter(self, connection: ClientConnection) -> bool:
        """Take a connection in; tell whether there are too many."""
        self._connections.add(connection)
        if self._state is not None:
            # uvicorn asks those in there to shut down, and waits for them to leave.
            self._state.connections.add(connection)  # type: ignore[arg-type]  # its own classes
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(until_next(SWEEP_S), self._sweep_again)
        return len(self._connections) > self.settings.max_connections

    def leave(self, connection: ClientConnection) -> None:
        """Forget a connection that is closed."""
        self._connections.discard(connection)
        if self._state is not None:
            self._state.connections.discard(connection)

    def watch(self, task: "asyncio.Task[None]") -> None:
        """Keep the task of a request: uvicorn waits for it, and cancels it at last."""
        if self._state is not None:
            self._state.tasks.add(task)
            task.add_done_callback(self._state.tasks.discard)

    @property
    def coming(self) -> int:
        """Count connections on which a request has begun and is not whole."""
        return sum(connection.coming for connection in self._connections)

    @property
    def unsent_bytes(self) -> int:
        """Count bytes that wait for clients to read."""
        return sum(connection.unsent_bytes for connection in self._connections)

    def sweep(self, now: float) -> None:
        """Look after the time limits of every connection; runs by itself every second.

        Args:
            now: The event loop's clock.
        """
        for connection in list(self._connections):
            connection.check(now)

    def end(self) -> None:
        """Close every connection: what is under way has had its time."""
        for connection in list(self._connections):
            connection.end()

    def _sweep_again(self) -> None:
        if not self._connections:
            self._sweeper = None
            return
        self._sweeper = self.loop.call_later(until_next(SWEEP_S), self._sweep_again)
        self.sweep(self.loop.time())
