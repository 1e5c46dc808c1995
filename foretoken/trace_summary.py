"""What recorded traces hold: counts, times, how requests ended (``foretoken traces show``)."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from collectors import TraceProblem, TraceRow, read_traces


@dataclass(slots=True)
class TraceSummary:
    """Hold what was counted; the medians of what nobody measured are ``None``.

    Attributes:
        requests: Rows read.
        first_at_s: Unix time of the earliest arrival, ``None`` without a request.
        last_at_s: That of the latest.
        models: Requests by the fleet that served them.
        endpoints: By where they were served.
        outcomes: By how they ended.
        reasons: By what decided.
        problems: Files that were skipped, and why.
        medians: Of prompt and output tokens, TTFT, TPOT and e2e (seconds).
    """

    requests: int = 0
    first_at_s: float | None = None
    last_at_s: float | None = None
    models: Counter[str] = field(default_factory=Counter)
    endpoints: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    problems: list[TraceProblem] = field(default_factory=list)
    medians: dict[str, float | None] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Give the document ``--json`` prints."""
        return {
            "requests": self.requests,
            "first_at_s": self.first_at_s,
            "last_at_s": self.last_at_s,
            "models": dict(self.models),
            "endpoints": dict(self.endpoints),
            "outcomes": dict(self.outcomes),
            "reasons": dict(self.reasons),
            "medians": self.medians,
            "problems": [
                {"path": str(problem.path), "reason": problem.reason} for problem in self.problems
            ],
        }


def summarise(
    paths: Sequence[Path], *, progress: Callable[[int], None] = lambda _: None
) -> TraceSummary:
    """Count what trace files, or folders of them, hold.

    Args:
        paths: Files or folders.
        progress: Told of how many rows have been read.
    """
    summary = TraceSummary()
    measured: dict[str, list[float]] = {
        name: [] for name in ("prompt_tokens", "output_tokens", "ttft_s", "tpot_s", "e2e_s")
    }
    for row in read_traces(paths, on_problem=summary.problems.append):
        _count(summary, row)
        _measure(measured, row)
        progress(summary.requests)
    summary.medians = {name: _median(values) for name, values in measured.items()}
    return summary


def _count(summary: TraceSummary, row: TraceRow) -> None:
    arrived_s = row.request.arrived_s
    summary.requests += 1
    if summary.first_at_s is None or arrived_s < summary.first_at_s:
        summary.first_at_s = arrived_s
    if summary.last_at_s is None or arrived_s > summary.last_at_s:
        summary.last_at_s = arrived_s
    summary.models[row.fleet or row.request.model] += 1
    summary.outcomes[row.measurement.outcome] += 1
    if row.endpoint is not None:
        summary.endpoints[row.endpoint] += 1
    if row.reason is not None:
        summary.reasons[row.reason] += 1


def _measure(measured: dict[str, list[float]], row: TraceRow) -> None:
    found = {
        "prompt_tokens": row.request.prompt_tokens,
        "output_tokens": row.measurement.output_tokens,
        "ttft_s": row.ttft_s,
        "tpot_s": row.tpot_s,
        "e2e_s": row.e2e_s,
    }
    for name, value in found.items():
        if value is not None:
            measured[name].append(float(value))


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return float(np.median(known)) if known else None
