"""Requests recorded at vLLM on B200, one server a run, as the router would have seen them.

Reads ``latency/inferencex-b200``: ``requests.parquet`` and ``server_metrics_1hz.parquet``.
Two sets are made of whatever runs are there. ``B200 tp1``: the runs on one GPU, in the
order they were made and at their own times, as one endpoint that was started anew in
between, the first ``ROWS_A_RUN`` requests of each. ``B200 het``: ``HET_RUNS`` runs side by
side from their first requests on, each an endpoint of its own, the first ``HET_ROWS``
requests of all together. One run is taken for each pair of tp and concurrency, without KV
offloading where there is one; the tps take turns, lowest concurrency first.

Features come from :mod:`router_view <benchmarks.prediction.router_view>`. The cached share is
the recorded client's estimate, a predicted match.

An early TPOT label has the whole answer's mean as its value, as gaps were not recorded,
and counts as the mean of the tokens there were until then.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.prediction.router_view import Readings, Sent, requests_as_seen
from benchmarks.prediction.rowset import (
    DELAYED,
    EARLY,
    ROW_BY_ROW,
    Dispatch,
    Event,
    Label,
    RowSet,
    RowsUnreadable,
    in_order,
)
from predictor.types import FloatArray

FOLDER: Final = Path("latency", "inferencex-b200")
IN_SEQUENCE: Final = "B200 tp"
"""How names of sets begin whose runs follow one another."""
ROWS_A_RUN: Final = 900
HET_RUNS: Final = 10
HET_ROWS: Final = 8000
EARLY_S: Final = 3.0
"""Time from the first token to an early TPOT label."""

_REQUEST_COLUMNS: Final = (
    "run", "tp", "conc", "offload", "relative_time_sec", "start_time_ms", "ttft_ms", "tpot_ms",
    "latency_ms", "input_num_tokens", "output_num_tokens", "approx_cached_percent",
)  # fmt: skip
_READING_COLUMNS: Final = (
    "run", "relative_time_sec", "kv_cache_usage_pct", "num_requests_running",
    "num_requests_waiting", "prefix_cache_hits", "prefix_cache_queries", "num_preemptions_total",
)  # fmt: skip
_Columns = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Hold one recorded run, its requests by start time and its server readings.

    Attributes:
        name: As recorded.
        tp: GPUs the server ran on.
        concurrency: Clients of the load.
        offload: ``off`` or ``on``: KV cache offloading.
        start_s: When its first request was sent.
        requests: Columns of ``requests.parquet``.
        readings: Of the server, once a second.
    """

    name: str
    tp: int
    concurrency: int
    offload: str
    start_s: float
    requests: dict[str, FloatArray]
    readings: Readings


def read(data: Path, *, factor: float = 1.0) -> list[tuple[RowSet, RowSet, RowSet]]:
    """Read the sets there are, each row by row, delayed, and delayed with early TPOT.

    Args:
        data: The data folder.
        factor: What labels are multiplied by from the middle of each set on.

    Raises:
        RowsUnreadable: The files have not the layout.
    """
    if not (data / FOLDER).is_dir():
        return []
    runs = read_runs(data / FOLDER)
    lowest = min(run.tp for run in runs)
    return [
        make_sets(f"{IN_SEQUENCE}{lowest}", in_sequence(runs, lowest), factor=factor),
        make_sets("B200 het", side_by_side(runs), factor=factor),
    ]


def in_sequence(runs: Sequence[Run], tp: int) -> list[Sent]:
    """Give the first requests of each run of this tp, one run after another."""
    chosen = sorted((run for run in runs if run.tp == tp), key=lambda run: run.start_s)
    return [
        _sent(run, row, endpoint="recorded:1", shift_s=run.start_s - chosen[0].start_s)
        for run in chosen
        for row in range(min(_rows(run), ROWS_A_RUN))
    ]


def side_by_side(runs: Sequence[Run]) -> list[Sent]:
    """Give the first requests of ten different runs, all started at once."""
    sent = [
        _sent(run, row, endpoint=f"recorded:{number}", shift_s=0.0)
        for number, run in enumerate(different(runs)[:HET_RUNS], start=1)
        for row in range(_rows(run))
    ]
    return sorted(sent, key=lambda one: one.sent_s)[:HET_ROWS]


def make_sets(
    name: str, sent: Sequence[Sent], *, factor: float = 1.0
) -> tuple[RowSet, RowSet, RowSet]:
    """Make the three orders of one set; labels change by ``factor`` from its middle on."""
    changed = [
        one if number < len(sent) // 2 else one.slower(factor) for number, one in enumerate(sent)
    ]
    requests = requests_as_seen(changed)
    rows: list[Event] = []
    late: list[Event] = []
    early: list[Event] = []
    for number, one in enumerate(changed):
        dispatch = Dispatch(at_s=one.sent_s, request=number)
        ttft, tpot = _labels(one, number)
        rows += [dispatch, *(replace(label, at_s=one.sent_s) for label in (ttft, tpot) if label)]
        late += [dispatch, *(label for label in (ttft, tpot) if label)]
        early += [dispatch, *(label for label in (ttft, _early(tpot, one)) if label)]
    return (
        RowSet(name=name, order=ROW_BY_ROW, requests=requests, events=rows),
        RowSet(name=name, order=DELAYED, requests=requests, events=in_order(late)),
        RowSet(name=name, order=EARLY, requests=requests, events=in_order(early)),
    )


def _labels(one: Sent, number: int) -> tuple[Label | None, Label | None]:
    ttft = tpot = None
    if np.isfinite(one.ttft_s) and one.ttft_s > 0:
        ttft = Label(at_s=one.first_s, request=number, target="ttft", seconds=one.ttft_s)
    if one.output_tokens > 1 and np.isfinite(one.tpot_s) and one.tpot_s > 0:
        tpot = Label(
            at_s=one.end_s,
            request=number,
            target="tpot",
            seconds=one.tpot_s,
            output_tokens=one.output_tokens,
            seen=one.seen_at_end,
        )
    return ttft, tpot


def _early(tpot: Label | None, one: Sent) -> Label | None:
    """Give the label seconds after the first token where the answer goes on for longer."""
    if tpot is None or one.end_s <= one.first_s + EARLY_S:
        return tpot
    tokens = min(int(EARLY_S / tpot.seconds) + 1, one.output_tokens)
    return replace(tpot, at_s=one.first_s + EARLY_S, output_tokens=max(tokens, 2))


def different(runs: Sequence[Run]) -> list[Run]:
    """Give one run for each tp and concurrency; the tps take turns."""
    ordered = sorted(runs, key=lambda run: (run.tp, run.concurrency, run.offload != "off"))
    taken: dict[tuple[int, int], tuple[int, Run]] = {}
    turns: Counter[int] = Counter()
    for run in ordered:
        key = (run.tp, run.concurrency)
        if key not in taken:
            taken[key] = (turns[run.tp], run)
            turns[run.tp] += 1
    return [run for _, run in sorted(taken.values(), key=lambda pair: (pair[0], pair[1].tp))]


def read_runs(folder: Path) -> list[Run]:
    """Read all runs that have both requests and server readings.

    Raises:
        RowsUnreadable: A file is missing or has not the columns, or no run has both.
    """
    requests = _columns(folder / "requests.parquet", _REQUEST_COLUMNS)
    readings = _columns(folder / "server_metrics_1hz.parquet", _READING_COLUMNS)
    runs = []
    for name in dict.fromkeys(requests["run"].tolist()):
        mine, its = requests["run"] == name, readings["run"] == name
        if its.any():
            runs.append(_run(str(name), _part(requests, mine), _part(readings, its)))
    if not runs:
        raise RowsUnreadable(f"{folder}: no run has both requests and server readings")
    return runs


def _run(name: str, requests: _Columns, readings: _Columns) -> Run:
    order = np.argsort(requests["relative_time_sec"], kind="stable")
    sent = {column: values[order] for column, values in requests.items()}
    numbers = {
        column: values.astype(np.float64)
        for column, values in sent.items()
        if column not in {"run", "offload"}
    }
    order = np.argsort(readings["relative_time_sec"], kind="stable")
    seen = {
        column: values[order].astype(np.float64)
        for column, values in readings.items()
        if column != "run"
    }
    return Run(
        name=name,
        tp=int(numbers["tp"][0]),
        concurrency=int(numbers["conc"][0]),
        offload=str(sent["offload"][0]),
        start_s=float(numbers["start_time_ms"][0]) / 1e3,
        requests=numbers,
        readings=Readings(
            read_s=seen["relative_time_sec"],
            running=seen["num_requests_running"],
            waiting=seen["num_requests_waiting"],
            kv_cache_usage=seen["kv_cache_usage_pct"] / 100.0,
            hits=seen["prefix_cache_hits"],
            queries=seen["prefix_cache_queries"],
            preemptions=seen["num_preemptions_total"],
        ),
    )


def _columns(path: Path, names: Sequence[str]) -> _Columns:
    try:
        table = pq.read_table(path, columns=list(names))
        return {name: table[name].to_numpy() for name in names}
    except (OSError, KeyError, pa.ArrowException) as error:
        raise RowsUnreadable(f"{path}: {error}") from error


def _part(columns: _Columns, chosen: NDArray[np.bool_]) -> _Columns:
    return {name: values[chosen] for name, values in columns.items()}


def _rows(run: Run) -> int:
    return len(run.requests["relative_time_sec"])


def _sent(run: Run, row: int, *, endpoint: str, shift_s: float) -> Sent:
    column = {name: float(values[row]) for name, values in run.requests.items()}
    sent_s = shift_s + column["relative_time_sec"]
    first_s = sent_s + column["ttft_ms"] / 1e3
    prompt = column["input_num_tokens"]
    return Sent(
        endpoint=endpoint,
        readings=run.readings,
        readings_shift_s=shift_s,
        sent_s=sent_s,
        first_s=first_s,
        end_s=max(sent_s + column["latency_ms"] / 1e3, first_s),
        ttft_s=column["ttft_ms"] / 1e3,
        tpot_s=column["tpot_ms"] / 1e3,
        prompt_tokens=prompt,
        matched_tokens=min(column["approx_cached_percent"] / 100.0 * prompt, prompt - 1.0),
        output_tokens=int(column["output_num_tokens"]),
    )
