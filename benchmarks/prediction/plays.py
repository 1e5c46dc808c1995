"""Recorded sets, each read and played once however many parts ask for it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from benchmarks.prediction import b200, h200, reference
from benchmarks.prediction.ours import Ours, Swap
from benchmarks.prediction.play import Contender, Played, play
from benchmarks.prediction.rowset import RowSet, Target
from predictor import ModelSnapshot

OURS: Final = "ours"
REFERENCE: Final = f"llm-d ({reference.FAMILY})"
CONTENDERS: Final[dict[str, Callable[[], Contender]]] = {
    OURS: Ours,
    REFERENCE: reference.Reference,
}
DRIFT: Final = 1.7
"""What all labels from the middle on are multiplied by where a set is to change."""
Orders = tuple[RowSet, RowSet, RowSet]
"""One set row by row, with labels when requests end, and with TPOT labels early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Hold what is left of one play.

    Attributes:
        rows: What was played.
        played: What was said and measured.
        swaps: Ours: the models that took part.
        model: Ours: the last of them.
    """

    rows: RowSet
    played: Mapping[Target, Played]
    swaps: Sequence[Swap] = ()
    model: ModelSnapshot | None = None


class Plays:
    """Read sets and play them, keeping everything.

    Args:
        data: Folder with ``latency`` in it.
        names: Sets to read, all by default.
        first: Requests of each to play, all by default.
    """

    def __init__(
        self, data: Path, names: Sequence[str] | None = None, *, first: int | None = None
    ) -> None:
        self._data = data
        self._names = names
        self._first = first
        self._kept: dict[tuple[str, int], Kept] = {}

    @cached_property
    def sets(self) -> tuple[Orders, ...]:
        """Give every set that is wanted."""
        return tuple(
            (self._cut(at_once), self._cut(late), self._cut(early))
            for at_once, late, early in read_sets(self._data)
            if self._wanted(at_once)
        )

    @cached_property
    def changed(self) -> tuple[RowSet, ...]:
        """Give the sets of one load row by row, labels longer from the middle on.

        None where sets are cut: their middle is elsewhere.
        """
        if self._first is not None:
            return ()
        return tuple(
            at_once
            for at_once, _, _ in read_sets(self._data, factor=DRIFT)
            if self._wanted(at_once) and is_steady(at_once)
        )

    def of(self, rows: RowSet, who: str) -> Kept:
        """Give what came of one of these sets, played by one contender."""
        key = who, id(rows)
        if key not in self._kept:
            self._kept[key] = _play(rows, CONTENDERS[who]())
        return self._kept[key]

    def _wanted(self, rows: RowSet) -> bool:
        return not self._names or rows.name in self._names

    def _cut(self, rows: RowSet) -> RowSet:
        return rows if self._first is None else rows.first_requests(self._first)


def own_way(orders: Orders, who: str) -> RowSet:
    """Give a set as its labels reach a contender live: TPOT early for ours, at the end else."""
    _, late, early = orders
    return early if who == OURS else late


def read_sets(data: Path, *, factor: float = 1.0) -> Iterator[Orders]:
    """Give every recorded set of a data folder: row by row, labels at the end, TPOT early."""
    for path in h200.paths(data):
        at_once, late = h200.read(path, factor=factor)
        yield at_once, late, late
    yield from b200.read(data, factor=factor)


def is_steady(rows: RowSet) -> bool:
    """Say whether a set is one load throughout: runs in sequence change in the middle too."""
    return not rows.name.startswith(b200.IN_SEQUENCE)


def _play(rows: RowSet, contender: Contender) -> Kept:
    played = play(rows, contender)
    if isinstance(contender, Ours):
        return Kept(rows=rows, played=played, swaps=tuple(contender.swaps), model=contender.model)
    return Kept(rows=rows, played=played)
