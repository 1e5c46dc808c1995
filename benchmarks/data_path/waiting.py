"""What SCHED_BATCH saves, and how long tokens wait for it where cores are taken.

Streams, by ours with it, by ours without, and by the peer they are judged against, in turns:
first alone with clients and endpoints, then beside as many busy processes as there are cores.
"""

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from rich.table import Table

from benchmarks.data_path import chats
from benchmarks.data_path.load import Load, Traffic, send
from benchmarks.data_path.part import Options, Outcome
from benchmarks.data_path.process_tree import used, wakings
from benchmarks.data_path.routers import OURS, Choice, Running, choices
from benchmarks.data_path.starting import started, stubs
from benchmarks.data_path.turns import deciding, rotated, teach
from benchmarks.real_engine.routers import FOLLOW
from foretoken.processes import Processes

PEER: Final = "sglang-router"
SECONDS: Final = 6.0
WARM_S: Final = 1.5
BUSY: Final = "while True: pass"
WITHOUT: Final = "[proxy]\nsched_batch = false\n"
_PERCENTS: Final = (50, 99, 99.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Hold what one router did in one round.

    Attributes:
        cpu_s: CPU seconds per stream.
        wakings_per_s: How often its main process woke up.
        ttfts_s: Of every stream.
        gaps_s: Between the events of a stream, of all streams.
    """

    cpu_s: float
    wakings_per_s: float
    ttfts_s: Sequence[float]
    gaps_s: Sequence[float]


Everything = Mapping[tuple[str, str], Sequence[Seen]]
"""Rounds, by what ran beside and by router."""


async def measure(options: Options) -> Outcome:
    """Measure all in turns, alone and beside busy processes."""
    config = options.site.folder / "without.toml"
    config.write_text(WITHOUT)
    without = Choice(
        program=OURS, options=("--config", str(config)), title=f"{OURS}, sched_batch = false"
    )
    peer = [one for one in choices(options.site.peers, cheapest=False) if one.program == PEER]
    row = chats.rows()["streams"]
    async with (
        stubs(options.site, row.endpoints, *row.stub) as urls,
        started(options.site, [Choice(program=OURS), without, *peer], urls) as routers,
    ):
        for router in routers:
            if router.ours:
                await teach(router, row.lessons)
        for router in routers:
            await streamed(router, row, WARM_S)
        seen: dict[tuple[str, str], list[Seen]] = {}
        for beside, count in (("nothing", 0), ("busy processes", os.cpu_count() or 1)):
            async with busy(options, count):
                for number in range(options.rounds):
                    for router in rotated(routers, number):
                        one = await streamed(router, row, options.seconds(SECONDS))
                        seen.setdefault((beside, router.name), []).append(one)
        level, _ = await deciding(routers[0])
    build = "interpreted" if options.site.compiled is None else "compiled"
    return outcome(seen, f"waiting: {level} decides in ours at the end; foretoken is {build}")


@asynccontextmanager
async def busy(options: Options, count: int) -> AsyncIterator[None]:
    """Keep processes busy that want nothing but their cores."""
    async with Processes(options.site.folder) as processes:
        for number in range(count):
            await processes.run(f"busy-{number}", *FOLLOW, sys.executable, "-c", BUSY)
        yield


async def streamed(router: Running, row: chats.Row, seconds: float) -> Seen:
    """Send one router streams."""
    traffic = Traffic(
        make=row.make, connections=row.connections, events=row.events, seconds=seconds
    )
    cpu_s, woken = used(router.pid).cpu_s, wakings(router.pid)
    load: Load = await send(router.port, traffic)
    return Seen(
        cpu_s=(used(router.pid).cpu_s - cpu_s) / load.answered,
        wakings_per_s=(wakings(router.pid) - woken) / load.seconds,
        ttfts_s=load.ttfts_s,
        gaps_s=load.gaps_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Hold what is shown of one router: quantiles are the 50, 99 and 99.9 %."""

    cpu_ms: float
    wakings_per_s: float
    ttft_ms: tuple[float, ...]
    gap_ms: tuple[float, ...]


def figures_of(rounds: Sequence[Seen]) -> Figures:
    """Put rounds together: medians of what is counted, quantiles of all that was waited for."""
    return Figures(
        cpu_ms=float(np.median([one.cpu_s for one in rounds])) * 1e3,
        wakings_per_s=float(np.median([one.wakings_per_s for one in rounds])),
        ttft_ms=quantiles_ms([each for one in rounds for each in one.ttfts_s]),
        gap_ms=quantiles_ms([each for one in rounds for each in one.gaps_s]),
    )


def outcome(seen: Everything, note: str) -> Outcome:
    """Show what a stream costs and how long it is waited for; nothing is judged."""
    table = Table(
        *("beside", "router", "CPU, ms", "wakings/s", "TTFT p50, ms", "p99"),
        *("gap p50, ms", "p99", "p99.9"),
        title="With SCHED_BATCH and without",
    )
    figures: dict[str, object] = {}
    for (beside, name), rounds in seen.items():
        shown = figures_of(rounds)
        figures[f"{name}, beside {beside}"] = asdict(shown)
        waits = (f"{each:.2f}" for each in (*shown.ttft_ms[:2], *shown.gap_ms))
        table.add_row(beside, name, f"{shown.cpu_ms:.3f}", f"{shown.wakings_per_s:.0f}", *waits)
    return Outcome(tables={"data-path-waiting": table}, figures=figures, notes=(note,))


def quantiles_ms(seconds: Sequence[float]) -> tuple[float, ...]:
    """Give quantiles in milliseconds.

    >>> quantiles_ms([0.001, 0.002, 0.003])[0]
    2.0
    """
    return tuple(float(each) * 1e3 for each in np.percentile(seconds, _PERCENTS))
