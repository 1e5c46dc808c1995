"""Kept connections to endpoints, and how a request gets one.

A request goes out at once where an idle connection is kept; only connecting takes a
task. A kept connection that turns out closed before any response byte is replaced once.
Idle connections are bounded in count and age, silent ones in time. Called by the data
path; knows nothing of models.
"""

import asyncio
import ssl
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self, cast
from urllib.parse import urlsplit

from collectors.in_step import until_next
from proxy.connection import Connection, OutgoingRequest, Receiver
from proxy.errors import UpstreamBroken, UpstreamDown, UpstreamSilent, UpstreamUnreachable
from proxy.outbox import Outbox
from proxy.settings import UpstreamSettings
from proxy.tls import endpoint_tls
from proxy.upstream_response import UpstreamResponse

# How often idle and silent connections are looked for.
SWEEP_S: Final = 1.0


class _EndpointPool:
    """Connections to one endpoint, those in use and those idle."""

    __slots__ = (
        "_host_line",
        "_idle",
        "_max_idle",
        "connections",
        "dials",
        "host",
        "host_line",
        "leaving",
        "port",
        "tls",
        "url",
    )

    def __init__(self, url: str, *, max_idle: int) -> None:
        parts = urlsplit(url)
        self.url = url
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.tls else 80)
        self.host_line = self._host_line = b"host: %b\r\n" % parts.netloc.encode()
        self.leaving = False  # gone as soon as nothing is under way
        self.connections: set[Connection] = set()
        self.dials: set[_Dial] = set()
        self._idle: list[Connection] = []
        self._max_idle = max_idle

    def authorize(self, key: str | None) -> None:
        """Send a key of the endpoint's own with every request, ``None`` for none."""
        given = b"" if key is None else b"authorization: Bearer %b\r\n" % key.encode("latin-1")
        self.host_line = self._host_line + given

    def take(self) -> Connection | None:
        """Take the idle connection used last, if there is one."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.closing:
                return connection
        return None

    def put(self, connection: Connection) -> None:
        """Take a connection back, or close it when enough are idle."""
        if len(self._idle) < self._max_idle and not self.leaving:
            self._idle.append(connection)
        else:
            connection.abort(UpstreamBroken(self.url, "not needed"))

    def leave(self) -> None:
        """Keep nothing that is idle, and no key; what is under way goes on."""
        self.leaving = True
        self.authorize(None)
        for connection in list(self._idle):
            connection.abort(UpstreamBroken(self.url, "not needed"))

    @property
    def gone(self) -> bool:
        """Tell whether it was told to leave and nothing is under way."""
        return self.leaving and not self.connections and not self.dials

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is closed."""
        self.connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


class _Dial:
    """A request whose connection is being made."""

    __slots__ = ("_pool", "_receiver", "_task")

    def __init__(self, pool: _EndpointPool, receiver: Receiver) -> None:
        self._pool = pool
        self._receiver = receiver
        self._task: asyncio.Task[None] | None = None
        receiver.way = self
        pool.dials.add(self)

    def start(self, task: "asyncio.Task[None]") -> None:
        """Keep the task that connects: nobody else does."""
        self._task = task

    def give_up(self) -> None:
        """Stop connecting; nothing more is told."""
        self._pool.dials.discard(self)
        if self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        """Take that the connection is made."""
        self._pool.dials.discard(self)

    def fail(self, error: UpstreamUnreachable) -> None:
        """Tell the receiver that there is no connection."""
        self._pool.dials.discard(self)
        self._receiver.way = None
        self._receiver.failed(error)

    def pause_reading(self) -> None:
        """Do nothing: there is nothing to read."""

    def resume_reading(self) -> None:
        """Do nothing: there is nothing to read."""


class Upstream:
    """Send requests to endpoints over kept connections.

    Use as an asynchronous context manager: leaving it closes every connection.

    Args:
        settings: Bounds; the defaults where ``None``.

    Attributes:
        outbox: Takes what is written, here and to clients.
    """

    def __init__(self, settings: UpstreamSettings | None = None) -> None:
        self._settings = settings or UpstreamSettings()
        self.outbox = Outbox()
        self._pools: dict[str, _EndpointPool] = {}
        self._tls: ssl.SSLContext | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        self._sweep_again()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._connections()):
            connection.abort(UpstreamBroken(connection.url, "shutting down"))
        for pool in self._pools.values():
            for dial in list(pool.dials):
                dial.give_up()
        self.outbox.close()

    def dispatch(self, url: str, request: OutgoingRequest, receiver: Receiver) -> None:
        """Send a request; what comes of it is told by callback.

        Args:
            url: Base URL of the endpoint, ``http://host:port`` or ``https://host:port``.
            request: What to send; the same one may be sent again elsewhere.
            receiver: Told of the response, or of the :class:`UpstreamError`:
                ``UpstreamUnreachable`` where no connection could be made,
                ``UpstreamBroken`` where it broke or what comes is not HTTP,
                ``UpstreamSilent`` where nothing came in time.
        """
        pool = self._pools.get(url) or self._pool(url)
        kept = pool.take()
        if kept is not None:
            kept.carry(request, pool.host_line, receiver)
        else:
            self._dial(pool, request, receiver)

    async def send(self, url: str, request: OutgoingRequest) -> UpstreamResponse:
        """Send a request and wait for the head of the response.

        Raises:
            UpstreamError: It did not come; see :meth:`dispatch`.
        """
        response = UpstreamResponse(buffer_bytes=self._settings.buffer_bytes)
        self.dispatch(url, request, response)
        await response.wait_head()
        return response

    def sweep(self, now: float) -> None:
        """Close connections idle or silent for too long; runs by itself every second.

        Args:
            now: The event loop's clock.
        """
        for connection in list(self._connections()):
            limit_s = connection.silent_limit_s(self._settings)
            if now - connection.heard_s > limit_s:
                connection.abort(UpstreamSilent(connection.url, f"silent for {limit_s:g} s"))
        for url in [url for url, pool in self._pools.items() if pool.gone]:
            del self._pools[url]

    def give_up_silent(self, url: str) -> None:
        """Break every exchange of whose response body nothing has come.

        For an endpoint that has been found dead or hung without closing its connections;
        such requests can still go elsewhere.
        """
        pool = self._pools.get(url)
        for connection in list(() if pool is None else pool.connections):
            if connection.unanswered:
                connection.abort(UpstreamDown(url, "the endpoint is down"))

    def authorize(self, url: str, key: str | None) -> None:
        """Send a key of an endpoint's own with every request to it, ``None`` for none."""
        pool = self._pools.get(url) or self._pool(url)
        pool.leaving = False
        pool.authorize(key)

    def forget(self, url: str) -> None:
        """Let go of an endpoint that has left, and of its key; what is under way goes on.

        An address that comes back is authorized anew.
        """
        pool = self._pools.get(url)
        if pool is not None:
            pool.leave()
            if pool.gone:
                del self._pools[url]

    @property
    def endpoints(self) -> int:
        """Count the endpoints of which something is kept."""
        return len(self._pools)

    def connections(self, url: str) -> int:
        """Count open connections to an endpoint."""
        pool = self._pools.get(url)
        return 0 if pool is None else len(pool.connections)

    def _pool(self, url: str) -> _EndpointPool:
        pool = self._pools[url] = _EndpointPool(url, max_idle=self._settings.max_idle_connections)
        return pool

    def _connections(self) -> Iterator[Connection]:
        return (connection for pool in self._pools.values() for connection in pool.connections)

    def _dial(self, pool: _EndpointPool, request: OutgoingRequest, receiver: Receiver) -> None:
        dial = _Dial(pool, receiver)
        connecting = self._connect(pool, dial, request, receiver)
        dial.start(asyncio.get_running_loop().create_task(connecting))

    async def _connect(
        self, pool: _EndpointPool, dial: _Dial, request: OutgoingRequest, receiver: Receiver
    ) -> None:
        connection = Connection(
            pool.url,
            self._settings,
            self.outbox,
            on_free=pool.put,
            on_closed=pool.forget,
            on_stale=lambda request, receiver: self._dial(pool, request, receiver),
        )
        protocol = cast("asyncio.Protocol", connection)  # by its methods
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                await loop.create_connection(
                    lambda: protocol,
                    pool.host,
                    pool.port,
                    ssl=self._context() if pool.tls else None,
                )
        except (OSError, TimeoutError, ValueError) as error:  # the last: no name of a host
            dial.fail(UpstreamUnreachable(pool.url, f"cannot connect: {error}"))
            return
        pool.connections.add(connection)
        dial.end()
        connection.carry(request, pool.host_line, receiver)

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = endpoint_tls(self._settings)
        return self._tls

    def _sweep_again(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(until_next(SWEEP_S), self._sweep_again)
        self.sweep(loop.time())
