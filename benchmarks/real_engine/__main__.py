"""Foretoken, round robin, vllm-router and sglang-router in turns before two real vLLM servers.

    python -m benchmarks.real_engine [--json PATH] [--quick] [--rounds N]
        [--routers foretoken,vllm-router] [--requests N] [--rate R]

Starts two real vLLM servers on this machine's CPU that serve models of different size under
one name, and sends them ``vllm bench serve``'s ``random`` and ``prefix_repetition`` datasets
through each router. Foretoken starts every turn knowing nothing, and learns from a warm-up of
chat requests, the same for all and not measured, and from what follows. Foreign routers are
installed on the first run, at pinned versions, into environments of their own under
``.work/``, and run with ``cache_aware`` and otherwise their own defaults. Prints means over
rounds with their range; judges nothing, because two cores carry it all. Exits 1 where nothing
at all was measured.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.command import run as run_command
from benchmarks.real_engine import report, routers, turns
from benchmarks.real_engine.client import DATASETS, PREFIXES
from foretoken.errors import DemoFailed
from foretoken.output_file import why_not_writable, write_whole
from foretoken.vllm_cpu import VllmServer, vllm_pair

RATE: Final = 2.0
"""Requests per second: the pair takes it also where other work has most of the two cores."""

WIDTH: Final = 170
"""Characters of a line where the output goes to a file: the table with nothing broken."""

FULL: Final = (5, 96, 40)
"""Rounds, requests of each dataset in a turn, and requests of its warm-up."""

QUICK: Final = (2, 20, 32)
"""The warm-up is just long enough that predictions decide: they want 20 streamed answers."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Install, start, play the turns, print."""
    plan, json_path = parse(arguments)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what was started
    routers.WORK.mkdir(parents=True, exist_ok=True)
    unusable = asyncio.run(_install(console, plan.names))
    console.print("starting two vLLM servers on this CPU (first installing vLLM, once)")
    done: list[turns.Turn] = []
    try:
        with vllm_pair() as servers:
            asyncio.run(_play(console, plan, servers, unusable, done))
    finally:
        if done:
            _present(console, plan, done, json_path)
    return 0 if any(turn.measured is not None for turn in done) else 1


def parse(arguments: Sequence[str] | None) -> tuple[turns.Plan, Path | None]:
    """Read the command line into what to play and where the JSON goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="2 rounds of 20 requests each")
    parser.add_argument("--rounds", type=int, help=f"turns of each router ({FULL[0]})")
    parser.add_argument("--routers", default=",".join(routers.ROUTERS))
    parser.add_argument("--requests", type=int, help=f"of each dataset in a turn ({FULL[1]})")
    parser.add_argument("--rate", type=float, default=RATE, help="requests per second")
    given = parser.parse_args(arguments)
    names = tuple(dict.fromkeys(given.routers.split(",")))
    rounds, requests, warmup = QUICK if given.quick else FULL
    plan = turns.Plan(
        names=names,
        rounds=rounds if given.rounds is None else given.rounds,
        requests=requests if given.requests is None else given.requests,
        rate=given.rate,
        warmup=warmup,
    )
    unknown = [name for name in names if name not in routers.ROUTERS]
    if unknown:
        parser.error(f"--routers: {unknown[0]!r} is not one of {', '.join(routers.ROUTERS)}")
    if plan.rounds < 1 or plan.rate <= 0:
        parser.error("--rounds must be at least 1 and --rate above 0")
    if plan.requests < PREFIXES or plan.requests % PREFIXES:
        parser.error(f"--requests must be a multiple of the {PREFIXES} prefixes")
    if given.json is not None and (why := why_not_writable(given.json)) is not None:
        parser.error(f"--json: {why}")
    return plan, given.json


async def _install(console: Console, names: Sequence[str]) -> dict[str, str]:
    """Install the foreign routers; give the reason of each that could not be."""
    unusable: dict[str, str] = {}
    for name in names:
        try:
            await routers.install(name)
        except DemoFailed as error:
            unusable[name] = f"not installed: {' '.join(str(error).split())}"
            console.print(f"{name}: {unusable[name]}", markup=False)
    return unusable


async def _play(
    console: Console,
    plan: turns.Plan,
    servers: tuple[VllmServer, VllmServer],
    unusable: dict[str, str],
    done: list[turns.Turn],
) -> None:
    async for turn in turns.play(plan, servers, unusable):
        done.append(turn)
        said = turn.reason
        if turn.measured is not None and turn.measured.e2e_mean_s is not None:
            said = f"e2e mean {turn.measured.e2e_mean_s * 1e3:.0f} ms"
        console.print(
            f"round {turn.round + 1} of {plan.rounds}, {turn.router}, {turn.dataset}: {said}",
            markup=False,
        )


def _present(
    console: Console, plan: turns.Plan, done: list[turns.Turn], json_path: Path | None
) -> None:
    rows = report.summarise(done, plan.names)
    console.print(report.table(rows))
    for line in report.notes(rows):
        console.print(line)
    if json_path is None:
        return
    about = {
        "plan": asdict(plan),
        "datasets": DATASETS,
        "packages": {name: routers.ROUTERS[name].package for name in plan.names},
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load_average": os.getloadavg(),
    }
    document = report.document(rows, done, about)
    write_whole(json_path, (json.dumps(document, indent=2) + "\n").encode())


if __name__ == "__main__":
    run_command(main)
