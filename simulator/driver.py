"""Real time for an engine: one task that steps it by the event loop's clock.

Decides when a step ends: at its planned time, not when the loop got round to it, so
that late wake-ups do not add up. A loop that fell far behind starts from the clock
again rather than race to catch up. Called by the HTTP face.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from simulator.engine import Engine
from simulator.types import SimRequest, Step, Token

MOST_BEHIND_S: Final = 0.1
"""Lateness that is carried over to the next step; a stall of the machine is not."""


class TokenStream:
    """The tokens of one request, waiting to be fetched by the one who sent it."""

    __slots__ = ("_arrived", "_closed", "_tokens")

    def __init__(self) -> None:
        self._tokens: list[Token] = []
        self._closed = False
        self._arrived: asyncio.Future[None] | None = None

    def push(self, token: Token) -> None:
        """Add a token, the last one carrying the completion."""
        self._tokens.append(token)
        self._wake()

    def close(self) -> None:
        """End the stream: no token will come any more."""
        self._closed = True
        self._wake()

    async def fetch(self) -> list[Token]:
        """Wait for tokens and take all there are; empty once the stream is closed."""
        if not self._tokens and not self._closed:
            self._arrived = asyncio.get_running_loop().create_future()
            try:
                await self._arrived
            finally:
                self._arrived = None
        tokens, self._tokens = self._tokens, []
        return tokens

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


class Driver:
    """Drive one engine in real time; ``run`` is a task of whoever owns the driver."""

    def __init__(self, engine: Engine, observe: Callable[[Token], None]) -> None:
        self._engine = engine
        self._observe = observe
        self._streams: dict[str, TokenStream] = {}
        self._submitted = asyncio.Event()

    def submit(self, request: SimRequest) -> TokenStream:
        """Hand a request to the engine and give the stream its tokens will come by.

        Raises:
            RequestTooLong: It could never run here.
            DuplicateRequest: One of that id is alive.
        """
        self._engine.submit(request, asyncio.get_running_loop().time())
        stream = self._streams[request.request_id] = TokenStream()
        self._submitted.set()
        return stream

    def cancel(self, request_id: str) -> None:
        """Abort a request at once; nothing happens where it has ended."""
        self._engine.cancel(request_id, asyncio.get_running_loop().time())
        stream = self._streams.pop(request_id, None)
        if stream is not None:
            stream.close()

    def cancel_all(self) -> None:
        """Abort every request at once."""
        for request_id in tuple(self._streams):
            self.cancel(request_id)

    async def run(self) -> None:
        """Step the engine until cancelled."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while True:
            self._submitted.clear()
            step = self._engine.begin_step(now)
            if step is None:
                await self._idle()
                now = loop.time()
            else:
                now = max(now + step.duration_s, loop.time() - MOST_BEHIND_S)
                await asyncio.sleep(now - loop.time())
                self._deliver(step, now)

    async def _idle(self) -> None:
        """Wait for the next request, and for its overhead to pass."""
        wake_s = self._engine.wake_s()
        if wake_s is None:
            await self._submitted.wait()
        else:
            await asyncio.sleep(wake_s - asyncio.get_running_loop().time())

    def _deliver(self, step: Step, now: float) -> None:
        for token in self._engine.end_step(step, now):
            self._observe(token)
            stream = self._streams.get(token.request_id)
            if stream is None:
                continue
            if token.completion is not None:
                del self._streams[token.request_id]
            stream.push(token)
