"""Connections of the HTTP face by where they come from, so that a fault can reset one.

ASGI knows no transports: what an application may do to a response ends with closing it, and
a process that dies does worse. Called by the HTTP face.
"""

import asyncio
import socket
import struct
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Connections = dict[tuple[str, int], asyncio.Transport]


# Any: uvicorn calls what it is given for each connection, as it would a protocol class.
def protocol_of(connections: Connections) -> Any:  # noqa: ANN401
    """Make what uvicorn takes for a protocol; it keeps the connections up to date."""
    return cast("Any", partial(_Connection, connections))


def reset(transport: asyncio.Transport | None) -> None:
    """End a connection with a TCP reset, as the kernel does for a process that dies."""
    if transport is not None:
        lingering = struct.pack("ii", 1, 0)  # for no time at all
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, lingering
        )
        transport.abort()


class _Connection(HttpToolsProtocol):
    """A connection that says where it comes from."""

    # Any: arguments of uvicorn's own.
    def __init__(self, connections: Connections, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self._connections = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Note where it comes from."""
        super().connection_made(transport)
        if self.client is not None:
            self._connections[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        if self.client is not None:
            self._connections.pop(self.client, None)
        super().connection_lost(exc)
