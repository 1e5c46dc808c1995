"""Where the CPU of a tiny chat goes, part by part, inside our server.

The server runs as users run it, but for a sampler (:mod:`benchmarks.data_path.sampled`)
that looks at its stack every few milliseconds of CPU; what the parts add up to is what
its CPU-time clock says of the same seconds. The trainer is a process of its own and not in it.
"""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rich.table import Table

from benchmarks.data_path.load import Traffic, chat, cycle
from benchmarks.data_path.part import Options, Outcome
from benchmarks.data_path.routers import OURS, Choice, Running
from benchmarks.data_path.starting import started, stubs
from benchmarks.data_path.turns import Turn, lessons, teach, turn
from foretoken.errors import DemoFailed

SECONDS: Final = 15.0
WRITTEN_WITHIN_S: Final = 10.0


async def measure(options: Options) -> Outcome:
    """Sample our server under tiny chats."""
    path = options.site.folder / "sampled.json"
    choice = Choice(program=OURS, module=("benchmarks.data_path.sampled", str(path)))
    seconds = options.seconds(SECONDS)
    traffic = Traffic(make=cycle([chat("hi")]), connections=32, seconds=seconds)
    async with (
        stubs(options.site, 2) as urls,
        started(options.site, [choice], urls) as (router,),
    ):
        await teach(router, lessons())
        await turn(router, traffic)
        os.kill(router.pid, signal.SIGUSR1)
        measured = await turn(router, traffic)
        parts = await _written(router, path)
    return outcome(parts, measured)


async def _written(router: Running, path: Path) -> dict[str, float]:
    """Ask the sampler for its counts.

    Raises:
        DemoFailed: They do not come.
    """
    os.kill(router.pid, signal.SIGUSR2)
    deadline_s = asyncio.get_running_loop().time() + WRITTEN_WITHIN_S
    while (counts := _counts(path)) is None:
        if asyncio.get_running_loop().time() > deadline_s:
            raise DemoFailed(f"the sampler did not write {path}")
        await asyncio.sleep(0.05)
    return counts


def _counts(path: Path) -> dict[str, float] | None:
    try:
        counts: dict[str, float] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return counts


def outcome(parts: Mapping[str, float], measured: Turn) -> Outcome:
    """Share the CPU of a request among the parts, by what was seen of each."""
    seen_s = sum(parts.values())
    title = f"CPU of a tiny chat, {measured.cpu_s * 1e6:.0f} us in all"
    table = Table("part", "us", "share", title=title)
    shares = {part: seconds / seen_s for part, seconds in parts.items()}
    for part, share in sorted(shares.items(), key=lambda each: -each[1]):
        table.add_row(part, f"{share * measured.cpu_s * 1e6:.1f}", f"{share:.0%}")
    table.caption = (
        f"our trainer, a process of its own, takes {measured.trainer_s:.2f} of a core besides"
    )
    return Outcome(
        tables={"data-path-budget": table},
        figures={"cpu_s": measured.cpu_s, "shares": shares, "sampled_s": seen_s},
    )
