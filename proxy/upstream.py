"""Kept connections to endpoints, and how a request gets one.

A kept connection that turns out closed before any response byte is replaced once.
Idle connections are bounded in count and age, silent ones in time. Called by the
relay; knows nothing of models or requests.
"""

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from proxy.connection import Connection, OutgoingRequest, UpstreamResponse
from proxy.errors import (
    UpstreamBroken,
    UpstreamDown,
    UpstreamSilent,
    UpstreamStale,
    UpstreamUnreachable,
)
from proxy.settings import UpstreamSettings

# How often idle and silent connections are looked for.
SWEEP_S: Final = 1.0


class _EndpointPool:
    """Connections to one endpoint, those in use and those idle."""

    __slots__ = ("_idle", "_max_idle", "connections", "host", "host_line", "port", "tls", "url")

    def __init__(self, url: str, *, max_idle: int) -> None:
        parts = urlsplit(url)
        self.url = url
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.tls else 80)
        self.host_line = b"host: " + parts.netloc.encode() + b"\r\n"
        self.connections: set[Connection] = set()
        self._idle: list[Connection] = []
        self._max_idle = max_idle

    def take(self) -> Connection | None:
        """Take the idle connection used last, if there is one."""
        return self._idle.pop() if self._idle else None

    def put(self, connection: Connection) -> None:
        """Take a connection back, or close it when enough are idle."""
        if len(self._idle) < self._max_idle:
            self._idle.append(connection)
        else:
            connection.abort(UpstreamBroken(self.url, "not needed"))

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is closed."""
        self.connections.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)


class Upstream:
    """Send requests to endpoints over kept connections.

    Use as an asynchronous context manager: leaving it closes every connection.

    Args:
        settings: Bounds; the defaults where ``None``.
    """

    def __init__(self, settings: UpstreamSettings | None = None) -> None:
        self._settings = settings or UpstreamSettings()
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

    async def send(self, url: str, request: OutgoingRequest) -> UpstreamResponse:
        """Send a request and wait for the head of the response.

        Args:
            url: Base URL of the endpoint, ``http://host:port`` or ``https://host:port``.
            request: What to send; the same one may be sent again elsewhere.

        Raises:
            UpstreamUnreachable: No connection could be made.
            UpstreamBroken: The connection broke before the head, or it is not HTTP.
            UpstreamSilent: The head did not come in time.
        """
        pool = self._pool(url)
        kept = pool.take()
        if kept is not None:
            with suppress(UpstreamStale):
                return await kept.exchange(request, pool.host_line)
        fresh = await self._connect(pool)
        return await fresh.exchange(request, pool.host_line)

    def sweep(self, now: float) -> None:
        """Close connections idle or silent for too long; runs by itself every second.

        Args:
            now: The event loop's clock.
        """
        for connection in list(self._connections()):
            limit_s = connection.silent_limit_s(self._settings)
            if now - connection.heard_s > limit_s:
                connection.abort(UpstreamSilent(connection.url, f"silent for {limit_s:g} s"))

    def give_up_silent(self, url: str) -> None:
        """Break every exchange of whose response body nothing has come.

        For an endpoint that has been found dead or hung without closing its connections;
        such requests can still go elsewhere.
        """
        pool = self._pools.get(url)
        for connection in list(() if pool is None else pool.connections):
            if connection.unanswered:
                connection.abort(UpstreamDown(url, "the endpoint is down"))

    def connections(self, url: str) -> int:
        """Count open connections to an endpoint."""
        pool = self._pools.get(url)
        return 0 if pool is None else len(pool.connections)

    def _pool(self, url: str) -> _EndpointPool:
        pool = self._pools.get(url)
        if pool is None:
            pool = _EndpointPool(url, max_idle=self._settings.max_idle_connections)
            self._pools[url] = pool
        return pool

    def _connections(self) -> Iterator[Connection]:
        return (connection for pool in self._pools.values() for connection in pool.connections)

    async def _connect(self, pool: _EndpointPool) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._settings.connect_timeout_s):
                _, connection = await loop.create_connection(
                    lambda: Connection(
                        pool.url, self._settings, on_free=pool.put, on_closed=pool.forget
                    ),
                    pool.host,
                    pool.port,
                    ssl=self._context() if pool.tls else None,
                )
        except (OSError, TimeoutError) as error:
            raise UpstreamUnreachable(pool.url, f"cannot connect: {error}") from error
        pool.connections.add(connection)
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def _sweep_again(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(SWEEP_S, self._sweep_again)
        self.sweep(loop.time())
