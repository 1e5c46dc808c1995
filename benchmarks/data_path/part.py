"""What every part of the benchmark is given, and what it gives back."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field

from rich.table import Table

from benchmarks.data_path.judge import Verdict
from benchmarks.data_path.starting import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Say how much to measure.

    Attributes:
        site: Where things lie.
        quick: A fraction of the time; nothing is judged.
        rounds: Turns of every router.
    """

    site: Site
    quick: bool
    rounds: int

    def seconds(self, whole: float) -> float:
        """Give how long to measure where the whole run takes so long."""
        return min(whole, 1.5) if self.quick else whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Hold what a part found.

    Attributes:
        tables: By the name of their place on a page.
        verdicts: What is judged.
        figures: For the JSON file.
        notes: What a reader must know, one line each.
    """

    tables: Mapping[str, Table]
    verdicts: tuple[Verdict, ...] = ()
    figures: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Part = Callable[[Options], Coroutine[object, None, Outcome]]
