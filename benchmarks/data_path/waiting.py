"""What SCHED_BATCH saves, and how much longer streams wait for it where cores are taken.

Ours with it, ours without, and the peer that streams are judged against, in turns: first
alone with the load, then beside as many busy processes as there are cores.
"""

import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from rich.table import Table

from benchmarks.data_path.chats import CHUNKS, ITL_MS
from benchmarks.data_path.load import Load, Traffic, chat, cycle, send
from benchmarks.data_path.part import Options, Outcome
from benchmarks.data_path.process_tree import used
from benchmarks.data_path.routers import OURS, Choice, Running, choices
from benchmarks.data_path.starting import started, stubs
from benchmarks.data_path.turns import lessons, rotated, teach
from benchmarks.real_engine.routers import FOLLOW
from foretoken.processes import Processes

PEER: Final = "sglang-router"
SECONDS: Final = 6.0
WARM_S: Final = 1.5
STREAMS: Final = 32
BUSY: Final = "while True: pass"
WITHOUT: Final = "[proxy]\nsched_batch = false\n"
NORMAL: Final = f"{OURS} without"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Hold what one router did in one round."""

    cpu_s: float
    load: Load


async def measure(options: Options) -> Outcome:
    """Measure all in turns, alone and beside busy processes."""
    config = options.site.folder / "normal.toml"
    config.write_text(WITHOUT)
    without = Choice(program=OURS, options=("--config", str(config)), title=NORMAL)
    peer = [one for one in choices(options.site.peers, cheapest=False) if one.program == PEER]
    async with (
        stubs(options.site, 2, "--itl-ms", str(ITL_MS)) as urls,
        started(options.site, [Choice(program=OURS), without, *peer], urls) as routers,
    ):
        for router in routers:
            if router.ours:
                await teach(router, lessons())
        for router in routers:
            await streamed(router, WARM_S)
        seen: dict[tuple[str, str], list[Seen]] = {}
        for beside, count in (("nothing", 0), ("busy processes", os.cpu_count() or 1)):
            async with busy(options, count):
                for number in range(options.rounds):
                    for router in rotated(routers, number):
                        one = await streamed(router, options.seconds(SECONDS))
                        seen.setdefault((router.name, beside), []).append(one)
    return outcome(seen)


@asynccontextmanager
async def busy(options: Options, count: int) -> AsyncIterator[None]:
    """Keep processes busy that want nothing but their cores."""
    async with Processes(options.site.folder) as processes:
        for number in range(count):
            await processes.run(f"busy-{number}", *FOLLOW, sys.executable, "-c", BUSY)
        yield


async def streamed(router: Running, seconds: float) -> Seen:
    """Send one router streams."""
    make = cycle([chat("hi", max_tokens=CHUNKS, stream=True)])
    traffic = Traffic(make=make, connections=STREAMS, events=CHUNKS, seconds=seconds)
    before = used(router.pid)
    load = await send(router.port, traffic)
    spent_s = used(router.pid).cpu_s - before.cpu_s
    return Seen(cpu_s=spent_s / load.answered, load=load)


def outcome(seen: dict[tuple[str, str], list[Seen]]) -> Outcome:
    """Show what a stream costs and how long it is waited for; nothing is judged."""
    table = Table(
        *("beside", "router", "CPU, ms", "TTFT p50, ms", "p99"),
        *("gap p50, ms", "p99", "p99.9"),
        title="With SCHED_BATCH and without",
    )
    figures: dict[str, object] = {}
    for (name, beside), rounds in seen.items():
        ttfts_s = [each for one in rounds for each in one.load.ttfts_s]
        gaps_s = [each for one in rounds for each in one.load.gaps_s]
        shown = Figures(
            cpu_ms=float(np.median([one.cpu_s for one in rounds])) * 1e3,
            ttft_ms=quantiles_ms(ttfts_s, (50, 99)),
            gap_ms=quantiles_ms(gaps_s, (50, 99, 99.9)),
        )
        figures[f"{name}, beside {beside}"] = asdict(shown)
        waits = (f"{each:.2f}" for each in (*shown.ttft_ms, *shown.gap_ms))
        table.add_row(beside, name, f"{shown.cpu_ms:.3f}", *waits)
    return Outcome(tables={"data-path-waiting": table}, figures=figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Hold what is shown of one router: CPU a stream, and quantiles of what is waited for."""

    cpu_ms: float
    ttft_ms: tuple[float, ...]
    gap_ms: tuple[float, ...]


def quantiles_ms(seconds: Sequence[float], percents: Sequence[float]) -> tuple[float, ...]:
    """Give quantiles in milliseconds.

    >>> quantiles_ms([0.001, 0.002, 0.003], (50,))
    (2.0,)
    """
    return tuple(float(each) * 1e3 for each in np.percentile(seconds, percents))
