"""What the data path costs beside the Rust routers, on one machine, in one run, in turns.

    python -m benchmarks.data_path [--peers DIR] [--foretoken BIN] [--part NAME ...]
        [--rounds N] [--json PATH] [--page PATH] [--quick]

Parts: ``tiny``, ``prompt`` and ``streams`` (:mod:`chats <benchmarks.data_path.chats>`):
CPU per request beside the peers. ``latency``: what is added at one connection.
``decisions``: one decision at 8 and 100 endpoints. ``scrape``: reading 100 endpoints.
``memory``: after 20,000 and 100,000 requests. ``capacity``: what a core carries.
``workers``: two against one. ``waiting``: what SCHED_BATCH saves, and how long streams wait
for it. ``budget``: where our CPU goes.

Ours is the compiled build where ``make compiled`` has installed one, or the one whose
program ``--foretoken`` names; else the source. Peers are what ``DIR/NAME/bin/NAME``
holds (default: ``PEERS_DIR``); without them ours is measured alone and nothing is
compared. CPU is user and system time of all processes of a router, its trainer apart.
Exits with 1 where a must falls short; ``--quick`` judges nothing.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop
from rich.console import Console

from benchmarks.command import run
from benchmarks.data_path import (
    budget,
    capacity,
    chats,
    decisions,
    latency,
    memory,
    scrape,
    waiting,
    workers,
)
from benchmarks.data_path.judge import Verdict, as_json, met, verdict_table
from benchmarks.data_path.part import Options, Part
from benchmarks.data_path.routers import compiled_program, installed, peers_folder
from benchmarks.data_path.starting import Site
from benchmarks.prediction.pages import Pages

ROUNDS = 5
QUICK_ROUNDS = 2
FILE_WIDTH = 120
"""Columns where the output is no terminal: wide enough for every table."""


def parts() -> Mapping[str, Part]:
    """Name the parts, in the order they run."""
    return {
        **{name: chats.part(row) for name, row in chats.rows().items()},
        "latency": latency.measure,
        "decisions": decisions.measure,
        "scrape": scrape.measure,
        "memory": memory.measure,
        "capacity": capacity.measure,
        "workers": workers.measure,
        "waiting": waiting.measure,
        "budget": budget.measure,
    }


def main(arguments: Sequence[str] | None = None, known: Mapping[str, Part] | None = None) -> int:
    """Run the parts; 1 where a must falls short."""
    known = parts() if known is None else known
    given = _parse(arguments, tuple(known))
    peers = peers_folder(given.peers)
    compiled = compiled_program(given.foretoken)
    console, pages = Console(width=None if sys.stdout.isatty() else FILE_WIDTH), Pages()
    if not installed(peers):
        console.print("No peers: what compares is not judged; --peers names their folder.")
    rounds = QUICK_ROUNDS if given.quick else given.rounds
    document: dict[str, object] = {
        "peers": installed(peers),
        "rounds": rounds,
        "build": "interpreted" if compiled is None else "compiled",
    }
    verdicts: list[Verdict] = []
    for name, part in known.items():
        if given.part is not None and name not in given.part:
            continue
        with tempfile.TemporaryDirectory(prefix="foretoken-data-path-") as folder:
            site = Site(folder=Path(folder), peers=peers, compiled=compiled)
            outcome = uvloop.run(part(Options(site=site, quick=given.quick, rounds=rounds)))
        pages.show(console, outcome.tables)
        for note in outcome.notes:
            console.print(note)
        document[name] = outcome.figures
        verdicts += outcome.verdicts
        if outcome.verdicts:
            judged = {f"data-path-musts-{name}": verdict_table(outcome.verdicts)}
            pages.show(Console(quiet=True), judged)
    console.print(verdict_table(verdicts))
    document["verdicts"] = as_json(verdicts)
    if given.json is not None:
        given.json.write_text(json.dumps(document, indent=2) + "\n")
    if given.page is not None:
        pages.fill(given.page)
    return int(not met(verdicts))


def _parse(arguments: Sequence[str] | None, names: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_path", description=__doc__)
    parser.add_argument("--peers", type=Path, metavar="DIR", help="where peers are installed")
    parser.add_argument(
        "--foretoken", type=Path, metavar="BIN", help="program of a compiled build of ours"
    )
    parser.add_argument("--part", nargs="+", choices=names, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="turns of every router")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--page", type=Path, help="Markdown whose marked tables to replace")
    parser.add_argument("--quick", action="store_true", help="a fraction of it, not judged")
    given = parser.parse_args(arguments)
    if given.rounds < 1:
        parser.error("--rounds must be at least 1")
    if given.page is not None and not given.page.is_file():
        parser.error(f"{given.page} is not there; --page names a page with places for tables")
    return given


if __name__ == "__main__":
    run(main)
