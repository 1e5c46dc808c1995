"""Background tasks that start again when they fail, and end together."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Final, TypeVar

log = logging.getLogger(__name__)

RESTART_S: Final = 1.0
Found = TypeVar("Found")

Job = tuple[str, Callable[[], Awaitable[None]]]
"""A task's name, from a small closed set, and what it does until cancelled."""


@asynccontextmanager
async def supervised(jobs: Sequence[Job], failed: Callable[[str], None]) -> AsyncIterator[None]:
    """Run jobs while the context lasts; one that ends or fails starts again.

    Args:
        jobs: What to run.
        failed: Told the name of a job that has failed.
    """
    tasks = [asyncio.create_task(_again_and_again(*job, failed), name=job[0]) for job in jobs]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _again_and_again(
    name: str, job: Callable[[], Awaitable[None]], failed: Callable[[str], None]
) -> None:
    while True:
        try:
            await job()
        except Exception:
            failed(name)
            log.exception("background_task_failed", extra={"task": name})
        await asyncio.sleep(RESTART_S)


async def in_own_thread(call: Callable[[], Found]) -> Found:
    """Call what may hang for long in a thread that nobody waits for at the end.

    Those of the loop's own pool are waited for when the process shall stop.
    """
    done: Future[Found] = Future()
    done.set_running_or_notify_cancel()  # from here on nobody can cancel it

    def work() -> None:
        try:
            done.set_result(call())
        except Exception as error:  # noqa: BLE001  # raised where it is awaited
            done.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return await asyncio.wrap_future(done)
