"""How fast the simulated engine runs in virtual time, alone, on one core.

    python -m benchmarks.engine_speed [--json PATH] [--quick]

Prints engine steps and requests per second of CPU time for four loads; requests are made
beforehand. Exits 1 when a chat load stays under 200,000 steps per second.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from rich.console import Console
from rich.table import Table

from simulator import Engine, EngineSettings, SimRequest, profile
from simulator.content import block_hashes
from simulator.playback import play

WANTED_STEPS: Final = 200_000
"""Steps per CPU second asked of the chat loads."""

ROUNDS: Final = 3
"""Each load runs this often, the fastest counts: the machine may have other work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of traffic on one endpoint, with Poisson arrivals.

    Attributes:
        name: As in the table.
        profile: Step-time profile.
        rate: Requests per second.
        requests: How many there are.
        prompt_tokens: Length of every prompt.
        output_tokens: Mean of the exponential length of answers.
        shared_tokens: Leading tokens a prompt has in common with those of its group.
        must: Whether the speed asked for is asked of it.
    """

    name: str
    profile: str
    rate: float
    requests: int
    prompt_tokens: int
    output_tokens: int
    shared_tokens: int = 0
    must: bool = False


LOADS: Final = (
    Load(
        name="chat, 8B",
        profile="h100_sxm/llama-3.1-8b",
        rate=8.0,
        requests=6000,
        prompt_tokens=300,
        output_tokens=200,
        must=True,
    ),
    Load(
        name="long answers, 32B",
        profile="h100_sxm/qwen3-32b",
        rate=1.5,
        requests=1500,
        prompt_tokens=1000,
        output_tokens=1000,
        must=True,
    ),
    Load(
        name="shared long prompts, 8B",
        profile="h100_sxm/llama-3.1-8b",
        rate=4.0,
        requests=2000,
        prompt_tokens=8000,
        output_tokens=200,
        shared_tokens=6000,
    ),
    Load(
        name="short requests, 8B",
        profile="h100_sxm/llama-3.1-8b",
        rate=50.0,
        requests=20_000,
        prompt_tokens=100,
        output_tokens=16,
    ),
)
GROUPS: Final = 20
"""Shared prefixes there are."""


def main() -> None:
    """Measure, print, and judge the chat loads."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--quick", action="store_true", help="a fifth of the requests, once")
    given = arguments.parse_args()
    rows = [measure(load, quick=given.quick) for load in LOADS]
    table = Table(
        "load", "running", "steps/s", "requests/s", "virtual s per s", "must", title="CPU time"
    )
    for load, row in zip(LOADS, rows, strict=True):
        verdict = ("ok" if _passes(row) else "FAILS") if load.must else "-"
        table.add_row(
            load.name,
            f"{row['running']:.1f}",
            f"{row['steps_per_s']:,.0f}",
            f"{row['requests_per_s']:,.0f}",
            f"{row['virtual_s_per_s']:,.0f}",
            verdict,
        )
    Console().print(table)
    named = [{"load": load.name, **row} for load, row in zip(LOADS, rows, strict=True)]
    if given.json is not None:
        given.json.write_text(json.dumps(named, indent=2) + "\n")
    musts = [row for load, row in zip(LOADS, rows, strict=True) if load.must]
    sys.exit(0 if all(map(_passes, musts)) else 1)


def measure(load: Load, *, quick: bool) -> dict[str, float]:
    """Play one load; give what it took, and the mean number of running requests."""
    count = load.requests // 5 if quick else load.requests
    arrivals = list(traffic(load, count))
    best_s = float("inf")
    for _ in range(1 if quick else ROUNDS):
        engine = Engine(profile(load.profile), EngineSettings(), Random(1))
        started_s = time.process_time()
        done = play(engine, arrivals)
        best_s = min(best_s, time.process_time() - started_s)
    virtual_s = arrivals[-1][0]
    return {
        "running": sum(each.e2e_s for each in done.values()) / virtual_s,
        "steps_per_s": engine.counters.steps / best_s,
        "requests_per_s": len(done) / best_s,
        "virtual_s_per_s": virtual_s / best_s,
        "cpu_s": best_s,
        "steps": engine.counters.steps,
    }


def traffic(load: Load, count: int) -> Iterator[tuple[float, SimRequest]]:
    """Make the requests of a load and the times they arrive at."""
    rng, at_s = Random(0), 0.0
    block_size = EngineSettings().block_size
    for number in range(count):
        at_s += rng.expovariate(load.rate)
        output_tokens = max(1, round(rng.expovariate(1 / load.output_tokens)))
        own = (number + GROUPS, load.prompt_tokens - load.shared_tokens + output_tokens)
        shared = (rng.randrange(GROUPS), load.shared_tokens)
        segments = (shared, own) if load.shared_tokens else (own,)
        yield (
            at_s,
            SimRequest(
                request_id=str(number),
                prompt_tokens=load.prompt_tokens,
                output_tokens=output_tokens,
                block_hashes=block_hashes(segments, block_size),
            ),
        )


def _passes(row: dict[str, float]) -> bool:
    return row["steps_per_s"] >= WANTED_STEPS


if __name__ == "__main__":
    main()
