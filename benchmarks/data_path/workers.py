"""CPU per tiny chat with two workers against one, all processes of a server together.

Also what ``python -m benchmarks.workers --part cost`` measures, for any number of workers.
"""

from dataclasses import asdict
from typing import Final

from rich.table import Table

from benchmarks.data_path.judge import Verdict
from benchmarks.data_path.load import Traffic, chat, cycle
from benchmarks.data_path.part import Options, Outcome
from benchmarks.data_path.process_tree import used
from benchmarks.data_path.routers import OURS, Choice
from benchmarks.data_path.starting import started, stubs
from benchmarks.data_path.turns import Turns, in_turns, lessons, median_cpu_s, ratio, teach

ONE: Final = Choice(program=OURS, options=("--workers", "1"))
TWO: Final = Choice(program=OURS, options=("--workers", "2"))
MUST: Final = 1.1
SECONDS: Final = 5.0
WHAT: Final = "CPU per tiny chat, two workers against one"


async def measure(options: Options) -> Outcome:
    """Measure both in turns."""
    turns, resident = await compare(options, TWO)
    return outcome(turns, resident, judged=not options.quick)


async def compare(options: Options, several: Choice) -> tuple[Turns, dict[str, int]]:
    """Measure several workers and one in turns; give also what is resident, in bytes."""
    traffic = Traffic(make=cycle([chat("hi")]), connections=32, seconds=options.seconds(SECONDS))
    async with (
        stubs(options.site, 2) as urls,
        started(options.site, [ONE, several], urls) as routers,
    ):
        for router in routers:
            await teach(router, lessons())
        await in_turns(routers, traffic, 1)
        turns = await in_turns(routers, traffic, options.rounds)
        resident = {router.name: used(router.pid).rss_bytes for router in routers}
    return turns, resident


def outcome(turns: Turns, resident: dict[str, int], *, judged: bool) -> Outcome:
    """Judge the ratio."""
    against = ratio(turns, TWO.name, ONE.name) if judged else None
    table = Table("server", "CPU, ms", "requests/s", "cores", "resident, MB", title="Workers")
    for name, each in turns.items():
        fastest = max(each, key=lambda turn: turn.rate)
        table.add_row(
            name,
            f"{median_cpu_s(each) * 1e3:.3f}",
            f"{fastest.rate:.0f}",
            f"{fastest.cores:.2f}",
            f"{resident[name] / 1e6:.0f}",
        )
    verdict = Verdict(
        what=WHAT,
        kind="must",
        measured=None if against is None else against.median,
        most=MUST,
        unit="x",
        spread=None if against is None else (against.least, against.most),
    )
    return Outcome(
        tables={"data-path-workers": table},
        verdicts=(verdict,),
        figures={name: [asdict(turn) for turn in each] for name, each in turns.items()},
    )
