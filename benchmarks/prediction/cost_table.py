"""What things cost, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Hold what one thing costs in CPU seconds.

    Attributes:
        what: It is, in words.
        p50_s: Of ours, ``None`` where only llm-d's has it.
        p90_s: Likewise.
        llmd_p50_s: Of the same at llm-d's, ``None`` where there is no such thing.
        llmd_p90_s: Likewise.
        must_s: The most ``p50_s`` may be, ``None`` for any.
    """

    what: str
    p50_s: float | None = None
    p90_s: float | None = None
    llmd_p50_s: float | None = None
    llmd_p90_s: float | None = None
    must_s: float | None = None

    @property
    def passes(self) -> bool:
        """Say whether the must is kept."""
        return self.must_s is None or (self.p50_s is not None and self.p50_s <= self.must_s)


def cost_table(costs: Sequence[Cost]) -> Table:
    """Lay costs out beside llm-d's and the musts."""
    table = Table(
        "CPU time of", "ours p50", "p90", "llm-d p50", "p90", "must", "",
        title="CPU, one thread: medians over interleaved rounds",
    )  # fmt: skip
    for cost in costs:
        verdict = "[green]pass[/green]" if cost.passes else "[red]FAIL[/red]"
        times = (cost.p50_s, cost.p90_s, cost.llmd_p50_s, cost.llmd_p90_s, cost.must_s)
        table.add_row(cost.what, *map(duration, times), "" if cost.must_s is None else verdict)
    return table


def duration(seconds: float | None) -> str:
    """Write CPU time, milliseconds below a tenth of a second.

    >>> duration(0.000123), duration(0.0123), duration(1.234), duration(None)
    ('0.123 ms', '12.3 ms', '1.23 s', '-')
    """
    if seconds is None:
        return "-"
    if seconds >= 0.1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.3f} ms" if seconds < 1e-2 else f"{seconds * 1e3:.1f} ms"
