"""What has to be reached, and how it came out.

A target is a goal; the must is that target with the slack the task leaves. What could
not be measured falls short.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.table import Table

SLACK: Final = 0.02
"""Musts are the targets within 2 %; anything beyond is a goal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Tell how one must came out; less is better.

    Attributes:
        what: In words.
        reached: What was measured, ``None`` where nothing was: that falls short.
        target: To reach.
        most: What still passes.
        note: What else there is to say, as the cell that decides.
    """

    what: str
    reached: float | None
    target: float
    most: float
    note: str = ""

    @property
    def passes(self) -> bool:
        """Tell whether the must is met."""
        return self.reached is not None and self.reached <= self.most

    @property
    def word(self) -> str:
        """Say it: the goal, the must only, or neither.

        >>> Verdict(what="", reached=1.01, target=1.0, most=1.02).word
        'must'
        """
        if self.reached is not None and self.reached <= self.target:
            return "goal"
        return "must" if self.passes else "FAIL"

    def as_json(self) -> dict[str, object]:
        """Give it as plain values."""
        return {
            "what": self.what,
            "reached": self.reached,
            "target": self.target,
            "most": self.most,
            "verdict": self.word,
            "note": self.note,
        }


def within_slack(what: str, reached: float | None, target: float, note: str = "") -> Verdict:
    """Judge by a target that may be missed by 2 %."""
    return Verdict(what=what, reached=reached, target=target, most=target * (1 + SLACK), note=note)


def must_table(title: str, verdicts: Sequence[Verdict], *, digits: int = 3) -> Table:
    """Lay verdicts out."""
    table = Table("what", "reached", "target", "must", "", "note", title=title)
    colours = {"goal": "green", "must": "green", "FAIL": "red"}
    for one in verdicts:
        table.add_row(
            one.what,
            number(one.reached, digits),
            f"{one.target:g}",
            f"{one.most:.4g}",
            f"[{colours[one.word]}]{one.word}[/{colours[one.word]}]",
            one.note,
        )
    return table


def all_pass(verdicts: Sequence[Verdict]) -> bool:
    """Tell whether there are musts and all are met."""
    return bool(verdicts) and all(one.passes for one in verdicts)


def number(value: float | None, digits: int = 3) -> str:
    """Write a number, or that there is none.

    >>> number(1.23456), number(None)
    ('1.235', '-')
    """
    return "-" if value is None else f"{value:.{digits}f}"
