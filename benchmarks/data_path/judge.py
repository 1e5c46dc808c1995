"""What must be reached, what is aimed at, and how a figure came out.

A figure that was not taken, because there was no peer to compare with or the run was
quick, is not judged: it is said so, and it fails nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.table import Table

Kind = Literal["must", "goal"]
NOT_JUDGED: Final = "not judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Tell how one figure came out.

    Attributes:
        what: In words.
        kind: Whether falling short fails the run.
        measured: The figure, ``None`` where it is not judged.
        most: The largest that passes.
        unit: Behind both when shown: ``x`` for ratios, ``ms``, ``core`` ...
        spread: Least and most over the rounds, where there were several.
    """

    what: str
    kind: Kind
    measured: float | None
    most: float
    unit: str
    spread: tuple[float, float] | None = None

    @property
    def passes(self) -> bool | None:
        """Say whether it is reached; ``None`` where it is not judged."""
        return None if self.measured is None else self.measured <= self.most


def met(verdicts: Iterable[Verdict]) -> bool:
    """Say whether no must falls short.

    >>> short = Verdict(what="w", kind="must", measured=2.0, most=1.0, unit="x")
    >>> met([short]), met([])
    (False, True)
    """
    return not any(each.kind == "must" and each.passes is False for each in verdicts)


def verdict_table(verdicts: Sequence[Verdict]) -> Table:
    """Show all of them."""
    table = Table("what", "measured", "over the rounds", "at most", "", title="Musts and goals")
    for each in verdicts:
        measured = NOT_JUDGED if each.measured is None else shown(each.measured, each.unit)
        spread = "" if each.spread is None else " to ".join(f"{end:.2f}" for end in each.spread)
        bound = f"{each.kind}: {shown(each.most, each.unit)}"
        outcome = {True: "reached", False: "FALLS SHORT", None: ""}[each.passes]
        table.add_row(each.what, measured, spread, bound, outcome)
    return table


def shown(value: float, unit: str) -> str:
    """Write a figure with its unit.

    >>> shown(0.1234, "ms"), shown(1.2, "x")
    ('0.123 ms', '1.20x')
    """
    return f"{value:.2f}x" if unit == "x" else f"{value:.3g} {unit}"


def as_json(verdicts: Iterable[Verdict]) -> list[dict[str, object]]:
    """Give them for a file."""
    return [
        {
            "what": each.what,
            "kind": each.kind,
            "measured": each.measured,
            "at_most": each.most,
            "unit": each.unit,
            "spread": each.spread,
            "passes": each.passes,
        }
        for each in verdicts
    ]
