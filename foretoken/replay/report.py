"""The answer for people and for programs: how far to trust it first, then what it is.

The document of ``as_json`` (``format`` and ``version`` name it): ``trust`` (``verdict``,
``because``, ``figures`` with recorded, at the recorded places and through the recorded
policy, ``ranks``, ``told`` (the share of the answers of which each latency was recorded,
null where none has it), ``shares``, the ``limits`` of the verdicts), ``trace`` (what was read
and assumed), ``classes`` (fitted step times), ``baseline`` and ``alternatives`` (by policy:
every figure with its change, range over the seeds, whether the replay can tell it from none,
and whether there was a recording to judge it by).
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from foretoken.amounts import UNKNOWN, count, ratio, seconds, signed_ratio
from foretoken.replay.changes import ATTAINED, SHARES, Alternative, Change
from foretoken.replay.fleets import EndpointClass
from foretoken.replay.question import Answer
from foretoken.replay.steps import PARAMETERS, STEP, TOKEN
from foretoken.replay.trust import (
    FAIR_ERROR,
    FAIR_RANKS,
    GOOD_ERROR,
    GOOD_RANKS,
    Trust,
)
from foretoken.simulation.figures import rounded

FORMAT: Final = "foretoken-replay"
VERSION: Final = 1

COLUMNS: Final = (
    ("TTFT\nmean", "ttft_mean_s"),
    ("TTFT\np90", "ttft_p90_s"),
    ("TPOT\nmean", "tpot_mean_s"),
    ("TPOT\np90", "tpot_p90_s"),
    ("e2e\nmean", "e2e_mean_s"),
    ("e2e\np90", "e2e_p90_s"),
    ("objectives\nkept", ATTAINED),
    ("prefix\nhits", "hit_ratio"),
    ("shed", "shed_ratio"),
)
_SHARE_NAMES: Final = {
    "hit_ratio": "prefix hits",
    "shed_ratio": "shed",
    "error_ratio": "failed otherwise",
    ATTAINED: "objectives kept",
}
_VERDICTS: Final = {
    "good": "believe the ratios below",
    "fair": "believe large differences only",
    "poor": "do not decide by what follows",
}
_NAMED: Final = 3
"""Endpoints of a class that are named."""

_ALWAYS: Final = 0.95
_MORE_WORK: Final = 1.1
"""As much work an endpoint, against the recording, is no longer what was fitted."""

WITHIN: Final = "≈"
"""Marks a difference that the replay cannot tell from none."""

UNJUDGED: Final = "?"
"""Marks what nobody recorded: the replay may be off by anything there."""

_MOST: Final = 0.95
"""Share of the requests whose latency is known that goes without saying."""


def as_tables(answer: Answer) -> Group:
    """Lay the answer out for a terminal: trust, what was read, what would have been."""
    parts: list[RenderableType] = [
        Text(_headline(answer.trust), style="bold"),
        _trust_table(answer.trust),
        Text(_reading(answer)),
        _class_table(answer.classes),
    ]
    parts += [Text(f"assumed: {line}") for line in _assumptions(answer)]
    parts += [Text(""), Text(_what_if(answer), style="bold"), _changes_table(answer)]
    parts.append(Text(_legend(answer)))
    return Group(*parts)


def as_json(answer: Answer) -> dict[str, object]:
    """Give the document the module describes."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "trust": _trust_json(answer.trust),
        "trace": {
            "model": answer.traffic.model,
            "began_at_s": answer.traffic.began_s,
            "span_s": rounded(answer.traffic.span_s),
            "requests": len(answer.demand.requests),
            "cut_by_limit": answer.traffic.more,
            "judged_from_s": rounded(answer.judged_s[0]),
            "judged_until_s": rounded(answer.judged_s[1]),
            "policy": answer.policy,
            "policy_ratio": rounded(answer.policy_share),
            "prefixes_from": answer.demand.contents.source,
            "left_out": answer.demand.left_out,
            "drawn_lengths": answer.demand.drawn,
            "assumed": _assumptions(answer),
        },
        "classes": [_class_json(each) for each in answer.classes],
        "work_ratio": rounded(answer.work),
        "baseline": _alternative_json(answer.baseline),
        "alternatives": [_alternative_json(each) for each in answer.alternatives],
    }


def _headline(trust: Trust) -> str:
    told = f"How far to trust this: {trust.verdict}, {trust.because}; {_VERDICTS[trust.verdict]}."
    if trust.unjudged and trust.deviations:
        told += (
            f" {_titles(trust.unjudged)} cannot be judged, as no answer was streamed: decide "
            f"nothing by what is marked {UNJUDGED}."
        )
    return told


def _titles(latencies: Sequence[str]) -> str:
    """Name latencies in a sentence.

    >>> _titles(["ttft", "e2e"])
    'TTFT and e2e'
    """
    return " and ".join(name if name == "e2e" else name.upper() for name in latencies)


def _trust_table(trust: Trust) -> Table:
    table = Table(
        title=f"{count(trust.requests)} recorded requests that no fit saw, played again",
        title_justify="left",
        box=None,
        padding=(0, 1),
    )
    for name in ("", "recorded", "same places", "off", "same policy", "off"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    for name, each in trust.deviations.items():
        latency, part = name.split("_")[:2]
        table.add_row(
            f"{latency if latency == 'e2e' else latency.upper()} {part}",
            seconds(each.recorded),
            seconds(each.placed),
            signed_ratio(each.placed_error),
            seconds(each.policy),
            signed_ratio(each.policy_error),
        )
    for name, (was, played) in trust.shares.items():
        if was is not None and (was or played):
            table.add_row(_SHARE_NAMES[name], ratio(was), "", "", ratio(played), "")
    known = {name: value for name, value in trust.ranks.items() if value is not None}
    ranks = ", ".join(f"{name} {value:.2f}" for name, value in known.items()) or UNKNOWN
    table.caption = (
        f"request by request, ranks at the same places agree to: {ranks}\n"
        f"good: mean, p50 and p90 within {GOOD_ERROR:.0%} and ranks from {GOOD_RANKS}; "
        f"fair: within {FAIR_ERROR:.0%} and from {FAIR_RANKS}"
    )
    for name, share in trust.told.items():
        if share is not None and 0.0 < share < _MOST:
            table.caption += f"\n{_titles([name])} is known of {ratio(share)} of the answers"
    table.caption_justify = "left"
    return table


def _reading(answer: Answer) -> str:
    demand, span_s = answer.demand, answer.traffic.span_s
    policy = "the recorded policy is unknown"
    if answer.policy is not None:
        policy = f"{answer.policy} placed {ratio(answer.policy_share)} of them"
    parts = [
        f"{count(len(demand.requests))} requests of {answer.traffic.model} in {seconds(span_s)}",
        policy,
        f"fitted to the first {seconds(answer.judged_s[0])}",
        f"shared prefixes from {demand.contents.source}",
    ]
    return "\n" + "; ".join(parts)


def _assumptions(answer: Answer) -> list[str]:
    demand, lines = answer.demand, []
    if answer.traffic.more:
        lines.append(
            f"the first {count(len(answer.traffic.requests))} requests stand for all: --limit"
        )
    if demand.drawn:
        lines.append(
            f"{count(demand.drawn)} requests that were not answered would have had answers like "
            "the others'"
        )
    lines += [
        f"{count(number)} rows are no demand: {why}" for why, number in demand.left_out.items()
    ]
    if demand.contents.answers_found is False:
        lines.append("caches never held the answers of earlier turns, as was seen")
    if answer.policy is None:
        lines.append("compared with the recorded places: the recorded policy cannot be played")
    lines += _absences(answer)
    for each in answer.classes:
        lines += [f"{each.name}: {line}" for line in each.assumed]
    return lines


def _absences(answer: Answer) -> list[str]:
    """Name endpoints that were not there all the time; those without any decision tell nothing."""
    facts = answer.traffic.endpoints.values()
    most = max((each.offered for each in facts), default=0)
    return [
        f"{each.name} was there all the time; it could be chosen for {ratio(each.offered / most)}"
        for each in facts
        if each.offered < _ALWAYS * most
    ]


def _class_table(classes: Sequence[EndpointClass]) -> Table:
    table = Table(box=None, padding=(0, 1))
    heads = (
        "endpoints of",
        "count",
        "step",
        "prefill tokens/s",
        "KV tokens",
        "speeds",
        "latencies",
    )
    for index, name in enumerate(heads):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for each in classes:
        speeds = [spec.engine.speed for spec in each.specs]
        names = ", ".join(spec.name for spec in each.specs[:_NAMED])
        more = ", ..." if len(each.specs) > _NAMED else ""
        table.add_row(
            f"{each.name}: {names}{more}",
            count(len(each.specs)),
            seconds(float(each.fit.values[STEP])),
            count(1.0 / float(each.fit.values[TOKEN])),
            count(each.specs[0].kv_tokens),
            f"{min(speeds):.2f} to {max(speeds):.2f}",
            count(each.fit.labels),
        )
    return table


def _what_if(answer: Answer) -> str:
    base = "the recorded places" if answer.policy is None else f"{answer.policy} as recorded"
    fleet, endpoints = answer.fleet.name, len(answer.fleet.endpoints)
    where = f"the {fleet} fleet of {endpoints}" if fleet == "recorded" else fleet
    rate = "" if answer.times == 1.0 else f" at {answer.times:g} times the traffic"
    return f"What would have been, on {where}{rate}, against {base}"


def _changes_table(answer: Answer) -> Table:
    shown = (answer.baseline, *answer.alternatives)
    columns = [(title, name) for title, name in COLUMNS if any(_has(each, name) for each in shown)]
    table = Table(box=None, padding=(0, 1), show_lines=False)
    table.add_column("", no_wrap=True)
    for title, _ in columns:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_row(
        f"{answer.baseline.policy}, replayed",
        *(_value(name, answer.baseline.changes.get(name)) for _, name in columns),
    )
    for each in answer.alternatives:
        cells = [each.changes.get(name) for _, name in columns]
        table.add_row(
            each.policy + (" (overloaded)" if each.truncated else ""),
            *(_value(name, cell) for (_, name), cell in zip(columns, cells, strict=True)),
        )
        table.add_row(
            "", *(_by(name, cell) for (_, name), cell in zip(columns, cells, strict=True))
        )
    return table


def _has(each: Alternative, name: str) -> bool:
    change = each.changes.get(name)
    return (
        change is not None
        and change.value is not None
        and (name == "hit_ratio" or bool(change.value))
    )


def _value(name: str, change: Change | None) -> str:
    if change is None or change.value is None:
        return UNKNOWN
    return ratio(change.value) if name in SHARES else seconds(change.value)


def _by(name: str, change: Change | None) -> str:
    if change is None or change.by is None:
        return ""
    mark = UNJUDGED if not change.judged else WITHIN if change.within_error else ""
    if name in SHARES:
        return f"{mark}{change.by * 100:+.1f} pts"
    return f"{mark}x{1 + change.by:.2f}" if change.by > 1 else f"{mark}{signed_ratio(change.by)}"


def _legend(answer: Answer) -> str:
    lines = [
        f"{WITHIN} within the error above, or on both sides of none over the seeds: no difference"
    ]
    if any(not change.judged for each in answer.alternatives for change in each.changes.values()):
        lines.append(f"{UNJUDGED} nobody recorded it: simulated, and held against nothing")
    if answer.work > _MORE_WORK:
        lines.append(
            f"{answer.work:.2f} times the recorded work for an endpoint's speed: batches larger "
            "than any that was fitted are extrapolated, and mostly come out too fast"
        )
    if any(each.truncated for each in answer.alternatives):
        lines.append("overloaded: cut while requests were under way, latencies are lower bounds")
    return "; ".join(lines)


def _trust_json(trust: Trust) -> dict[str, object]:
    return {
        "verdict": trust.verdict,
        "because": trust.because,
        "requests": trust.requests,
        "figures": {
            name: {
                "recorded": rounded(each.recorded),
                "same_places": rounded(each.placed),
                "same_policy": None if each.policy is None else rounded(each.policy),
            }
            for name, each in trust.deviations.items()
        },
        "ranks": trust.ranks,
        "told": {
            name: None if share is None else rounded(share) for name, share in trust.told.items()
        },
        "shares": {
            name: {"recorded": was, "same_policy": played}
            for name, (was, played) in trust.shares.items()
        },
        "limits": {
            "good": {"error": GOOD_ERROR, "ranks": GOOD_RANKS},
            "fair": {"error": FAIR_ERROR, "ranks": FAIR_RANKS},
        },
    }


def _class_json(each: EndpointClass) -> dict[str, object]:
    return {
        "name": each.name,
        "endpoints": {spec.name: rounded(spec.engine.speed) for spec in each.specs},
        "parameters": {
            name: {"value": rounded(float(value)), "told_ratio": rounded(float(told))}
            for name, value, told in zip(PARAMETERS, each.fit.values, each.fit.told, strict=True)
        },
        "latencies": each.fit.labels,
        "sigma": rounded(each.fit.sigma),
        "kv_tokens": each.specs[0].kv_tokens,
        "max_num_seqs": each.specs[0].engine.max_num_seqs,
        "max_num_batched_tokens": each.specs[0].profile.max_num_batched_tokens,
        "assumed": list(each.assumed),
    }


def _alternative_json(each: Alternative) -> dict[str, object]:
    return {
        "policy": each.policy,
        "fleet": each.fleet,
        "overloaded": each.truncated,
        "figures": {name: asdict(change) for name, change in each.changes.items()},
    }
