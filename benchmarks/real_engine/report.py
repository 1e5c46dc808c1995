"""What the turns say together: means over rounds with their range, as a table and as JSON.

Nothing is judged: two cores carry both servers, the client and the router, and the range
over rounds is as good a number as the mean.
"""

import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from rich.markup import escape
from rich.table import Table

from benchmarks.real_engine.client import DATASETS, Measured
from benchmarks.real_engine.turns import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Hold one figure over the rounds that have it: mean, least and most."""

    mean: float
    least: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Hold one router's figures on one dataset.

    Attributes:
        rounds: Rounds that measured it.
        requests: Sent over all rounds.
        errors: Of these, failed; warm-up not included.
        output_tokens: Of all answers.
        ttft_mean_s: Of each round's mean, as the next three of theirs; ``None`` without any.
        fast_ratio: Share of requests that the faster server got.
        hit_ratio: Share of prompt tokens found in a prefix cache.
        decided: How often Foretoken gave each reason for a decision, over all rounds.
        problems: Why rounds are missing, and what failed requests said; each once.
    """

    router: str
    dataset: str
    rounds: int
    requests: int
    errors: int
    output_tokens: int
    ttft_mean_s: Spread | None
    ttft_p99_s: Spread | None
    e2e_mean_s: Spread | None
    e2e_p99_s: Spread | None
    fast_ratio: Spread | None
    hit_ratio: Spread | None
    decided: Mapping[str, int]
    problems: tuple[str, ...]


FIGURES: Final[tuple[tuple[str, Callable[[Row], Spread | None]], ...]] = (
    ("TTFT mean", lambda row: row.ttft_mean_s),
    ("TTFT p99", lambda row: row.ttft_p99_s),
    ("e2e mean", lambda row: row.e2e_mean_s),
    ("e2e p99", lambda row: row.e2e_p99_s),
)


def spread(values: Sequence[float | None]) -> Spread | None:
    """Sum up what is known.

    >>> spread([1.0, None, 3.0])
    Spread(mean=2.0, least=1.0, most=3.0)
    >>> spread([None]) is None
    True
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(mean=statistics.fmean(known), least=min(known), most=max(known))


def summarise(turns: Sequence[Turn], names: Sequence[str]) -> list[Row]:
    """Give a row for each dataset and router, in that order; a router is never left out."""
    return [
        _row(
            dataset,
            name,
            [turn for turn in turns if (turn.dataset, turn.router) == (dataset, name)],
        )
        for dataset in DATASETS
        for name in names
    ]


def _row(dataset: str, name: str, turns: Sequence[Turn]) -> Row:
    measured = [turn.measured for turn in turns if turn.measured is not None]
    said = [turn.reason for turn in turns] + [one.first_error for one in measured]

    def over_rounds(figure: Callable[[Measured], float | None]) -> Spread | None:
        return spread([figure(one) for one in measured])

    return Row(
        router=name,
        dataset=dataset,
        rounds=len(measured),
        requests=sum(one.requests for one in measured),
        errors=sum(one.errors for one in measured),
        output_tokens=sum(one.output_tokens for one in measured),
        ttft_mean_s=over_rounds(lambda one: one.ttft_mean_s),
        ttft_p99_s=over_rounds(lambda one: one.ttft_p99_s),
        e2e_mean_s=over_rounds(lambda one: one.e2e_mean_s),
        e2e_p99_s=over_rounds(lambda one: one.e2e_p99_s),
        fast_ratio=spread([turn.fast_ratio for turn in turns]),
        hit_ratio=spread([turn.hit_ratio for turn in turns]),
        decided=dict(sum((Counter(turn.reasons or {}) for turn in turns), Counter())),
        problems=tuple(dict.fromkeys(text for text in said if text is not None)),
    )


def table(rows: Sequence[Row]) -> Table:
    """Print mean and range over rounds, in milliseconds and percents."""
    made = Table(
        title="two vLLM servers of different speed on this CPU",
        caption="milliseconds: mean over rounds (least to most); nothing here is judged",
    )
    made.add_column("dataset", no_wrap=True)
    made.add_column("router", no_wrap=True)
    for heading in (*(name for name, _ in FIGURES), "errors", "to the fast", "prefix hits"):
        made.add_column(heading, justify="right", no_wrap=True)
    for number, row in enumerate(rows):
        made.add_row(
            row.dataset,
            row.router,
            *(milliseconds(figure(row)) for _, figure in FIGURES),
            f"{row.errors} of {row.requests}" if row.rounds else "not run",
            _percent(row.fast_ratio),
            _percent(row.hit_ratio),
            end_section=number + 1 < len(rows) and rows[number + 1].dataset != row.dataset,
        )
    return made


def notes(rows: Sequence[Row]) -> list[str]:
    """Say, a line each, what Foretoken's decisions rested on, and what went wrong with whom."""
    lines = [
        f"{row.router}, {row.dataset}: decided "
        + ", ".join(f"{reason} {count}" for reason, count in sorted(row.decided.items()))
        for row in rows
        if row.decided
    ]
    lines += [f"{row.router}: {problem}" for row in rows for problem in row.problems]
    return [escape(line) for line in dict.fromkeys(lines)]


def document(rows: Sequence[Row], turns: Sequence[Turn], about: object) -> dict[str, object]:
    """Build the JSON: what was played, the rows, and every turn."""
    return {
        "about": about,
        "rows": [asdict(row) for row in rows],
        "turns": [asdict(turn) for turn in turns],
    }


def milliseconds(value: Spread | None) -> str:
    """Write seconds as milliseconds.

    >>> milliseconds(Spread(mean=0.0123, least=0.0101, most=0.2))
    '12 (10 to 200)'
    >>> milliseconds(None)
    '-'
    """
    if value is None:
        return "-"
    mean, least, most = (f"{part * 1e3:.0f}" for part in (value.mean, value.least, value.most))
    return f"{mean} ({least} to {most})"


def _percent(value: Spread | None) -> str:
    return "-" if value is None else f"{value.mean:.0%}"
