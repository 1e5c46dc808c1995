"""How long until a worker sees what another one books and tells.

Two processes with the production table and bus. The child books and tells as often as a
busy worker does, each time with the instant it did; the parent looks as often as it
decides, and notes how old what it sees is.
"""

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np

from foretoken.workers.bus import Bus
from foretoken.workers.messages import Message
from foretoken.workers.table import SharedTable
from scheduler.accounting import InflightAccounting
from scheduler.words import Left

ENDPOINT: Final = "a:1"
EVERY_S: Final = 0.003
"""Between two bookings, and between two decisions of the worker that looks."""


class Ear:
    """Note how old what is heard is."""

    def __init__(self) -> None:
        self.ages_s: list[float] = []
        self.came = asyncio.Event()

    def heard(self, worker: int, message: Message) -> None:  # noqa: ARG002  # there is one
        """Note a message's age."""
        if isinstance(message, Left):
            self.ages_s.append(time.monotonic() - float(message.request_id))

    def joined(self, worker: int, *, fresh: bool) -> None:  # noqa: ARG002  # as above
        """Note that the other one is there."""
        self.came.set()

    def lost(self, worker: int) -> None:
        """Go on."""


async def measure(folder: Path, *, seconds: float) -> dict[str, list[float]]:
    """Measure the ages of bookings and of words when they are seen, in seconds."""
    table = SharedTable.create(2)
    table.follow([ENDPOINT])
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.workers.delay",
        str(table.descriptor),
        str(folder),
        pass_fds=(table.descriptor,),
    )
    ear, booked_s = Ear(), list[float]()
    bus = asyncio.create_task(Bus(folder, worker=0, workers=2, fresh=False).run(ear))
    await ear.came.wait()
    until_s = time.monotonic() + seconds
    while (now := time.monotonic()) < until_s:
        for _, bookings in table.changed(now):
            if bookings.rated_s:
                booked_s.append(time.monotonic() - bookings.rated_s)
        await asyncio.sleep(EVERY_S)
    child.terminate()
    await child.wait()
    bus.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await bus
    return {"bookings": booked_s, "words": ear.ages_s}


def figures(ages_s: list[float]) -> dict[str, float]:
    """Give quantiles of ages, and how many there were.

    >>> figures([0.001, 0.002, 0.003])["p50_s"]
    0.002
    """
    p50, p99, most = (float(np.percentile(ages_s, level)) for level in (50, 99, 100))
    return {"count": float(len(ages_s)), "p50_s": p50, "p99_s": p99, "max_s": most}


async def _tell(descriptor: int, folder: Path) -> None:
    table = SharedTable(descriptor, workers=2, worker=1)
    table.follow([ENDPOINT])
    bus, ear = Bus(folder, worker=1, workers=2, fresh=False), Ear()
    running = asyncio.create_task(bus.run(ear))
    await ear.came.wait()
    accounting = InflightAccounting()
    accounting.ledger, accounting.later = table, asyncio.get_running_loop().call_soon
    while not running.done():
        now = time.monotonic()
        accounting.book("r", ENDPOINT, prefill_tokens=1.0, context_tokens=1.0, now=now)
        accounting.release("r", ENDPOINT, tpot_s=None)
        bus.tell(Left(repr(now)))
        await asyncio.sleep(EVERY_S)


if __name__ == "__main__":
    asyncio.run(_tell(int(sys.argv[1]), Path(sys.argv[2])))
