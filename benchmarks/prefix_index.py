"""What it costs to know who holds a prompt's prefix: lookup, upkeep, memory.

    python -m benchmarks.prefix_index [--json PATH] [--quick]

A prompt of 100,000 tokens, 100 endpoints, one core. A lookup is what a decision does: from
the prompt's block names to the tokens each endpoint holds. The names are made once per
request before that, from the text (approximate index) or from its tokens (exact one), and
are shown beside. Exits 1 where a lookup takes more than 0.3 ms (median).
"""

import argparse
import json
import random
import statistics
import sys
import time
import tracemalloc
from array import array
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from predictor.kv_cache import BlocksRemoved, BlocksStored, chain, root
from predictor.types import BLOCK_BYTES
from proxy.prompt import chain_hashes
from scheduler.endpoint_table import EndpointTable
from scheduler.exact_index import ExactIndex
from scheduler.prefix_index import PrefixIndex

TOKENS = 100_000
ENDPOINTS = 100
BLOCK_TOKENS = 16
MUST_S = 0.3e-3
NAMES = [f"10.0.0.{number}:8000" for number in range(ENDPOINTS)]
DEPTHS = {
    "nobody": [0.0] * ENDPOINTS,
    "all of it by all": [1.0] * ENDPOINTS,
    "each another part": [(number + 1) / ENDPOINTS for number in range(ENDPOINTS)],
    "half by ten": [0.5 if number < 10 else 0.0 for number in range(ENDPOINTS)],
}
"""Which share of the prompt each endpoint holds."""

Row = dict[str, str | float | bool]


def main() -> int:
    """Measure and print; give the exit status."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--quick", action="store_true", help="a tenth of the repeats")
    given = arguments.parse_args()
    repeats = 30 if given.quick else 300
    lookups = [row for held, shares in DEPTHS.items() for row in lookup(held, shares, repeats)]
    upkeep = [*naming(max(repeats // 10, 5)), *keeping()]
    show(lookups, upkeep)
    if given.json is not None:
        given.json.write_text(json.dumps({"lookups": lookups, "upkeep": upkeep}, indent=2) + "\n")
    return 0 if all(row["met"] for row in lookups) else 1


def show(lookups: list[Row], upkeep: list[Row]) -> None:
    """Print both tables."""
    console = Console()
    table = Table("who holds it", "index", "p50 us", "p99 us", "must", title="Lookup")
    for row in lookups:
        us = [f"{float(row[part]) * 1e6:.0f}" for part in ("p50_s", "p99_s")]
        table.add_row(str(row["held"]), str(row["index"]), *us, "ok" if row["met"] else "MISSED")
    console.print(table)
    table = Table("what", "figure", title="Upkeep")
    for row in upkeep:
        table.add_row(str(row["what"]), f"{float(row['value']):.3g} {row['unit']}")
    console.print(table)


def lookup(held: str, shares: list[float], repeats: int) -> list[Row]:
    """Measure both indexes with each endpoint holding a share of the prompt."""
    table = EndpointTable()
    rows = np.array([table.row(name) for name in NAMES])
    text = random.Random(1).randbytes(TOKENS * 4)  # a token is about four bytes of text
    names = chain_hashes(text, 1)
    approximate = PrefixIndex(default_capacity_blocks=31_250, table=table)
    exact = ExactIndex(table, most_blocks=2_000_000)
    blocks = chain(text, BLOCK_TOKENS, root(None, None))
    for name, share in zip(NAMES, shares, strict=True):
        approximate.insert(name, names[: round(len(names) * share)])
        exact.follow(table.row(name), whole=True)
        exact.resize(table.row(name), block_tokens=BLOCK_TOKENS, capacity_tokens=None)
        count = round(len(blocks) * share)
        if count:
            tokens = text[: count * BLOCK_TOKENS * 4]
            stored = BlocksStored(
                hashes=range(count), parent=None, tokens=tokens, block_tokens=BLOCK_TOKENS
            )
            exact.apply(table.row(name), [stored])
    into, which = np.zeros((ENDPOINTS, 3)), np.ones(ENDPOINTS, bool)
    return [
        timed("approximate", held, repeats, lambda: approximate.matched_blocks(names, rows)),
        timed(
            "exact",
            held,
            repeats,
            lambda: exact.match({BLOCK_TOKENS: blocks}, rows, which, into=into, most=TOKENS - 1),
        ),
    ]


def timed(index: str, held: str, repeats: int, act: Callable[[], object]) -> Row:
    """Time a lookup over and over."""
    seconds = seconds_of(act, repeats)
    p50_s = statistics.median(seconds)
    p99_s = sorted(seconds)[int(len(seconds) * 0.99)]
    return {"index": index, "held": held, "p50_s": p50_s, "p99_s": p99_s, "met": p50_s <= MUST_S}


def seconds_of(act: Callable[[], object], repeats: int) -> list[float]:
    """Give the CPU seconds of each repeat."""
    seconds = []
    for _ in range(repeats):
        started_ns = time.process_time_ns()
        act()
        seconds.append((time.process_time_ns() - started_ns) / 1e9)
    return seconds


def naming(repeats: int) -> list[Row]:
    """Measure what a request of this length costs before it can be looked up, and after."""
    text = random.Random(1).randbytes(TOKENS * 4)
    blocks = chain(text, BLOCK_TOKENS, root(None, None))
    table = EndpointTable()
    exact = ExactIndex(table, most_blocks=2_000_000)
    exact.follow(0, whole=True)
    exact.resize(0, block_tokens=BLOCK_TOKENS, capacity_tokens=None)
    approximate = PrefixIndex(default_capacity_blocks=31_250, table=table)
    names = chain_hashes(text, 1)

    def expect() -> None:
        exact.release(0, exact.expect(0, {BLOCK_TOKENS: blocks}))

    acts: dict[str, Callable[[], object]] = {
        f"name blocks by text, {BLOCK_BYTES} bytes each": lambda: chain_hashes(text, 1),
        f"name blocks by tokens, {BLOCK_TOKENS} each": lambda: chain(text, BLOCK_TOKENS, 1),
        "note where it went, approximate": lambda: approximate.insert("a:1", names),
        "note where it went and that it left, exact, none cached": expect,
    }
    return [
        {"what": what, "value": statistics.median(seconds_of(act, repeats)) * 1e3, "unit": "ms"}
        for what, act in acts.items()
    ]


def keeping() -> list[Row]:
    """Measure an announced block's cost: CPU to take it in and out, and memory."""
    rng, count = random.Random(2), 100_000
    prompts = [
        (list(rng.sample(range(1 << 60), 100)), rng.randbytes(100 * BLOCK_TOKENS * 4))
        for _ in range(count // 100)
    ]
    stored = [
        BlocksStored(hashes=hashes, parent=None, tokens=tokens, block_tokens=BLOCK_TOKENS)
        for hashes, tokens in prompts
    ]
    removed = [BlocksRemoved(hashes=[block]) for hashes, _ in prompts for block in hashes[::-1]]
    single = [
        BlocksStored(hashes=hashes[:1], parent=None, tokens=tokens[:64], block_tokens=BLOCK_TOKENS)
        for hashes, tokens in prompts
    ]
    exact = ExactIndex(EndpointTable(), most_blocks=2_000_000)
    exact.follow(0, whole=True)
    tracemalloc.start()
    exact.apply(0, stored)
    exact_bytes = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    exact.follow(0, whole=True)
    into_s, out_s, single_s = (
        seconds_of(lambda events=events: exact.apply(0, events), 1)[0]  # type: ignore[misc]  # bound now
        for events in (stored, removed, single)
    )
    approximate = PrefixIndex(default_capacity_blocks=count, table=EndpointTable())
    names = array("Q", rng.randbytes(8 * count)).tolist()
    tracemalloc.start()
    approximate.insert("a:1", names)
    approximate_bytes = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    return [
        {
            "what": "take in a stored block, 100 per event",
            "value": into_s / count * 1e6,
            "unit": "us",
        },
        {
            "what": "take in a stored block, one per event",
            "value": single_s / len(single) * 1e6,
            "unit": "us",
        },
        {"what": "take in a removed block", "value": out_s / count * 1e6, "unit": "us"},
        {"what": "memory of an announced block", "value": exact_bytes, "unit": "bytes"},
        {
            "what": "memory of a block sent, by endpoint",
            "value": approximate_bytes,
            "unit": "bytes",
        },
    ]


if __name__ == "__main__":
    sys.exit(main())
