"""What the parts share: what was asked for, what was played, where tables go."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.policies.cells import WHOLE, Cell, matching
from benchmarks.policies.planning import plan, play_missing
from benchmarks.policies.ratios import Results
from benchmarks.policies.results import Planned, read, records
from benchmarks.policies.scenarios import Scenario
from benchmarks.prediction.pages import Pages
from foretoken.simulation.arms import ARMS

REFERENCES = tuple(name for name, arm in ARMS.items() if arm.is_reference)
"""Arms that know what no router can know."""

Document = dict[str, object]
"""What a part puts into the JSON file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Play, keep and read runs for the parts.

    Attributes:
        data: Folder of recorded traces.
        folder: Where results are kept.
        jobs: Most runs at once.
        console: Where tables are printed.
        progress: Where it is told how far it is.
        pages: Where tables go.
        asked: Cells asked for, ``None`` to leave them to each part.
        seeds: Seeds asked for, likewise.
        policies: Arms asked for, likewise.
        quick: Whether to play little and judge nothing.
        table_only: Whether to play nothing.
        refused: One line for each run that could not be played; grows.
    """

    data: Path
    folder: Path
    jobs: int
    console: Console
    progress: Console
    pages: Pages = field(default_factory=Pages)
    asked: tuple[Cell, ...] | None = None
    seeds: tuple[int, ...] | None = None
    policies: tuple[str, ...] | None = None
    quick: bool = False
    table_only: bool = False
    refused: list[str] = field(default_factory=list)

    def cells(self, usual: Sequence[Cell], quick: Sequence[Cell]) -> tuple[Cell, ...]:
        """Give the cells of a part: those asked for, or its own."""
        return self.asked or tuple(quick if self.quick else usual)

    def held_out(self, usual: Sequence[int]) -> tuple[int, ...]:
        """Give the seeds of a part, one where little is to be played."""
        return self.seeds or tuple(usual[:1] if self.quick else usual)

    def planned(
        self,
        cells: Sequence[Cell],
        policies: Sequence[str],
        seeds: Sequence[int],
        scenario: Scenario | None = None,
    ) -> list[Planned]:
        """Plan runs; what cannot be planned is noted."""
        found, refused = plan(cells, policies, seeds, self.data, scenario)
        self.refused.extend(line for line in refused if line not in self.refused)
        return found

    def play(self, planned: Sequence[Planned]) -> None:
        """Play the runs that have no result; what is refused is noted."""
        if not self.table_only:
            self.refused.extend(play_missing(planned, self.folder, self.jobs, self.progress))

    def results(self, planned: Sequence[Planned]) -> Results:
        """Read the figures there are; an arm that lacks a seed of the plan counts as missing."""
        seeds = {each.job.seed for each in planned}
        return Results(records(planned, self.folder), REFERENCES, seeds)

    # Any: a JSON document, as written to disk.
    def read(self, planned: Planned) -> dict[str, Any] | None:
        """Read all of one run's result, ``None`` where it was not played."""
        return read(planned, self.folder)


def cells_named(texts: Sequence[str]) -> tuple[Cell, ...]:
    """Give the cells of the whole matrix that have one of the texts in their name."""
    return matching(WHOLE, texts)
