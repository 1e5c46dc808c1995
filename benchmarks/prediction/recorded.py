"""The part on recorded rows: every set there is, ours beside the reference.

Each set is played row by row and with label delay, where ours takes TPOT labels early if
the recording has times, as it does in production, and the reference when requests end, as
it does. Sets of one load are played once more with all labels 1.7 times as long from the
middle on.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.prediction import reference
from benchmarks.prediction.musts import Key, Verdict, judge, judge_drift
from benchmarks.prediction.pages import Pages
from benchmarks.prediction.play import Played
from benchmarks.prediction.plays import CONTENDERS, OURS, REFERENCE, Orders, Plays, own_way
from benchmarks.prediction.rowset import DELAYED, ROW_BY_ROW, TARGETS, RowSet
from benchmarks.prediction.scores import Figures, error_after, expert_errors, figures
from benchmarks.prediction.tables import error_table, expert_table, must_table, regime_table

QUICK_REQUESTS: Final = 1500


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


def main_part(
    given: argparse.Namespace, console: Console, *, plays: Plays, pages: Pages
) -> tuple[dict[str, object], bool]:
    """Play and print; give what goes to JSON, and whether every must is met."""
    if reference.FAMILY != "XGBoost":
        console.print("XGBoost is not installed (extra `benchmarks`): LightGBM plays for llm-d")
    results = Results()
    for orders in plays.sets:
        with console.status(orders[0].name):
            play_set(orders, results, plays)
    for changed in plays.changed:
        with console.status(f"{changed.name}, labels longer"):
            play_drift(changed, results, plays)
    verdicts = [] if given.quick else results.verdicts()
    pages.show(console, tables(results, verdicts))
    if not verdicts:
        console.print("no must is about these rows: the first of each set, or of unknown sets")
    return document(results, verdicts), all(verdict.passes for verdict in verdicts)


def play_set(orders: Orders, results: Results, plays: Plays) -> None:
    """Play one set in both orders by every contender."""
    for who in CONTENDERS:
        for order, rows in ((ROW_BY_ROW, orders[0]), (DELAYED, own_way(orders, who))):
            for target, seen in plays.of(rows, who).played.items():
                key = (rows.name, order, target)
                results.figures[who][key] = figures(seen)
                if who == OURS:
                    results.after_middle[key] = _error_after_middle(rows, seen)
                    results.experts[key] = expert_errors(seen)


def play_drift(changed: RowSet, results: Results, plays: Plays) -> None:
    """Play a set whose labels change in the middle, row by row, and judge it."""
    after = {
        who: {
            target: _error_after_middle(changed, seen)
            for target, seen in plays.of(changed, who).played.items()
        }
        for who in CONTENDERS
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


def tables(results: Results, verdicts: Sequence[Verdict]) -> dict[str, Table]:
    """Lay everything out, by name."""
    found = {
        "errors": error_table(results.figures),
        "regimes": regime_table(results.figures),
        "experts": expert_table(results.experts),
    }
    return found | ({"musts": must_table(verdicts)} if verdicts else {})


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
