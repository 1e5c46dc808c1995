"""Resident memory of a worker after 20,000 requests and after 100,000.

Every request is another: prompts that nobody had before, five thousand users, one in ten
streamed. What is kept per request, prompt or user and never let go shows as growth.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
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
    """Send the requests and look twice, at a server of its own in each round."""
    first, everything = FIRST, ALL
    if options.quick:
        first, everything = first // QUICK_DIVISOR, everything // QUICK_DIVISOR
    rounds: list[tuple[int, int]] = []
    for number in range(options.rounds):
        folder = options.site.folder / str(number)
        folder.mkdir()
        site = replace(options.site, folder=folder)
        async with (
            stubs(site, 2) as urls,
            started(site, [Choice(program=OURS)], urls) as (router,),
        ):
            early = await _resident(router, 0, first)
            rounds.append((early, await _resident(router, first, everything - first)))
    return outcome(first, everything, rounds, judged=not options.quick)


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


def outcome(
    first: int, everything: int, rounds: Sequence[tuple[int, int]], *, judged: bool
) -> Outcome:
    """Judge growth and size, by their medians: one server's differ by 10 MB from another's."""
    growths = [late / early - 1.0 for early, late in rounds]
    table = Table(
        *("after", "resident, MB", "over the rounds", "growth", "over the rounds"),
        title="Memory of a worker, without its trainer",
    )
    sizes_mb = {
        count: [both[place] / 1e6 for both in rounds]
        for place, count in enumerate((first, everything))
    }
    grown = (f"{median(growths):.1%}", f"{min(growths):.1%} to {max(growths):.1%}")
    for count, each in sizes_mb.items():
        size = (f"{median(each):.0f}", f"{min(each):.0f} to {max(each):.0f}")
        table.add_row(f"{count:,} requests", *size, *(grown if count == everything else ("", "")))
    late_mb = sizes_mb[everything]
    verdicts = (
        Verdict(
            what=f"resident after {everything:,} requests against {first:,}",
            kind="must",
            measured=1.0 + median(growths) if judged else None,
            most=1.0 + MUST_GROWTH,
            unit="x",
            spread=(1.0 + min(growths), 1.0 + max(growths)) if judged else None,
        ),
        Verdict(
            what=f"resident after {everything:,} requests",
            kind="must",
            measured=median(late_mb) if judged else None,
            most=MUST_MB,
            unit="MB",
            spread=(min(late_mb), max(late_mb)) if judged else None,
        ),
    )
    figures = {"early_late_bytes": list(rounds)}
    return Outcome(tables={"data-path-memory": table}, verdicts=verdicts, figures=figures)
