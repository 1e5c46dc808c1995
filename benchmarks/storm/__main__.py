"""Lead a fleet under steady load through every fault it may meet; nothing may be lost.

Real processes on loopback: simulated endpoints, routers, clients that account for every
request. Faults come in seeded random order while the load goes on. Exit status 1: a must
falls short.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console

from benchmarks.command import run
from benchmarks.data_path.judge import met
from benchmarks.storm.accounts import settle
from benchmarks.storm.errors import StormFailed
from benchmarks.storm.place import Place, placed
from benchmarks.storm.report import as_json, show, verdicts
from benchmarks.storm.storm import live_through, plan_of

MINUTES: Final = 15.0
RATE: Final = 24.0  # requests a second: half a core of the clients', routers' and endpoints'


def main() -> int:
    """Run as the command line says; give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of faults (default: 15)")
    parser.add_argument("--quick", action="store_true", help="each fault once, two minutes in all")
    parser.add_argument("--seed", type=int, default=1, help="of the order and all draws")
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second")
    parser.add_argument("--routers", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--workers", type=int, default=1, help="of each router (default: 1)")
    parser.add_argument("--alone", action="store_true", help="routers do not meet")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--keep", type=Path, help="keep logs, traces and the ledger there")
    chosen = parser.parse_args()
    with TemporaryDirectory(prefix="foretoken-storm-") as scratch:
        folder = chosen.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise StormFailed(f"{folder} is not empty: what --keep names must be")
        return asyncio.run(_storm(chosen, folder.resolve()))


async def _storm(chosen: argparse.Namespace, folder: Path) -> int:
    console = Console(file=sys.stdout, soft_wrap=True)
    minutes = 0.0 if chosen.quick else chosen.minutes
    plan = plan_of(minutes)
    say = Console(file=sys.stderr, soft_wrap=True, highlight=False).print
    async with placed(
        folder,
        routers=chosen.routers,
        workers=chosen.workers,
        rate=chosen.rate,
        seed=chosen.seed,
        share=not chosen.alone,
    ) as place:
        story = await live_through(place, plan, say)
        await _close(place)
        account = await asyncio.to_thread(settle, place, story)
        found = verdicts(place, story, account, short=chosen.quick)
        show(console, place, story, account, found)
        if chosen.json is not None:
            figures = as_json(place, story, account, found, minutes)
            chosen.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0 if met(found) else 1


async def _close(place: Place) -> None:
    """End routers as people do, so that what they hold is written."""
    for router in place.routers:
        await router.server.stop()


if __name__ == "__main__":
    run(main)
