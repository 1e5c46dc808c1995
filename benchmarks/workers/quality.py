"""What several workers decide worse than one: hits, predictions, latency, fairness.

The same traffic, fleet and seed, played by one scheduler and by several that share what
they share in service.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.workers.several import Crew
from foretoken.simulation.arms import ARMS
from foretoken.simulation.comparison import load, rate_at, refusals
from foretoken.simulation.figures import steady_figures
from foretoken.simulation.outcome import Outcome
from foretoken.simulation.run import simulate
from scheduler import SchedulerSettings
from simulator.traffic import Chain, TrafficRequest
from simulator.workloads import Workload

MEASURES: Final = (
    "hit_ratio",
    "ttft_error_mdape",
    "tpot_error_mdape",
    "ttft_mean_s",
    "e2e_mean_s",
)
OF_TENANTS: Final = ("quiet_prompt_ratio", "flood_served_ratio")
"""Measured only where two tenants send."""
SEEDS: Final = 5
"""One seed's errors differ by some per cent from another's."""
FLOOD: Final = 5
"""Of so many conversations one is of the quiet tenant, the rest of the one that floods."""
PROMPT_S: Final = 2.0
"""A tenant that asks for less than its share is served so soon, whatever the other one asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Name one run.

    Attributes:
        workload: Name.
        fleet: Name.
        load: Share of the capacity.
        workers: How many share the traffic.
        seed: Of everything.
        data: Folder of recorded traces.
        window_s: Transient and measured time, ``None`` for the workload's own.
        tenants: Whether two tenants send it, one much more than the other.
    """

    workload: str
    fleet: str
    load: float
    workers: int
    seed: int
    data: Path
    window_s: tuple[float, float] | None = None
    tenants: bool = False


def play(cell: Cell, progress: object = None) -> dict[str, float | None]:  # noqa: ARG001  # as all jobs
    """Play one run and give its figures."""
    workload, fleet = load(cell.workload, cell.fleet, cell.data)
    rate = rate_at(cell.load, workload, fleet)
    if cell.tenants:
        workload = TwoTenants(workload.name, workload.name, workload.spec, cell.data)
    warmup_s, measure_s = cell.window_s or (workload.warmup_s, workload.measure_s)
    run_it = partial(
        simulate,
        fleet=fleet,
        workload=workload,
        rate=rate,
        seed=cell.seed,
        warmup_s=warmup_s,
        measure_s=measure_s,
        settings=SchedulerSettings(),
    )
    with refusals():
        if cell.workers == 1:
            run = run_it(arm=ARMS["predicted_latency"])
        else:
            crew = Crew(cell.workers)
            run = run_it(arm=crew.arm(), scheduler=crew.scheduler)
    figures = dict(steady_figures(run))
    if cell.tenants:
        ends_s = warmup_s + measure_s
        figures |= fairness(one for one in run.outcomes if warmup_s <= one.arrived_s < ends_s)
    return figures


class TwoTenants(Workload):
    """Say of every conversation whose it is."""

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:
        """Write the workload."""
        return [
            map(_owned, chain) for chain in super().chains(seed=seed, rate=rate, until_s=until_s)
        ]


def _owned(request: TrafficRequest) -> TrafficRequest:
    return replace(request, tenant="quiet" if _is_quiet(request.session_id) else "flood")


def _is_quiet(session_id: str) -> bool:
    return sum(session_id.encode()) % FLOOD == 0


def fairness(outcomes: Iterable[Outcome]) -> dict[str, float]:
    """Give the share of what each tenant asked for that it was given.

    Of the quiet one what came within :data:`PROMPT_S`: it asks for less than its share and
    waits for nobody. To be served at all is no measure: who is starved is served as well,
    at the end of the longest wait. Of the other, which asks for more, all that was served.
    """
    given = [0, 0]
    asked = [0, 0]
    for each in outcomes:
        is_quiet = _is_quiet(each.session_id)
        asked[is_quiet] += 1
        late = is_quiet and (each.ttft_s is None or each.ttft_s > PROMPT_S)
        given[is_quiet] += each.outcome == "completed" and not late
    flood, quiet = (part / max(whole, 1) for part, whole in zip(given, asked, strict=True))
    return {"quiet_prompt_ratio": quiet, "flood_served_ratio": flood}


def cells(*, data: Path, workers: int, seeds: Sequence[int], quick: bool) -> Iterator[Cell]:
    """Name all runs: for each pair one worker's and several workers'."""
    plays: tuple[tuple[str, str, float, bool], ...] = (
        ("sharegpt-chat", "eight-8b-h100", 0.7, False),
        ("tiers-chat", "mixed-8b", 0.8, False),
        ("sharegpt-chat", "eight-8b-h100", 1.4, True),
    )
    for workload, fleet, share, tenants in plays:
        for seed in seeds:
            for count in (1, workers):
                yield Cell(
                    workload=workload,
                    fleet=fleet,
                    load=share,
                    workers=count,
                    seed=seed,
                    data=data,
                    window_s=(30.0, 60.0) if quick else None,
                    tenants=tenants,
                )
