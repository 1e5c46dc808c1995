"""One line of a table: a number of ours, what it stands beside, and what it must keep."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.table import Table

VERDICTS: Final = {True: "[green]pass[/green]", False: "[red]FAIL[/red]", None: "shown"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Hold one comparison.

    Attributes:
        part: Part of the benchmark.
        cell: What was played.
        quantity: What was measured.
        ours: Our number, in ``unit``.
        beside: What it stands beside, by name, in ``unit``.
        limit: What is asked for, in words, empty where nothing is.
        passes: Whether it is kept, ``None`` where it is only shown.
        unit: ``"%"`` for fractions shown as percents, else written behind the number.
        note: More numbers, in words.
    """

    part: str
    cell: str
    quantity: str
    ours: float
    beside: Mapping[str, float] = field(default_factory=dict)
    limit: str = ""
    passes: bool | None = None
    unit: str = "%"
    note: str = ""

    def as_json(self) -> dict[str, object]:
        """Give all of it by name."""
        return {
            "part": self.part,
            "cell": self.cell,
            "quantity": self.quantity,
            "ours": self.ours,
            "beside": dict(self.beside),
            "limit": self.limit,
            "passes": self.passes,
            "unit": self.unit,
            "note": self.note,
        }


def table(title: str, rows: Sequence[Row]) -> Table:
    """Lay rows of one part out."""
    shown = Table("cell", "what", "ours", "beside", "must", "", "more", title=title)
    cell = ""
    for row in rows:
        if cell and row.cell != cell:
            shown.add_section()
        beside = ", ".join(f"{name} {_number(value, row)}" for name, value in row.beside.items())
        shown.add_row(
            "" if row.cell == cell else row.cell,
            row.quantity,
            _number(row.ours, row),
            beside,
            row.limit,
            VERDICTS[row.passes],
            row.note,
        )
        cell = row.cell
    return shown


def falls_short(rows: Iterable[Row]) -> bool:
    """Tell whether a must is not kept."""
    return any(row.passes is False for row in rows)


def _number(value: float, row: Row) -> str:
    return f"{value:.1%}" if row.unit == "%" else f"{value:.3g} {row.unit}".rstrip()
