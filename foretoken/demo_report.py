"""Turn the rounds of a demo into figures, one table and one JSON document."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from rich.table import Table

from foretoken.demo_client import Answer, relative_errors
from foretoken.demo_traffic import Played

PERCENTILES: Final = (50, 90, 99)
# Windows of the "error over time" row: a minute, or an eighth of a shorter round.
MOST_WINDOWS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Hold one policy's round.

    Attributes:
        policy: Name of the policy.
        played: What the client saw.
        busy_ratio: Share of the machine's processors in use meanwhile, ``None`` if unknown.
    """

    policy: str
    played: Played
    busy_ratio: float | None


def as_json(rounds: Sequence[Round], duration_s: float) -> dict[str, object]:
    """Give the document ``--json`` writes; times in seconds."""
    return {"duration_s": duration_s, "rounds": [_round_json(each) for each in rounds]}


def _round_json(finished: Round) -> dict[str, object]:
    answers = finished.played.answers
    good = [answer for answer in answers if answer.error is None]
    errors = [_ttft_errors(part) for part in _windows(sorted(good, key=lambda a: a.at_s))]
    return {
        "policy": finished.policy,
        "requests": len(answers),
        "errors": len(answers) - len(good),
        "error_texts": sorted({answer.error for answer in answers if answer.error is not None}),
        "ttft_s": _summary([answer.ttft_s for answer in good]),
        "tpot_s": _summary([answer.tpot_s for answer in good]),
        "e2e_s": _summary([answer.e2e_s for answer in good]),
        "hit_ratio": _ratio(
            sum(answer.cached_tokens or 0 for answer in good),
            sum(answer.prompt_tokens or 0 for answer in good),
        ),
        "requests_by_endpoint": _count(answer.endpoint or "unknown" for answer in good),
        "ttft_mdape": _median(_ttft_errors(_last_third(good))),
        "tpot_mdape": _median(_tpot_errors(_last_third(good))),
        "ttft_mdape_over_time": [_median(part) for part in errors],
        "loop_lag_p99_s": _percentile(finished.played.loop_lag_s, 99),
        "busy_ratio": finished.busy_ratio,
    }


def as_table(document: dict[str, object]) -> Table:
    """Give the table people read."""
    rounds = _rounds(document)
    table = Table(title="The same arrivals through each policy, on freshly started endpoints")
    table.add_column("")
    for each in rounds:
        table.add_column(each["policy"], justify="right")
    for name, key in (("TTFT", "ttft_s"), ("e2e", "e2e_s")):
        for part in ("mean", "p50", "p90", "p99"):
            table.add_row(f"{name} {part}", *(_seconds(each[key][part]) for each in rounds))
        table.add_section()
    table.add_row("TPOT mean", *(_seconds(each["tpot_s"]["mean"]) for each in rounds))
    table.add_row("prefix hits", *(_percent(each["hit_ratio"]) for each in rounds))
    table.add_row("requests", *(str(each["requests"]) for each in rounds))
    table.add_row("errors", *(str(each["errors"]) for each in rounds))
    table.add_section()
    table.add_row("TTFT error, last third", *(_percent(each["ttft_mdape"]) for each in rounds))
    table.add_row("TPOT error, last third", *(_percent(each["tpot_mdape"]) for each in rounds))
    table.add_section()
    table.add_row("machine busy", *(_percent(each["busy_ratio"]) for each in rounds))
    table.add_row("event-loop lag p99", *(_seconds(each["loop_lag_p99_s"]) for each in rounds))
    return table


def errors_over_time(document: dict[str, object]) -> dict[str, str]:
    """Give one line a policy: the median TTFT error of each span of the round, in order."""
    return {
        each["policy"]: " ".join(_percent(error) for error in each["ttft_mdape_over_time"])
        for each in _rounds(document)
    }


# Any: a JSON document, as written to disk.
def _rounds(document: dict[str, object]) -> list[dict[str, Any]]:
    rounds = document["rounds"]
    if not isinstance(rounds, list):
        raise TypeError
    return rounds


def _windows(answers: Sequence[Answer]) -> list[list[Answer]]:
    """Cut a round into equal spans of time, at most a minute each."""
    if not answers:
        return []
    span_s = answers[-1].at_s + 1e-9
    count = max(MOST_WINDOWS, int(span_s // 60) + 1)
    windows: list[list[Answer]] = [[] for _ in range(count)]
    for answer in answers:
        windows[int(answer.at_s / span_s * count)].append(answer)
    return windows


def _last_third(answers: Sequence[Answer]) -> list[Answer]:
    ordered = sorted(answers, key=lambda answer: answer.at_s)
    return ordered[len(ordered) * 2 // 3 :]


def _ttft_errors(answers: Sequence[Answer]) -> list[float]:
    return relative_errors((answer.ttft_s, answer.predicted_ttft_s) for answer in answers)


def _tpot_errors(answers: Sequence[Answer]) -> list[float]:
    return relative_errors((answer.tpot_s, answer.predicted_tpot_s) for answer in answers)


def _summary(values: Sequence[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, **{f"p{percent}": None for percent in PERCENTILES}}
    points = np.percentile(known, PERCENTILES)
    named = {
        f"p{percent}": float(point) for percent, point in zip(PERCENTILES, points, strict=True)
    }
    return {"mean": float(np.mean(known)), **named}


def _percentile(values: Sequence[float], percent: float) -> float:
    return float(np.percentile(values, percent)) if values else 0.0


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _seconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.1f} ms"


def _percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1%}"


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
