"""What one core carries, and what a thousand or ten thousand requests a second take.

Two loads on our server: tiny chats as fast as it answers, and many streams at once. What a
chunk costs is what a stream costs beyond a tiny chat, shared among its further chunks.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from rich.table import Table

from benchmarks.data_path.chats import CHUNKS, ITL_MS
from benchmarks.data_path.load import Traffic, chat, cycle
from benchmarks.data_path.part import Options, Outcome
from benchmarks.data_path.routers import OURS, Choice
from benchmarks.data_path.starting import started, stubs
from benchmarks.data_path.turns import Turn, in_turns, lessons, teach

STREAMS: Final = 128
CONNECTIONS: Final = 64
SECONDS: Final = 5.0
RATES: Final = (1_000, 10_000)
FILL: Final = 0.6
"""Share of a core that is planned for: arrivals are not even."""

_ANSWERS: Final = (1, 100, 300)
"""Chunks of the answers that the table reckons with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Hold CPU seconds of a request with one chunk, and of each further chunk."""

    request_s: float
    chunk_s: float

    def of(self, chunks: int) -> float:
        """Give the CPU seconds of a request with so many chunks.

        >>> Costs(request_s=1e-4, chunk_s=1e-5).of(11)
        0.0002
        """
        return self.request_s + (chunks - 1) * self.chunk_s


async def measure(options: Options) -> Outcome:
    """Load our server with both."""
    chosen, seconds = [Choice(program=OURS)], options.seconds(SECONDS)
    tiny = Traffic(make=cycle([chat("hi")]), connections=CONNECTIONS, seconds=seconds)
    async with (
        stubs(options.site, 2) as urls,
        started(options.site, chosen, urls) as (router,),
    ):
        await teach(router, lessons())
        requests = (await in_turns([router], tiny, options.rounds))[OURS]
    body = chat("hi", max_tokens=CHUNKS, stream=True)
    many = Traffic(make=cycle([body]), connections=STREAMS, events=CHUNKS, seconds=seconds)
    async with (
        stubs(options.site, 2, "--itl-ms", str(ITL_MS)) as urls,
        started(options.site, chosen, urls) as (router,),
    ):
        await teach(router, lessons())
        streams = (await in_turns([router], many, options.rounds))[OURS]
    return outcome(requests, streams)


def costs(requests: Sequence[Turn], streams: Sequence[Turn]) -> Costs:
    """Take the cost of a chunk out of that of a stream."""
    request_s = statistics.median(turn.cpu_s for turn in requests)
    stream_s = statistics.median(turn.cpu_s for turn in streams)
    return Costs(request_s=request_s, chunk_s=max(stream_s - request_s, 0.0) / (CHUNKS - 1))


def outcome(requests: Sequence[Turn], streams: Sequence[Turn]) -> Outcome:
    """Show what was carried, and reckon with it."""
    found = costs(requests, streams)
    carried = Table("load", "carried", "cores", "a full core carries", title="One worker")
    per_core = {
        f"tiny chats, {CONNECTIONS} connections": (requests, 1.0, "requests/s", found.request_s),
        f"{STREAMS} streams, {ITL_MS} ms a chunk": (streams, CHUNKS, "chunks/s", found.chunk_s),
    }
    for load, (turns, each, unit, cost_s) in per_core.items():
        rate = statistics.median(turn.rate for turn in turns) * each
        cores = statistics.median(turn.cores for turn in turns)
        core_carries = f"{1 / cost_s:,.0f} {unit}" if cost_s else ""
        carried.add_row(load, f"{rate:,.0f} {unit}", f"{cores:.2f}", core_carries)
    return Outcome(
        tables={"data-path-carried": carried, "data-path-capacity": reckoned(found)},
        figures={
            "costs": asdict(found),
            "requests": [asdict(turn) for turn in requests],
            "streams": [asdict(turn) for turn in streams],
        },
    )


def reckoned(found: Costs) -> Table:
    """Reckon the cores and workers of rates and lengths of answers."""
    title = f"Cores by requests/s, and workers that are {FILL:.0%} busy"
    table = Table("chunks an answer", *(f"{rate:,}/s" for rate in RATES), title=title)
    for chunks in _ANSWERS:
        cores = [rate * found.of(chunks) for rate in RATES]
        cells = [f"{each:.2f} ({workers(each)} workers)" for each in cores]
        table.add_row(str(chunks), *cells)
    return table


def workers(cores: float) -> int:
    """Say how many workers carry a load without being full.

    >>> workers(0.1), workers(1.0)
    (1, 2)
    """
    return max(1, math.ceil(cores / FILL))
