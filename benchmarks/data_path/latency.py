"""What a router adds to the median latency of a tiny chat, one request at a time.

Each router takes turns with the endpoint asked directly; the difference within a round
counts.
"""

import os
import statistics
from typing import Final
from urllib.parse import urlsplit

from rich.table import Table

from benchmarks.data_path.judge import Verdict
from benchmarks.data_path.load import Traffic, chat, cycle
from benchmarks.data_path.part import Options, Outcome
from benchmarks.data_path.routers import OURS, Running, choices
from benchmarks.data_path.starting import started, stubs
from benchmarks.data_path.turns import Turns, in_turns, lessons, teach

DIRECT: Final = "the endpoint itself"
SECONDS: Final = 2.0
MUST_MS: Final = 0.5


async def measure(options: Options) -> Outcome:
    """Measure everyone at one connection."""
    chosen = choices(options.site.peers, cheapest=False)
    if options.quick:
        chosen = chosen[:2]
    async with stubs(options.site, 2) as urls, started(options.site, chosen, urls) as routers:
        await teach(routers[0], lessons())
        port = urlsplit(urls[0]).port
        assert port is not None  # noqa: S101  # it was made with one
        direct = Running(name=DIRECT, port=port, pid=os.getpid())
        traffic = Traffic(make=cycle([chat("hi")]), connections=1, seconds=options.seconds(SECONDS))
        turns = await in_turns([direct, *routers], traffic, options.rounds)
    return outcome(turns, judged=not options.quick)


def outcome(turns: Turns, *, judged: bool) -> Outcome:
    """Judge ours and show all."""
    table = Table("router", "p50, ms", "added, ms", "over the rounds", title="One connection")
    added = {name: added_ms(turns, name) for name in turns}
    for name, each in turns.items():
        cells = ["", ""] if name == DIRECT else [
            f"{statistics.median(added[name]):.3f}",
            f"{min(added[name]):.3f} to {max(added[name]):.3f}",
        ]  # fmt: skip
        p50_ms = statistics.median(turn.p50_s for turn in each) * 1e3
        table.add_row(name, f"{p50_ms:.3f}", *cells)
    ours = added[OURS]
    verdict = Verdict(
        what="added median latency at 1 connection",
        kind="must",
        measured=statistics.median(ours) if judged else None,
        most=MUST_MS,
        unit="ms",
        spread=(min(ours), max(ours)) if judged else None,
    )
    return Outcome(
        tables={"data-path-latency": table}, verdicts=(verdict,), figures={"added_ms": added}
    )


def added_ms(turns: Turns, name: str) -> list[float]:
    """Give what a router adds, round by round, in milliseconds."""
    pairs = zip(turns[name], turns[DIRECT], strict=True)
    return [(through.p50_s - direct.p50_s) * 1e3 for through, direct in pairs]
