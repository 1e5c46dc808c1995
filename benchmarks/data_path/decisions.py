"""One decision (features, both targets, policy, booking) with trees, by number of endpoints."""

import asyncio
from typing import Final

from rich.table import Table

from benchmarks.data_path.judge import Verdict
from benchmarks.data_path.part import Options, Outcome
from benchmarks.decision import measure as measure_decision

MUST_MS: Final = {8: 0.15, 100: 1.0}
DECISIONS: Final = 1000


async def measure(options: Options) -> Outcome:
    """Decide on one core, endpoint counts in turns."""
    count = DECISIONS // 5 if options.quick else DECISIONS
    table = Table("endpoints", "p50, ms", "mean, ms", title="CPU per decision, trees in use")
    verdicts, figures = [], {}
    for endpoints, most in MUST_MS.items():
        row = await asyncio.to_thread(measure_decision, endpoints, count, trees=True)
        table.add_row(str(endpoints), f"{row['p50_s'] * 1e3:.3f}", f"{row['mean_s'] * 1e3:.3f}")
        figures[str(endpoints)] = row
        verdicts.append(
            Verdict(
                what=f"one decision at {endpoints} endpoints, p50",
                kind="must",
                measured=None if options.quick else row["p50_s"] * 1e3,
                most=most,
                unit="ms",
            )
        )
    return Outcome(tables={"data-path-decisions": table}, verdicts=tuple(verdicts), figures=figures)
