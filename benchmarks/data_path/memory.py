"""Resident memory of a worker after 20,000 requests and after 100,000.

Every request is another: prompts that nobody had before, five thousand users, one in ten
streamed. What is kept per request, prompt or user and never let go shows as growth.
"""

import asyncio
from typing import Final

from rich.table import Table

from benchmarks.data_path.judge import Verdict
from benchmarks.data_path.load import Traffic, chat, send
from benchmarks.data_path.part import Options, Outcome
from benchmarks.data_path.process_tree import used
from benchmarks.data_path.routers import OURS, Choice, Running
from benchmarks.data_path.starting import started, stubs

FIRST: Final = 20_000
ALL: Final = 100_000
QUICK_DIVISOR: Final = 20
USERS: Final = 5_000
STREAMED_EVERY: Final = 10
MUST_GROWTH: Final = 0.05
MUST_MB: Final = 350.0
SETTLE_S: Final = 3.0
"""The recorder writes what it holds within a second; training rounds are 3 s apart."""


async def measure(options: Options) -> Outcome:
    """Send the requests and look twice."""
    first, everything = FIRST, ALL
    if options.quick:
        first, everything = first // QUICK_DIVISOR, everything // QUICK_DIVISOR
    async with (
        stubs(options.site, 2) as urls,
        started(options.site, [Choice(program=OURS)], urls) as (router,),
    ):
        early = await _resident(router, 0, first)
        late = await _resident(router, first, everything - first)
    return outcome(first, everything, early, late, judged=not options.quick)


async def _resident(router: Running, since: int, requests: int) -> int:
    traffic = Traffic(make=lambda number: body(since + number), connections=32, requests=requests)
    await send(router.port, traffic)
    await asyncio.sleep(SETTLE_S)
    return used(router.pid).rss_bytes


def body(number: int) -> bytes:
    """Make a request that is like no other.

    >>> body(1) != body(2), b'"stream":true' in body(10), b'"stream":true' in body(11)
    (True, True, False)
    """
    text = f"question {number} " * 50
    streamed = number % STREAMED_EVERY == 0
    return chat(text, max_tokens=2, stream=streamed, user=f"user-{number % USERS}")


def outcome(first: int, everything: int, early: int, late: int, *, judged: bool) -> Outcome:
    """Judge growth and size."""
    growth = late / early - 1.0
    table = Table(
        "after", "resident, MB", "growth", title="Memory of a worker, without its trainer"
    )
    table.add_row(f"{first:,} requests", f"{early / 1e6:.0f}", "")
    table.add_row(f"{everything:,} requests", f"{late / 1e6:.0f}", f"{growth:.1%}")
    verdicts = (
        Verdict(
            what=f"resident after {everything:,} requests against {first:,}",
            kind="must",
            measured=1.0 + growth if judged else None,
            most=1.0 + MUST_GROWTH,
            unit="x",
        ),
        Verdict(
            what=f"resident after {everything:,} requests",
            kind="must",
            measured=late / 1e6 if judged else None,
            most=MUST_MB,
            unit="MB",
        ),
    )
    figures = {"early_bytes": early, "late_bytes": late}
    return Outcome(tables={"data-path-memory": table}, verdicts=verdicts, figures=figures)
