"""Real time for an engine: one task that steps it by the event loop's clock.

Decides when a step begins and ends: at its planned time, not when the loop got round to
it, so that late wake-ups do not add up. A loop that fell far behind starts from the
clock again rather than race to catch up. Called by the HTTP face.
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

    __slots__ = ("_arrived", "_closed", "_tokens", "failed")

    def __init__(self) -> None:
        self.failed = False
        """Whether it ended because the endpoint crashed."""
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

    def fail(self) -> None:
        """End the stream: the endpoint is gone."""
        self.failed = True
        self.close()

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
    """Drive one engine in real time; ``run`` is a task of whoever owns the driver.

    Args:
        engine: What to drive.
        observe: Told of every token.
        changed: Called whenever what the engine's cache holds may have changed.
    """

    def __init__(
        self,
        engine: Engine,
        observe: Callable[[Token], None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._observe = observe
        self._tell = changed
        self._streams: dict[str, TokenStream] = {}
        self._usual_speed = engine.speed
        self._changed = asyncio.Event()

    def submit(self, request: SimRequest, came_s: float | None = None) -> TokenStream:
        """Hand a request to the engine and give the stream its tokens will come by.

        Args:
            request: What to run.
            came_s: When it came, on the event loop's clock, ``None`` for this moment. What
                was done for it since is part of its constant overhead, not on top of it.

        Raises:
            RequestTooLong: It could never run here.
            DuplicateRequest: One of that id is alive.
        """
        now = asyncio.get_running_loop().time()
        self._engine.submit(request, now if came_s is None else came_s)
        stream = self._streams[request.request_id] = TokenStream()
        self._changed.set()
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

    # Faults

    def slow_down(self, factor: float) -> None:
        """Let steps take ``factor`` times as long as settings say, from the next one on."""
        self._engine.speed = self._usual_speed / factor

    def hang(self, seconds: float) -> None:
        """Stand still for a time: no token comes, none of it is made up for."""
        now = asyncio.get_running_loop().time()
        self._engine.hang(now, now + seconds)
        self._changed.set()

    def crash(self) -> None:
        """Lose every request and the cache at once; their streams end as failed."""
        self._engine.crash()
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.fail()
        self._tell()
        self._changed.set()

    def flush(self) -> None:
        """Forget every cached block no request holds."""
        self._engine.flush()
        self._tell()

    # The task

    async def run(self) -> None:
        """Step the engine until cancelled."""
        now = asyncio.get_running_loop().time()
        while True:
            step = self._engine.begin_step(now)
            self._tell()
            now = await (self._idle() if step is None else self._end(step))

    async def _idle(self) -> float:
        """Wait until there may be something to compute; give when that was."""
        loop = asyncio.get_running_loop()
        wake_s = self._engine.wake_s()
        if await self._until(wake_s) and wake_s is not None:
            return max(wake_s, loop.time() - MOST_BEHIND_S)
        return loop.time()

    async def _end(self, step: Step) -> float:
        """Wait for the end of the step under way and deliver its tokens; give that time."""
        loop = asyncio.get_running_loop()
        while (ends_s := self._engine.ends_s) is not None:
            if await self._until(ends_s):
                now = max(ends_s, loop.time() - MOST_BEHIND_S)
                self._deliver(step, now)
                return now
        return loop.time()  # it crashed

    async def _until(self, due_s: float | None) -> bool:
        """Wait for a time, or for ever; false if something changed before it."""
        self._changed.clear()
        try:
            async with asyncio.timeout_at(due_s):
                await self._changed.wait()
        except TimeoutError:
            return True
        return False

    def _deliver(self, step: Step, now: float) -> None:
        tokens = self._engine.end_step(step, now)
        self._tell()
        for token in tokens:
            self._observe(token)
            stream = self._streams.get(token.request_id)
            if stream is None:
                continue
            if token.completion is not None:
                del self._streams[token.request_id]
            stream.push(token)
