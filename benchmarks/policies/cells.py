"""Which workloads meet which fleets, at which loads: the rows of the matrix.

A load is a share of the capacity committed with the workload (``benchmarks.capacity``
measures it): 0.7 is a busy fleet, 0.95 one at the edge. Windows are the workload's own,
and the same for every arm of a cell.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

TEN, EIGHT, MIXED, MIXED_70B = "ten-qwen3-32b-h100", "eight-8b-h100", "mixed-8b", "mixed-70b"
HOMOGENEOUS: Final = frozenset({TEN, EIGHT})

CORE_SEEDS: Final = (1, 2)
SEEDS: Final = (1, 2, 3)
HELD_OUT: Final = (11, 12, 13)
"""Seeds no choice was made on; 1 and 2 are those the policy was tuned on."""

Group = Literal["homogeneous", "mixed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Name one cell.

    Attributes:
        workload: Name of a workload, or path of its file.
        fleet: Likewise.
        load: Share of the fleet's capacity for the workload.
        rate: Requests a second, or users, where no capacity is known; ``load`` is then 0.
    """

    workload: str
    fleet: str
    load: float = 0.0
    rate: float | None = None

    @property
    def name(self) -> str:
        """Name it as files and tables do.

        >>> Cell(workload="post-c", fleet="mixed-8b", load=0.95).name
        'post-c@mixed-8b@0.95'
        >>> Cell(workload="my/chats.jsonl.gz", fleet="mixed-8b", rate=5.0).name
        'chats@mixed-8b@5-per-s'
        """
        amount = f"{self.load:g}" if self.rate is None else f"{self.rate:g}-per-s"
        return f"{_stem(self.workload)}@{_stem(self.fleet)}@{amount}"

    @property
    def group(self) -> Group:
        """Tell whether its endpoints are all alike."""
        return "homogeneous" if self.fleet in HOMOGENEOUS else "mixed"


def _stem(name_or_path: str) -> str:
    """Shorten a path to what a table has room for; a name stays."""
    return Path(name_or_path).name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".toml")


def matching(cells: Iterable[Cell], texts: Sequence[str]) -> tuple[Cell, ...]:
    """Give the cells whose name has one of the texts in it.

    >>> [cell.name for cell in matching(CORE, ["reasoning", "azure@mixed"])]
    ['reasoning@ten-qwen3-32b-h100@0.7', 'azure@mixed-8b@0.95']
    """
    return tuple(cell for cell in cells if any(text in cell.name for text in texts))


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
            ("sharegpt-chat", EIGHT): (0.7, 0.95),
            ("post-c", MIXED): (0.7, 0.95),
            ("mooncake", MIXED): (0.7, 0.95),
            ("sharegpt", MIXED_70B): (0.7, 0.95),
            ("mooncake", MIXED_70B): (0.7, 0.95),
        }
    ),
)
"""The whole matrix."""

QUALITY: Final = _cells(
    {
        ("post-a", TEN): (0.95,),
        ("post-c", TEN): (0.7, 0.95),
        ("b2b-saas", TEN): (0.7,),
        ("sharegpt", TEN): (0.95,),
        ("sharegpt-chat", EIGHT): (0.95,),
        ("mooncake", TEN): (0.7, 0.95),
        ("azure", TEN): (0.95,),
        ("reasoning", TEN): (0.7,),
        ("sharegpt", MIXED): (0.7, 0.95),
        ("azure", MIXED): (0.7, 0.95),
        ("mooncake", MIXED): (0.7, 0.95),
        ("post-c", MIXED): (0.7, 0.95),
        ("sharegpt", MIXED_70B): (0.7,),
    }
)
"""What the default policy is judged on: every kind of traffic, both kinds of fleet."""

FEW: Final = _cells(
    {
        ("post-c", TEN): (0.95,),
        ("mooncake", TEN): (0.7,),
        ("sharegpt", MIXED): (0.7,),
        ("azure", MIXED): (0.95,),
    }
)
"""Few that differ: shared prefixes, long prompts, mixed speeds with and without a queue."""

QUICK: Final = _cells({("sharegpt", MIXED): (0.7,)})
"""The one that is played in seconds."""
