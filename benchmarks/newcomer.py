"""What a new endpoint does to everyone's latency, with a warm-up share and without.

    python -m benchmarks.newcomer [--quick] [--json PATH]

Three endpoints serve conversations; a fourth comes after a minute. It is as good as they are, or
as good but four times as slow for its first twenty seconds (cold kernels, compilation), or of
another kind that is slower for good, which nobody has told the router. Played in virtual time
with the scheduler and the predictor that serve, cold at the start, at a load that the three can
bear and at one that they cannot. Every figure is of requests that arrive in the eighty seconds
after the fourth has come, of which the first two columns of shares are the newcomer's; a warm-up
of 0 s is none.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.command import run as run_command
from foretoken.output_file import write_whole
from foretoken.simulation.arms import ARMS
from foretoken.simulation.outcome import Outcome
from foretoken.simulation.run import simulate
from predictor.types import EndpointState
from scheduler import Scheduler, SchedulerSettings
from simulator.fleets import Crash, Fault, FleetSpec, SlowDown, load_fleet
from simulator.profiles import profile
from simulator.workloads import load_workload

COMES_S: Final = 60.0
LOOKED_AT_S: Final = 80.0
COLD_S: Final = 20.0
NEWCOMER: Final = "newcomer"
RATES: Final = (26.0, 36.0)
"""Requests a second: 80 % of what three H100 bear, and 110 %."""
WARM_UPS_S: Final = (0.0, 30.0)


class Kind(NamedTuple):
    """Say what comes: hardware, and by how much its first steps are slower."""

    name: str
    hardware: str
    cold: float


KINDS: Final = (
    Kind("as good", "h100_sxm/llama-3.1-8b", 1.0),
    Kind("cold first", "h100_sxm/llama-3.1-8b", 4.0),
    Kind("slower", "l40s/llama-3.1-8b", 1.0),
)


class Row(NamedTuple):
    """Hold one line of the table; seconds, and shares of the requests."""

    rate: float
    kind: str
    warm_up_s: float
    first_share: float
    last_share: float
    first_ttft_s: float
    ttft_s: float
    ttft_p99_s: float
    e2e_s: float
    e2e_p99_s: float


class JoinedByUp(Scheduler):
    """Know only endpoints that are up: one that is not is not there yet."""

    def update(self, states: Iterable[EndpointState]) -> None:
        """Take in the set of those that are up."""
        super().update([state for state in states if state.up])


def main(arguments: Sequence[str] | None = None) -> int:
    """Play all cases; 1 where a warm-up makes the mean TTFT of any worse."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="one seed, one load")
    parser.add_argument("--json", type=Path, help="write the rows there")
    given = parser.parse_args(arguments)
    seeds, rates = ((1,), RATES[1:]) if given.quick else ((1, 2), RATES)
    rows = [
        play(rate, kind, warm_up_s, seeds)
        for rate in rates
        for kind in KINDS
        for warm_up_s in WARM_UPS_S
    ]
    Console().print(_table(rows))
    if given.json is not None:
        body = json.dumps([row._asdict() for row in rows], indent=2)
        write_whole(given.json, f"{body}\n".encode())
    worse = [
        bounded
        for free, bounded in zip(rows[::2], rows[1::2], strict=True)
        if bounded.ttft_s > free.ttft_s * 1.05
    ]
    return int(bool(worse))


def play(rate: float, kind: Kind, warm_up_s: float, seeds: Sequence[int]) -> Row:
    """Play one case with each seed; give the figures of all together."""
    settings = SchedulerSettings(warm_up_s=warm_up_s)
    outcomes = [
        outcome
        for seed in seeds
        for outcome in simulate(
            fleet=fleet_with(kind),
            workload=load_workload("sharegpt-chat"),
            rate=rate,
            arm=ARMS["predicted_latency"],
            seed=seed,
            warmup_s=COMES_S,
            measure_s=LOOKED_AT_S,
            settings=settings,
            scheduler=JoinedByUp,
        ).outcomes
        if COMES_S <= outcome.arrived_s < COMES_S + LOOKED_AT_S
    ]
    first = [one for one in outcomes if one.arrived_s < COMES_S + 5]
    last = [one for one in outcomes if one.arrived_s >= COMES_S + LOOKED_AT_S / 2]
    ttft_s = [one.ttft_s for one in outcomes if one.ttft_s is not None]
    e2e_s = [one.e2e_s for one in outcomes if one.e2e_s is not None]
    return Row(
        rate=rate,
        kind=kind.name,
        warm_up_s=warm_up_s,
        first_share=_share(first),
        last_share=_share(last),
        first_ttft_s=float(np.mean([one.ttft_s for one in first if one.ttft_s is not None])),
        ttft_s=float(np.mean(ttft_s)),
        ttft_p99_s=float(np.quantile(ttft_s, 0.99)),
        e2e_s=float(np.mean(e2e_s)),
        e2e_p99_s=float(np.quantile(e2e_s, 0.99)),
    )


def fleet_with(kind: Kind) -> FleetSpec:
    """Give three endpoints, and one that comes later."""
    base = load_fleet("eight-8b-h100")
    one = base.endpoints[0]
    faults: tuple[Fault, ...] = (Crash(at_s=0.0, back_s=COMES_S),)
    if kind.cold > 1.0:
        until_s = COMES_S + COLD_S
        faults += (SlowDown(at_s=COMES_S + 0.01, factor=kind.cold, until_s=until_s),)
    old = [replace(one, name=f"old-{number}") for number in range(3)]
    new = replace(one, name=NEWCOMER, profile=profile(kind.hardware), faults=faults)
    return replace(base, name="three and one", endpoints=(*old, new))


def _share(outcomes: Sequence[Outcome]) -> float:
    return float(np.mean([one.endpoint == NEWCOMER for one in outcomes]))


def _table(rows: Sequence[Row]) -> Table:
    shares = ("first 5 s,\n%", "last 40 s,\n%")
    times = ("TTFT then,\nms", "TTFT,\nms", "p99,\nms", "e2e,\ns", "p99,\ns")
    table = Table("load,\n1/s", "the new\none is", "warm-\nup, s", *shares, *times)
    for row in rows:
        first, last = row.first_share * 100, row.last_share * 100
        ttft_ms = (row.first_ttft_s * 1e3, row.ttft_s * 1e3, row.ttft_p99_s * 1e3)
        table.add_row(
            f"{row.rate:g}",
            row.kind,
            f"{row.warm_up_s:g}",
            *(f"{value:.0f}" for value in (first, last, *ttft_ms)),
            *(f"{value:.1f}" for value in (row.e2e_s, row.e2e_p99_s)),
        )
    return table


if __name__ == "__main__":
    run_command(main)
