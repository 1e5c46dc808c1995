"""What reading 100 endpoints five times a second takes, with pages as long as vLLM 0.32's.

Our whole server is looked at, with no request on it: the pages, what is read of them, and
what the scheduler makes of it. A server that does not keep up falls short whatever it takes.
"""

import asyncio
import statistics
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.table import Table

from benchmarks.data_path.judge import Verdict
from benchmarks.data_path.part import Options, Outcome
from benchmarks.data_path.process_tree import used
from benchmarks.data_path.routers import OURS, Choice, Running
from benchmarks.data_path.starting import started, stubs

ENDPOINTS: Final = 100
INTERVAL_S: Final = 0.2
SECONDS: Final = 6.0
MUST_CORES: Final = 0.25
KEPT_UP: Final = 0.9
"""Share of the pages that a busy machine's timers must at least leave."""

_PAGES: Final = "foretoken_scrape_seconds_count"


async def measure(options: Options) -> Outcome:
    """Watch an idle server scrape."""
    async with (
        stubs(options.site, ENDPOINTS) as urls,
        started(options.site, [Choice(program=OURS)], urls) as (router,),
    ):
        rounds = [await _watch(router, options.seconds(SECONDS)) for _ in range(options.rounds)]
    return outcome(rounds, judged=not options.quick)


async def _watch(router: Running, seconds: float) -> tuple[float, float]:
    """Give cores used and pages read per second."""
    pages, before = await _pages(router.port), used(router.pid)
    begun_s = asyncio.get_running_loop().time()
    await asyncio.sleep(seconds)
    after = used(router.pid)
    took_s = asyncio.get_running_loop().time() - begun_s
    read = await _pages(router.port) - pages
    return (after.cpu_s - before.cpu_s) / took_s, read / took_s


async def _pages(port: int) -> float:
    async with httpx.AsyncClient(timeout=30.0) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/metrics")
    return pages_read(answer.text)


def pages_read(text: str) -> float:
    r"""Sum the pages read of all endpoints, of our own metrics.

    >>> pages_read("# TYPE foretoken_scrape_seconds summary\nforetoken_scrape_seconds_count 3\n")
    3
    """
    families = text_string_to_metric_families(text)
    samples = (sample for family in families for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == _PAGES)


def outcome(rounds: list[tuple[float, float]], *, judged: bool) -> Outcome:
    """Judge the cores, and whether all pages were read."""
    cores = [each for each, _ in rounds]
    rate = statistics.median(each for _, each in rounds)
    wanted = ENDPOINTS / INTERVAL_S
    table = Table("endpoints", "pages/s", "cores", "over the rounds", "ms a page", title="Scraping")
    table.add_row(
        str(ENDPOINTS),
        f"{rate:.0f}",
        f"{statistics.median(cores):.3f}",
        f"{min(cores):.3f} to {max(cores):.3f}",
        f"{statistics.median(cores) / rate * 1e3:.3f}" if rate else "",
    )
    verdicts = (
        Verdict(
            what=f"scraping {ENDPOINTS} endpoints every {INTERVAL_S * 1e3:.0f} ms",
            kind="must",
            measured=statistics.median(cores) if judged else None,
            most=MUST_CORES,
            unit="core",
            spread=(min(cores), max(cores)) if judged else None,
        ),
        Verdict(
            what="pages that were to be read for each that was",
            kind="must",
            measured=wanted / max(rate, 1e-9) if judged else None,
            most=1 / KEPT_UP,
            unit="x",
        ),
    )
    figures = {"cores": cores, "pages_per_s": [each for _, each in rounds]}
    return Outcome(tables={"data-path-scrape": table}, verdicts=verdicts, figures=figures)
