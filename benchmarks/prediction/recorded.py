"""The part on recorded rows: every set there is, ours beside the reference.

Each set is played row by row and with label delay, where ours takes TPOT labels early if
the recording has times, as it does in production, and the reference when requests end, as
it does. Sets of one load are played once more with all labels 1.7 times as long from the
middle on.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.prediction import b200, h200, reference
from benchmarks.prediction.musts import Key, Verdict, judge, judge_drift
from benchmarks.prediction.ours import Ours
from benchmarks.prediction.play import Contender, Played, play
from benchmarks.prediction.rowset import DELAYED, ROW_BY_ROW, TARGETS, RowSet
from benchmarks.prediction.scores import Figures, error_after, expert_errors, figures
from benchmarks.prediction.tables import error_table, expert_table, must_table, regime_table

OURS: Final = "ours"
REFERENCE: Final = f"llm-d ({reference.FAMILY})"
CONTENDERS: Final[dict[str, Callable[[], Contender]]] = {
    OURS: Ours,
    REFERENCE: reference.Reference,
}
DRIFT: Final = 1.7
QUICK_REQUESTS: Final = 1500
Orders = tuple[RowSet, RowSet, RowSet]
"""One set row by row, with labels when requests end, and with TPOT labels early."""


@dataclass(frozen=True, slots=True)
class Results:
    """Collect what the tables show.

    Attributes:
        figures: By contender and key.
        experts: Median error of each of our experts.
        after_middle: Our error where labels change in the other play, without the change.
        drift: What came of that.
    """

    figures: dict[str, dict[Key, Figures]] = field(
        default_factory=lambda: {who: {} for who in CONTENDERS}
    )
    experts: dict[Key, Figures] = field(default_factory=dict)
    after_middle: dict[Key, float | None] = field(default_factory=dict)
    drift: list[Verdict] = field(default_factory=list)

    def verdicts(self) -> list[Verdict]:
        """Judge what was played."""
        return judge(self.figures[OURS], self.figures[REFERENCE]) + self.drift


def main_part(given: argparse.Namespace, console: Console) -> tuple[dict[str, object], bool]:
    """Play and print; give what goes to JSON, and whether every must is met."""
    if reference.FAMILY != "XGBoost":
        console.print("XGBoost is not installed (extra `benchmarks`): LightGBM plays for llm-d")
    results = Results()
    wanted = [
        orders for orders in read_sets(given.data) if not given.sets or orders[0].name in given.sets
    ]
    for orders in wanted:
        with console.status(orders[0].name):
            play_set(orders, results, first=QUICK_REQUESTS if given.quick else None)
    played = {orders[0].name for orders in wanted}
    if not given.quick:
        for at_once, _, _ in read_sets(given.data, factor=DRIFT):
            if at_once.name in played and is_steady(at_once):
                with console.status(f"{at_once.name}, labels x{DRIFT}"):
                    play_drift(at_once, results)
    verdicts = [] if given.quick else results.verdicts()
    show(results, verdicts, console)
    return document(results, verdicts), all(verdict.passes for verdict in verdicts)


def read_sets(data: Path, *, factor: float = 1.0) -> Iterator[Orders]:
    """Give every recorded set of a data folder: row by row, labels at the end, TPOT early."""
    for path in h200.paths(data):
        at_once, late = h200.read(path, factor=factor)
        yield at_once, late, late
    yield from b200.read(data, factor=factor)


def play_set(orders: Orders, results: Results, *, first: int | None = None) -> None:
    """Play one set in both orders by every contender, of its first requests or all."""
    at_once, late, early = (
        rows if first is None else rows.first_requests(first) for rows in orders
    )
    for who, contender in CONTENDERS.items():
        own_way = early if who == OURS else late
        for order, rows in ((ROW_BY_ROW, at_once), (DELAYED, own_way)):
            for target, seen in play(rows, contender()).items():
                key = (rows.name, order, target)
                results.figures[who][key] = figures(seen)
                if who == OURS:
                    results.after_middle[key] = _error_after_middle(rows, seen)
                    results.experts[key] = expert_errors(seen)


def is_steady(rows: RowSet) -> bool:
    """Say whether a set is one load throughout: runs in sequence change in the middle too."""
    return not rows.name.startswith(b200.IN_SEQUENCE)


def play_drift(changed: RowSet, results: Results) -> None:
    """Play a set whose labels change in the middle, row by row, and judge it."""
    after = {
        who: {target: _error_after_middle(changed, seen) for target, seen in played.items()}
        for who, played in (
            (who, play(changed, contender())) for who, contender in CONTENDERS.items()
        )
    }
    for target in TARGETS:
        key = (changed.name, ROW_BY_ROW, target)
        verdict = judge_drift(
            key,
            before=results.after_middle[key],
            ours=after[OURS][target],
            reference=after[REFERENCE][target],
        )
        results.drift.append(verdict)


def _error_after_middle(rows: RowSet, seen: Played) -> float | None:
    return error_after(seen, len(rows.requests) // 2)


def show(results: Results, verdicts: Sequence[Verdict], console: Console) -> None:
    """Print all tables."""
    console.print(error_table(results.figures))
    console.print(regime_table(results.figures))
    console.print(expert_table(results.experts))
    if verdicts:
        console.print(must_table(verdicts))
    else:
        console.print("no must is about these rows: the first of each set, or of unknown sets")


def document(results: Results, verdicts: Sequence[Verdict]) -> dict[str, object]:
    """Give everything by name, for JSON."""
    return {
        "contenders": {
            who: {_key(key): found for key, found in by_key.items()}
            for who, by_key in results.figures.items()
        },
        "experts_mdape": {_key(key): found for key, found in results.experts.items()},
        "musts": [asdict(verdict) for verdict in verdicts],
    }


def _key(key: Key) -> str:
    return "/".join(key)
