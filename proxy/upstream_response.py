"""A response to be awaited: for those to whom comfort matters more than its cost.

The demo's clients and tests use it; the data path takes what comes by callback. What
nobody reads is bounded, then reading stops.
"""

import asyncio

from proxy.connection import Receiver
from proxy.errors import UpstreamError
from proxy.headers import RawHeaders
from proxy.http_response import ResponseHead


class UpstreamResponse(Receiver):
    """One response as it comes in.

    Args:
        buffer_bytes: Body bytes held for a slow reader before the endpoint is held back.

    Attributes:
        way: Where its request is under way.
        status: HTTP status, 0 until the head is there.
        headers: Header lines in their order, names in lower case.
        complete: Whether the whole body has come in.
        buffered_bytes: Body bytes that nobody has read yet.
    """

    def __init__(self, *, buffer_bytes: int) -> None:
        super().__init__()
        self.status = 0
        self.headers: RawHeaders = []
        self.complete = False
        self.buffered_bytes = 0
        self._buffer_bytes = buffer_bytes
        self._chunks: list[bytes] = []
        self._error: UpstreamError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def wait_head(self) -> None:
        """Wait for status and headers.

        Raises:
            UpstreamError: They did not come.
        """
        try:
            while not self.status:
                await self._wait()
        except asyncio.CancelledError:  # nobody will read the response
            self.abort()
            raise

    async def read(self) -> bytes:
        """Wait for body bytes and give all that are there; ``b""`` means the end.

        Raises:
            UpstreamError: The body ended early.
        """
        while not self._chunks:
            if self.complete:
                return b""
            await self._wait()
        data = b"".join(self._chunks)
        self._chunks = []
        self.buffered_bytes = 0
        if self.way is not None:
            self.way.resume_reading()
        return data

    def abort(self) -> None:
        """Give the response up: unless it is complete, close its connection at once."""
        if self.way is not None:
            self.way.give_up()

    # Called by the upstream

    def received(self, head: ResponseHead, body: bytes, trailers: bytes | None) -> None:
        """Keep what came."""
        self.status, self.headers = head.status, head.headers
        self.complete = trailers is not None
        if body:
            self._chunks.append(body)
            self.buffered_bytes += len(body)
        if self.buffered_bytes > self._buffer_bytes and self.way is not None:
            self.way.pause_reading()
        self._wake()

    def failed(self, error: UpstreamError) -> None:
        """Keep the error for the reader."""
        self._error = error
        self._wake()

    # How

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
