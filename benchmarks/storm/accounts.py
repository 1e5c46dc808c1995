"""The accounts of a storm: what clients wrote down against what routers did.

Each attempt of the ledger is looked up in the log of the router it went to; the log is held
against the router's metrics and its trace. What does not fit is told by id. An attempt may
end without an answer only where a fault explains it: its endpoint died or reset it, or its
router drained past its limit.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from benchmarks.storm.fault import Injection
from benchmarks.storm.ledger import Attempt, Entry, read_ledger
from benchmarks.storm.place import Place, Router
from benchmarks.storm.predictions import Judged, judged
from benchmarks.storm.seen import DROPPED, Samples, log_lines, total
from benchmarks.storm.storm import Story

CUTTING: Final = frozenset({"endpoint killed", "resets mid-body"})
"""Faults that end streams of the endpoint they hit."""
ENDING: Final = "router terminated"
_MARGIN_S: Final = 3.0

# What a router may say of an attempt that ended so for its client; ``None``: nothing.
FITTING: Final[Mapping[str, frozenset[str | None]]] = {
    "answered": frozenset({"completed"}),
    "refused": frozenset({None, "shed", "upstream_error", "client_error", "shutdown"}),
    "cut": frozenset({"cut", "shutdown"}),
    "left": frozenset({None, "client_gone", "completed", "cut", "upstream_error", "shed"}),
    "nothing": frozenset({None, "shutdown", "client_gone"}),
}

# Errors that a fault explains, by the event that the router logs.
EXPLAINED: Final[Mapping[str, str]] = {
    "trainer_died": "trainer killed",
    "model_skipped": "model",
    "trace_write_failed": "trace disk full",
    "configuration_not_reloaded": "configuration broken",
}


@dataclass(slots=True, kw_only=True)
class Account:
    """Hold what became of everything.

    Attributes:
        requests: By how they ended.
        refused: By reason, of requests that ended so.
        cut: Likewise.
        attempts: Sendings, those again included.
        lost: What cannot be explained, in words, by request.
        disagreements: Where ledger, log, metrics and trace differ, in words.
        faults_in_logs: Errors that no fault explains, in words.
        rows: Of the traces.
        unrecorded: Requests that are in no trace, as the metrics say too.
        predictions: How well was predicted before and after, by target.
        left_in_flight: What routers still count at the end.
    """

    requests: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    cut: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    lost: list[str] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)
    faults_in_logs: list[str] = field(default_factory=list)
    rows: int = 0
    unrecorded: int = 0
    predictions: dict[str, Judged] = field(default_factory=dict)
    left_in_flight: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Hold what one router's log says.

    Attributes:
        finished: Lines of finished requests, by id.
        lately: How many ended how since the router last started.
    """

    finished: Mapping[str, Mapping[str, Any]]
    lately: Counter[str]


def settle(place: Place, story: Story) -> Account:
    """Make the accounts; every process has ended."""
    account = Account()
    entries = list(read_ledger(place.ledger))
    told = [_read_log(router, story.injections, account) for router in place.routers]
    for entry in entries:
        _enter(entry, told, story.injections, account)
    _know_each_other(entries, told, account)
    for router, log, page in zip(place.routers, told, story.pages, strict=True):
        _agree_with_metrics(router, log, page, account)
        dropped = total(page, DROPPED) + place.dropped_rows.get(router.index, 0.0)
        _agree_with_trace(router, log, round(dropped), account)
        account.left_in_flight += total(page, "foretoken_inflight_requests")
        account.left_in_flight += total(page, "foretoken_waiting_requests")
    sent = {one.request_id: one.at_s for entry in entries for one in entry.attempts}
    lines = [line for log in told for line in log.finished.values()]
    account.predictions = judged(lines, sent, story.calm)
    return account


def _enter(
    entry: Entry, told: Sequence[Told], injections: Sequence[Injection], account: Account
) -> None:
    account.requests[entry.end] += 1
    account.attempts += len(entry.attempts)
    last = entry.attempts[-1]
    if entry.end == "refused":
        account.refused[last.why or "?"] += 1
    if entry.end == "cut":
        account.cut[last.why or "?"] += 1
    for attempt in entry.attempts:
        line = told[attempt.router].finished.get(attempt.request_id)
        outcome = None if line is None else line["outcome"]
        if outcome not in FITTING[attempt.end]:
            account.disagreements.append(f"{attempt}: the router says {outcome}")
        why = unexplained(attempt, outcome, injections)
        if why is not None:
            account.lost.append(f"{entry.kind}: {attempt}: {why}")
    if entry.end == "nothing":
        account.lost.append(f"{entry.kind}: {last}: no router answered")


def unexplained(
    attempt: Attempt, outcome: str | None, injections: Iterable[Injection]
) -> str | None:
    """Say why an attempt counts as lost, ``None`` where a fault explains how it ended.

    >>> attempt = Attempt("r", 0, 5.0, 6.0, "cut", "upstream_error", 200, "one")
    >>> killed = Injection(kind="endpoint killed", began_s=5.5, whom="one", ended_s=9.0)
    >>> unexplained(attempt, "cut", [killed]), unexplained(attempt, "cut", [])
    (None, 'cut, and nothing happened to one')
    """
    if attempt.end == "refused" and not attempt.why:
        return "refused without a reason"
    if attempt.end not in {"cut", "nothing"}:
        return None
    if outcome == "cut":
        hit = [one for one in injections if one.kind in CUTTING and one.whom == attempt.endpoint]
        at_fault = attempt.endpoint
    else:
        at_fault = f"router-{attempt.router}"
        hit = [one for one in injections if one.kind == ENDING and one.whom == at_fault]
    if any(_overlap(attempt, one) for one in hit):
        return None
    return f"{attempt.end}, and nothing happened to {at_fault}"


def _overlap(attempt: Attempt, injection: Injection) -> bool:
    ended_s = injection.ended_s or float("inf")
    return injection.began_s - _MARGIN_S <= attempt.ended_s and attempt.at_s <= ended_s + _MARGIN_S


def _read_log(router: Router, injections: Iterable[Injection], account: Account) -> Told:
    finished: dict[str, Mapping[str, Any]] = {}
    lately: Counter[str] = Counter()
    kinds = {one.kind for one in injections}
    for line in log_lines(router.server.log):
        if isinstance(line, str):
            account.faults_in_logs.append(f"{router.server.name}: {line}")
            continue
        event = line["event"]
        if event == "request_finished":
            if line["request_id"] in finished:
                account.disagreements.append(f"{line['request_id']} is logged twice")
            finished[line["request_id"]] = line
            lately[line["outcome"]] += 1
        elif event == "serving":
            lately.clear()
        elif _is_fault(line) and not _is_explained(event, kinds):
            account.faults_in_logs.append(f"{router.server.name}: {line}")
    return Told(finished=finished, lately=lately)


def _is_fault(line: Mapping[str, Any]) -> bool:
    return line["level"] in {"error", "critical"} or "traceback" in line


def _is_explained(event: str, kinds: Iterable[str]) -> bool:
    cause = EXPLAINED.get(event)
    return cause is not None and any(kind.startswith(cause) for kind in kinds)


def _know_each_other(entries: Sequence[Entry], told: Sequence[Told], account: Account) -> None:
    """Find what a router served and no client asked for."""
    asked = {one.request_id for entry in entries for one in entry.attempts}
    for log in told:
        unknown = log.finished.keys() - asked
        account.disagreements += [f"{name}: no client asked for it" for name in sorted(unknown)]


def _agree_with_metrics(router: Router, log: Told, page: Samples, account: Account) -> None:
    counted: Counter[str] = Counter()
    for labels, value in page.get("foretoken_requests_total", []):
        counted[labels["outcome"]] += round(value)
    for outcome in counted | log.lately:
        if counted[outcome] != log.lately[outcome]:
            account.disagreements.append(
                f"{router.server.name}: {counted[outcome]} {outcome} by its metrics, "
                f"{log.lately[outcome]} by its log"
            )


def _agree_with_trace(router: Router, log: Told, dropped: int, account: Account) -> None:
    recorded = Counter(_recorded(router.folder / "traces"))
    account.rows += recorded.total()
    missing = len(log.finished.keys() - recorded.keys())
    account.unrecorded += missing
    name = router.server.name
    if missing != dropped:
        account.disagreements.append(
            f"{name}: {missing} requests are in no trace, its metrics say {dropped}"
        )
    if recorded.total() != len(recorded):
        account.disagreements.append(f"{name}: requests are recorded twice")
    if recorded.keys() - log.finished.keys():
        account.disagreements.append(f"{name}: recorded what is not logged")


def _recorded(folder: Path) -> Iterable[str]:
    for path in sorted(folder.glob("trace-*.parquet")):
        yield from pq.read_table(path, columns=["request_id"])["request_id"].to_pylist()
