"""Which workloads meet which fleets, at which loads: the rows of the matrix.

A load is a share of the capacity committed with the workload (``benchmarks.capacity``
measures it): 0.7 is a busy fleet, 0.95 one at the edge. Windows are the workload's own,
and the same for every arm of a cell.
"""

from dataclasses import dataclass
from typing import Final, Literal

TEN, EIGHT, MIXED, MIXED_70B = "ten-qwen3-32b-h100", "eight-8b-h100", "mixed-8b", "mixed-70b"
HOMOGENEOUS: Final = frozenset({TEN, EIGHT})

CORE_SEEDS: Final = (1, 2)
SEEDS: Final = (1, 2, 3)

Group = Literal["homogeneous", "mixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Name one cell.

    Attributes:
        workload: Name of a workload.
        fleet: Name of a fleet.
        load: Share of the fleet's capacity for the workload.
    """

    workload: str
    fleet: str
    load: float

    @property
    def name(self) -> str:
        """Name it as files and tables do.

        >>> Cell(workload="post-c", fleet="mixed-8b", load=0.95).name
        'post-c@mixed-8b@0.95'
        """
        return f"{self.workload}@{self.fleet}@{self.load:g}"

    @property
    def group(self) -> Group:
        """Tell whether its endpoints are all alike."""
        return "homogeneous" if self.fleet in HOMOGENEOUS else "mixed"


def _cells(table: dict[tuple[str, str], tuple[float, ...]]) -> tuple[Cell, ...]:
    return tuple(
        Cell(workload=workload, fleet=fleet, load=load)
        for (workload, fleet), loads in table.items()
        for load in loads
    )


CORE: Final = _cells(
    {
        ("post-c", TEN): (0.7, 0.95),
        ("b2b-saas", TEN): (0.7,),
        ("sharegpt", TEN): (0.95,),
        ("mooncake", TEN): (0.7, 0.95),
        ("reasoning", TEN): (0.7,),
        ("sharegpt", MIXED): (0.7,),
        ("azure", MIXED): (0.95,),
    }
)
"""The cells that decide: shared prefixes, none, recorded traces, a closed loop, mixed speeds.

Nine, for what every arm with two seeds costs: the oracles take minutes a run."""

WHOLE: Final = (
    *CORE,
    *_cells(
        {
            ("b2b-saas", TEN): (0.95,),
            ("sharegpt", TEN): (0.7,),
            ("sharegpt", MIXED): (0.95,),
            ("azure", MIXED): (0.7,),
            ("post-a", TEN): (0.7, 0.95),
            ("post-b", TEN): (0.7, 0.95),
            ("post-d", TEN): (0.7, 0.95),
            ("burst", TEN): (0.7, 0.95),
            ("azure", TEN): (0.7, 0.95),
            ("codegen", TEN): (0.7, 0.95),
            ("reasoning", TEN): (0.95,),
            ("agentic", TEN): (0.7, 0.95),
            ("lmcache-agent", TEN): (0.7, 0.95),
            ("sharegpt", EIGHT): (0.7, 0.95),
            ("post-c", MIXED): (0.7, 0.95),
            ("mooncake", MIXED): (0.7, 0.95),
            ("sharegpt", MIXED_70B): (0.7, 0.95),
            ("mooncake", MIXED_70B): (0.7, 0.95),
        }
    ),
)
"""The whole matrix."""
