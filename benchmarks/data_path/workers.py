"""CPU per tiny chat with two workers against one, all processes of a server together.

Several processes find less to do at each turn, and each other's data in the caches: two
routers that share nothing, with half of the traffic each, show what of it the machine
charges. That is most where few connections are open, which one worker carries with ease: the
load that needs several decides, the smaller one is shown. Also what
``python -m benchmarks.workers --part cost`` measures, for any number of workers.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Final

from rich.table import Table

from benchmarks.data_path.judge import Kind, Verdict
from benchmarks.data_path.load import Traffic, chat, cycle
from benchmarks.data_path.part import Options, Outcome
from benchmarks.data_path.process_tree import used
from benchmarks.data_path.routers import OURS, Choice, Running
from benchmarks.data_path.starting import started, stubs
from benchmarks.data_path.turns import (
    Turn,
    Turns,
    in_turns,
    lessons,
    median_cpu_s,
    ratio,
    teach,
    turn,
)

ONE: Final = Choice(program=OURS, options=("--workers", "1"))
TWO: Final = Choice(program=OURS, options=("--workers", "2"))
ANOTHER: Final = Choice(program=OURS, options=("--workers=1",))
APART: Final = "two routers that share nothing"
FEW: Final = 32
MANY: Final = 128
"""Connections: as many as tiny chats are measured with, and a load for several workers."""
MUST: Final = 1.1
SECONDS: Final = 5.0
WHAT: Final = "{} connections: CPU per tiny chat, two workers against one"
WHAT_SHARING: Final = (
    "{} connections: CPU per tiny chat, two workers against two routers that share nothing"
)


async def measure(options: Options) -> Outcome:
    """Measure both in turns."""
    by_load, resident = await compare(options, TWO, (FEW, MANY))
    return outcome(by_load, resident, judged=not options.quick)


async def compare(
    options: Options, several: Choice, loads: Sequence[int] = (MANY,)
) -> tuple[dict[int, Turns], dict[str, int]]:
    """Measure several workers and one in turns, at each number of connections.

    Returns:
        The turns by that number, and what is resident in the end, in bytes.
    """
    async with (
        stubs(options.site, 2) as urls,
        started(options.site, [ONE, several, ANOTHER], urls) as routers,
    ):
        for router in routers:
            await teach(router, lessons())
        one, shared, another = routers
        by_load: dict[int, Turns] = {}
        for connections in loads:
            seconds = options.seconds(SECONDS)
            traffic = Traffic(make=cycle([chat("hi")]), connections=connections, seconds=seconds)
            await in_turns(routers, traffic, 1)
            turns: dict[str, list[Turn]] = {one.name: [], shared.name: [], APART: []}
            for number in range(options.rounds):
                in_order = (one, shared) if number % 2 else (shared, one)
                for name, each in (await in_turns(in_order, traffic, 1)).items():
                    turns[name] += each
                turns[APART].append(await at_once((one, another), traffic))
            by_load[connections] = turns
        resident = {router.name: used(router.pid).rss_bytes for router in (one, shared)}
    return by_load, resident


async def at_once(routers: Sequence[Running], traffic: Traffic) -> Turn:
    """Measure routers together, the traffic's connections dealt evenly among them."""
    share = replace(traffic, connections=traffic.connections // len(routers))
    turns = await asyncio.gather(*(turn(router, share) for router in routers))
    requests = sum(each.requests for each in turns)
    return Turn(
        requests=requests,
        cpu_s=sum(each.cpu_s * each.requests for each in turns) / requests,
        trainer_s=sum(each.trainer_s for each in turns),
        cores=sum(each.cores for each in turns),
        rate=sum(each.rate for each in turns),
        events=sum(each.events * each.requests for each in turns) / requests,
        p50_s=max(each.p50_s for each in turns),
    )


def outcome(by_load: Mapping[int, Turns], resident: dict[str, int], *, judged: bool) -> Outcome:
    """Judge the ratios, of which that at the most connections decides."""
    titles = ("connections", "server", "CPU, ms", "requests/s", "cores", "resident, MB")
    table = Table(*titles, title="Workers")
    verdicts: list[Verdict] = []
    for connections, turns in by_load.items():
        for name, each in turns.items():
            fastest = max(each, key=lambda turn: turn.rate)
            table.add_row(
                str(connections),
                name,
                f"{median_cpu_s(each) * 1e3:.3f}",
                f"{fastest.rate:.0f}",
                f"{fastest.cores:.2f}",
                f"{resident[name] / 1e6:.0f}" if name in resident else "",
            )
        kind: Kind = "must" if connections == max(by_load) else "goal"
        judgements: tuple[tuple[str, Kind, str], ...] = (
            (WHAT, kind, ONE.name),
            (WHAT_SHARING, "goal", APART),
        )
        for what, kind, other in judgements:
            against = ratio(turns, TWO.name, other) if judged else None
            verdicts.append(
                Verdict(
                    what=what.format(connections),
                    kind=kind,
                    measured=None if against is None else against.median,
                    most=MUST,
                    unit="x",
                    spread=None if against is None else (against.least, against.most),
                )
            )
    return Outcome(
        tables={"data-path-workers": table},
        verdicts=tuple(verdicts),
        figures={
            f"{name}, {connections} connections": [asdict(turn) for turn in each]
            for connections, turns in by_load.items()
            for name, each in turns.items()
        },
    )
