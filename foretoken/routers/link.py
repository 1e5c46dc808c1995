"""Carry frames between the exchange of this process and the server, and hold the lease.

One connection hears, others speak. A frame goes out as soon as there is news and then at
most every 20 ms; a whole one twice a second, which is also how others know that we are
there, and how we know that we are heard: our own come back to us. Whatever fails ends the
connection and another one is made; nothing that serves requests ever waits for any of it.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final

from foretoken.routers.exchange import Exchange
from foretoken.routers.lease import Lease
from foretoken.routers.server import Server, ServerGone

log = logging.getLogger(__name__)

PUBLISH_S: Final = 0.02
"""A frame goes out at most so often: 50 a second cost a hundredth of a core, and decisions
of two routers within 20 ms can at worst both take the same endpoint."""
WHOLE_S: Final = 0.5
"""A quarter of what counts as absent: three may be late or lost."""
CLOCK_S: Final = 2.0
DEAF_S: Final = 2.0
"""Our own frames come back to us; when they have not for so long, we hear nobody."""
RECONNECT_S: Final = 0.1
MOST_RECONNECT_S: Final = 2.0
LEAVE_S: Final = 0.2
CANCEL_AGAIN_S: Final = 1.0
"""Above what leaving takes."""
_FIRST_LOOKS: Final = 3

Connect = Callable[[], AbstractAsyncContextManager[Server]]


class Link:
    """Stay connected.

    Args:
        exchange: Decides what is said.
        lease: Is taken and kept as long as we are connected.
        connect: Makes a connection.
        clock: The exchange's.
    """

    def __init__(
        self,
        exchange: Exchange,
        lease: Lease,
        *,
        connect: Connect,
        clock: Callable[[], float],
    ) -> None:
        self._exchange = exchange
        self._lease = lease
        self._connect = connect
        self._clock = clock
        self._news = asyncio.Event()
        self._candidate: Callable[[], bool] = _nobody
        self._told = True  # of the state of the connection
        exchange.on_news = self._news.set

    async def run(self, candidate: Callable[[], bool]) -> None:
        """Stay connected until cancelled; ``candidate``: whether we would train."""
        self._candidate = candidate
        wait_s = RECONNECT_S
        while True:
            began_s = self._clock()
            try:
                await _until_one_ends(self._session())
            except ServerGone as error:
                self._failed(error)
            if self._clock() - began_s > MOST_RECONNECT_S * 2:
                wait_s = RECONNECT_S
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, MOST_RECONNECT_S)

    async def _session(self) -> None:
        async with self._connect() as server:
            await self._live(server)

    async def _live(self, server: Server) -> None:
        exchange = self._exchange
        exchange.shared.forget()
        for _ in range(_FIRST_LOOKS):
            await self._look_at_clock(server)
        await server.subscribe(server.frames)
        for frame in await server.rows(most=256):
            exchange.came(frame)
        exchange.begin()
        self._said_connected()
        reason = "cut_off"
        try:
            await _until_one_ends(
                self._hear(server), self._speak(server), self._beat(server), self._stand(server)
            )
        except asyncio.CancelledError:
            reason = "given_up"
            raise
        finally:
            exchange.end()
            token = self._lease.token
            self._lease.lose(reason)
            with suppress(ServerGone, TimeoutError):
                await asyncio.wait_for(self._leave(server, token), LEAVE_S)

    async def _hear(self, server: Server) -> None:
        exchange, lease = self._exchange, self._lease
        fed = False
        while True:
            if lease.held.is_set() != fed:
                fed = not fed
                await (server.subscribe if fed else server.unsubscribe)(server.fed)
            message = await server.next(DEAF_S)
            if message is None:
                continue
            channel, data = message
            if channel == server.frames:
                exchange.came(data)
            elif channel == server.fed:
                exchange.came_fed(data)

    async def _speak(self, server: Server) -> None:
        exchange, news = self._exchange, self._news
        while True:
            await news.wait()
            news.clear()
            whole = exchange.whole_due
            frame = exchange.take()
            if frame is None:
                continue
            if whole:
                key = exchange.name.key
                await server.publish_row(key, frame, self._clock() + exchange.shared.offset_s)
            else:
                await server.publish(server.frames, frame)
            await asyncio.sleep(PUBLISH_S)

    async def _beat(self, server: Server) -> None:
        exchange, looked_s = self._exchange, self._clock()
        while True:
            await asyncio.sleep(WHOLE_S)
            exchange.token = self._lease.token
            exchange.tell_whole()
            fed = exchange.take_fed()
            if fed is not None:
                await server.publish(server.fed, fed)
            if self._clock() - looked_s >= CLOCK_S:
                await self._look_at_clock(server)
                looked_s = self._clock()

    async def _stand(self, server: Server) -> None:
        exchange, lease = self._exchange, self._lease
        while True:
            if exchange.outranked():
                lease.lose("outranked")
            await lease.stand(server, candidate=self._candidate())
            exchange.token = lease.token
            await asyncio.sleep(lease.interval_s)

    async def _leave(self, server: Server, token: int) -> None:
        """Let others have the lease at once, where the server still answers."""
        if token:
            await server.give_up(self._lease.owner, token)
        await server.remove_row(self._exchange.name.key)

    async def _look_at_clock(self, server: Server) -> None:
        asked_s = self._clock()
        told_s = await server.time_s()
        heard_s = self._clock()
        self._exchange.shared.measured(asked_s=asked_s, told_s=told_s, heard_s=heard_s)

    def _said_connected(self) -> None:
        self._told = True
        log.info("routers_connected", extra={"router": self._exchange.name.router})

    def _failed(self, error: ServerGone) -> None:
        self._exchange.counts.failures[error.reason] += 1
        self._exchange.failure = error.reason
        if self._told:  # once, not with every attempt
            self._told = False
            fields = {"reason": error.reason, "problem": str(error)}
            log.warning("routers_not_connected", extra=fields)


# Any: nothing is made of what they return.
async def _until_one_ends(*parts: Coroutine[Any, Any, None]) -> None:
    """Run all until one fails, which ends the others.

    A task that is cancelled while redis-py 8 connects goes on as if it were not, so they are
    cancelled until they end.
    """
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        while pending := [task for task in tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # it was told of, or comes of the first one's


def _nobody() -> bool:
    """Stand for nothing."""
    return False
