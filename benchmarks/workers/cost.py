"""What a request costs several workers against one: CPU of whole process trees.

Measured as the benchmark of the data path does (:mod:`benchmarks.data_path.workers`), for
any number of workers, at the more connections of its two loads.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

import uvloop

from benchmarks.data_path.part import Options
from benchmarks.data_path.routers import OURS, Choice
from benchmarks.data_path.starting import Site
from benchmarks.data_path.workers import ONE, compare


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Hold what was measured.

    Attributes:
        one_s: CPU seconds a request with one worker, by round.
        several_s: Likewise with several.
    """

    one_s: tuple[float, ...]
    several_s: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Give the median of the rounds' ratios.

        >>> round(Cost(one_s=(1.0, 2.0, 4.0), several_s=(1.1, 2.0, 4.8)).ratio, 3)
        1.1
        """
        pairs = zip(self.several_s, self.one_s, strict=True)
        return median(several / one for several, one in pairs)


def run(folder: Path, *, workers: int, rounds: int, quick: bool) -> Cost:
    """Measure in turns, in an event loop of its own."""
    several = Choice(program=OURS, options=("--workers", str(workers)))
    options = Options(site=Site(folder=folder, peers=None), quick=quick, rounds=rounds)
    by_load, _ = uvloop.run(compare(options, several))
    (turns,) = by_load.values()
    one_s, several_s = (
        tuple(each.cpu_s for each in turns[choice.name]) for choice in (ONE, several)
    )
    return Cost(one_s=one_s, several_s=several_s)
