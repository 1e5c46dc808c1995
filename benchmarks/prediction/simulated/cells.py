"""Which workloads meet which fleets here, and how a cell is played.

A mixed fleet of three GPU classes under recorded conversations (Mooncake) and under
shared prefixes (scenario C of llm-d's posts), busy and at the edge of its capacity; and
eight endpoints that are alike under chat, to see what mixing costs.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from foretoken.simulation.arms import ARMS, Arm, Brain
from foretoken.simulation.comparison import load, rate_at, refusals
from foretoken.simulation.outcome import Run
from foretoken.simulation.run import simulate
from foretoken.simulation.witness import Witness
from foretoken.simulation.world import World
from simulator.fleets import FleetSpec

SEED: Final = 1
ARM: Final = "predicted_latency"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Name one cell.

    Attributes:
        workload: Name of a workload, or path of its file.
        fleet: Name of a fleet.
        load: Share of the fleet's capacity for the workload.
        requests: About how many are played.
    """

    workload: str
    fleet: str
    load: float
    requests: int

    @property
    def name(self) -> str:
        """Name it as files and tables do.

        >>> Cell(workload="post-c", fleet="mixed-8b", load=0.95, requests=5000).name
        'post-c@mixed-8b@0.95'
        """
        return f"{Path(self.workload).stem}@{Path(self.fleet).stem}@{self.load:g}"


CELLS: Final = (
    *(
        Cell(workload=workload, fleet="mixed-8b", load=load, requests=5000)
        for workload in ("mooncake", "post-c")
        for load in (0.7, 0.95)
    ),
    Cell(workload="sharegpt-chat", fleet="eight-8b-h100", load=0.7, requests=8000),
)
"""The cells of accuracy."""


def rate_of(cell: Cell, data: Path) -> float:
    """Give the requests per second of a cell.

    Raises:
        SimulationRefused: The capacity is not on record, or a file cannot be read.
    """
    return rate_at(cell.load, *load(cell.workload, cell.fleet, data))


def play(
    cell: Cell,
    data: Path,
    look: Callable[[World], Witness],
    *,
    rate: float | None = None,
    arm: str = ARM,
    change: Callable[[FleetSpec], FleetSpec] = lambda fleet: fleet,
    seed: int = SEED,
) -> Run:
    """Play a cell from an empty store, with somebody looking on.

    Args:
        cell: What.
        data: Folder of recorded traces.
        look: Makes who looks on, from the run's truth.
        rate: Requests per second, ``None`` for the cell's share of the capacity.
        arm: What decides.
        change: Makes another fleet of the cell's.
        seed: Of everything random.

    Raises:
        SimulationRefused: It cannot be played as asked for.
    """
    workload, fleet = load(cell.workload, cell.fleet, data)
    rate = rate_of(cell, data) if rate is None else rate
    with refusals():
        return simulate(
            fleet=change(fleet),
            workload=workload,
            rate=rate,
            arm=_watched(ARMS[arm], look),
            seed=seed,
            warmup_s=0.0,
            measure_s=cell.requests / rate,
        )


def _watched(arm: Arm, look: Callable[[World], Witness]) -> Arm:
    def build(world: World) -> Brain:
        return replace(arm.build(world), witness=look(world))

    return replace(arm, build=build)
