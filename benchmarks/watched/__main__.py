"""Lead a fleet through trouble while Prometheus watches, and draw what Grafana would show.

``python -m benchmarks.watched --images DIR``: five minutes of three tiers' traffic on a
mixed fleet, in which an endpoint crashes, a rush comes, another slows down, a third hangs
and somebody pulls the kill switch. Proves nothing; docs/grafana.md shows the pictures.
"""

import argparse
import asyncio
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.command import run
from benchmarks.watched.servers import watched
from benchmarks.watched.trouble import live_through
from dashboards.pictures.__main__ import draw_all
from dashboards.pictures.asked import Span


def main() -> int:
    """Run as the command line says; give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watched", description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--duration", type=float, default=300.0, help="seconds (default: 300)")
    parser.add_argument("--quick", action="store_true", help="60 seconds")
    parser.add_argument("--workers", type=int, default=2, help="of Foretoken (default: 2)")
    parser.add_argument("--stay", action="store_true", help="keep all up until interrupted")
    chosen = parser.parse_args()
    duration_s = 60.0 if chosen.quick else chosen.duration
    asyncio.run(_watch(duration_s, chosen.images, workers=chosen.workers, stay=chosen.stay))
    return 0


async def _watch(duration_s: float, images: Path, *, workers: int, stay: bool) -> None:
    with TemporaryDirectory(prefix="foretoken-watched-") as scratch:
        async with watched(Path(scratch), workers=workers) as place:
            print(f"live page: {place.url}/foretoken/  Prometheus: {place.prometheus}")
            start_s = time.time()
            answers = await live_through(place, duration_s, print)
            ends = Counter(answer.error or "answered" for answer in answers)
            print(", ".join(f"{count} {end}" for end, count in ends.most_common()))
            span = Span(start_s=start_s, end_s=time.time(), scrape_s=3.0)
            for path in await asyncio.to_thread(
                lambda: list(draw_all(place.prometheus, span, images))
            ):
                print(path)
            if stay:
                print("everything stays up; Ctrl-C ends it")
                await asyncio.Event().wait()


if __name__ == "__main__":
    run(main)
