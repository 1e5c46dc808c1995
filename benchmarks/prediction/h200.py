"""Rows that llm-d's predictor recorded on two H200 endpoints, as events.

Each row of ``latency/llmd-h200/*.jsonl`` is an endpoint's state and one of TTFT or TPOT;
a label of 0 was not measured. Rows have no times and lie in the order of their labels:
ten a second is taken, near the recorded load. Played row by row, each is predicted just
before it is learned, which flatters. With label delay it is predicted as many rows
earlier as requests were before it: about ``waiting`` for TTFT, ``min(running, 60)`` for
TPOT.

Prefix caching was off there, so nothing is cached; llm-d's own row keeps its prefix score,
which says otherwise. The two endpoints are not told apart.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.prediction.rowset import (
    DELAYED,
    ROW_BY_ROW,
    Dispatch,
    Event,
    Label,
    Request,
    RowSet,
    RowsUnreadable,
    Target,
)
from foretoken.simulation.llmd_rows import (
    IS_QUEUED,
    KV_CACHE,
    PREFIX,
    PREFIX_BUCKET,
    PREFIX_BUCKETS,
    TTFT_COLUMNS,
    WAITING,
)
from predictor.features import COLUMN, N_FEATURES
from predictor.types import FloatArray

FOLDER: Final = Path("latency", "llmd-h200")
ENDPOINT: Final = "recorded:1"
ROW_S: Final = 0.1
"""Time between two rows."""
MOST_TPOT_ROWS: Final = 60
"""Rows a TPOT label is late at most."""
_KV_KTOK: Final = 260.639  # capacity of Qwen3-32B on one H200, for what its usage stands for
_OUTPUT_TOKENS: Final = 200.0  # the expectation without data, OutputLengthSettings
_Row = dict[str, Any]  # Any: parsed JSON, read field by field below


def paths(data: Path) -> list[Path]:
    """Give the recorded files, whatever loads they are of."""
    return sorted((data / FOLDER).glob("*.jsonl"))


def read(path: Path, *, factor: float = 1.0) -> tuple[RowSet, RowSet]:
    """Read a file as two sets: row by row, and with label delay.

    Args:
        path: Of the file.
        factor: What labels are multiplied by from the middle of the file on.

    Raises:
        RowsUnreadable: A line is not such a row.
    """
    requests, labels, late = [], [], []
    for row in _parsed(path):
        requests.append(_request(row))
        target, seconds, rows_late = _label(row)
        labels.append((target, seconds))
        late.append(rows_late)
    middle = len(labels) // 2
    scaled = [
        (target, seconds * (factor if number >= middle else 1.0))
        for number, (target, seconds) in enumerate(labels)
    ]
    name = path.stem.removesuffix("-h200")
    at_once = _events(scaled, [0] * len(late))
    return (
        RowSet(name=name, order=ROW_BY_ROW, requests=requests, events=at_once),
        RowSet(name=name, order=DELAYED, requests=requests, events=_events(scaled, late)),
    )


def _events(labels: list[tuple[Target, float]], late: list[int]) -> list[Event]:
    """Put each dispatch right before the label of the row that many rows earlier."""
    sent: dict[int, list[int]] = {}
    for number, rows in enumerate(late):
        sent.setdefault(max(number - rows, 0), []).append(number)
    events: list[Event] = []
    for number, (target, seconds) in enumerate(labels):
        at_s = number * ROW_S
        events += [Dispatch(at_s=at_s, request=request) for request in sent.get(number, ())]
        events.append(Label(at_s=at_s, request=number, target=target, seconds=seconds))
    return events


def _parsed(path: Path) -> Iterator[_Row]:
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        try:
            row = json.loads(line)
            measured = max(row["actual_ttft_ms"], row["actual_tpot_ms"])
            complete = {*_READ} <= row.keys()
        except (ValueError, KeyError, TypeError) as error:
            raise RowsUnreadable(f"{path}, line {number}: {error!r}") from error
        if not complete:
            missing = ", ".join(sorted({*_READ} - row.keys()))
            raise RowsUnreadable(f"{path}, line {number}: without {missing}")
        if math.isfinite(measured) and measured > 0:
            yield row


HARDWARE: Final = "h200_sxm/qwen3-32b"
"""What all loads of that folder ran on, by its own page."""

_READ: Final = (
    "kv_cache_percentage",
    "input_token_length",
    "num_request_waiting",
    "num_request_running",
    "prefix_cache_score",
)


def _label(row: _Row) -> tuple[Target, float, int]:
    """Give target, seconds and how many rows earlier the request was sent."""
    if row["actual_ttft_ms"] > 0:
        return "ttft", row["actual_ttft_ms"] / 1e3, int(row["num_request_waiting"])
    return "tpot", row["actual_tpot_ms"] / 1e3, int(min(row["num_request_running"], MOST_TPOT_ROWS))


def _request(row: _Row) -> Request:
    tokens, kv = row["input_token_length"], row["kv_cache_percentage"]
    # Their "running" is the router's own count of what it sent and has not seen end.
    inflight, waiting = row["num_request_running"], row["num_request_waiting"]
    running = max(inflight - waiting, 0)
    features = np.full(N_FEATURES, np.nan)
    known = {
        "prompt_tokens": tokens,
        "cached_tokens": 0,
        "uncached_tokens": tokens,
        "prefill_context": tokens * tokens / 2 / 1e6,
        "expected_output_tokens": _OUTPUT_TOKENS,
        "streamed": 1,
        "running_requests": running,
        "waiting_requests": waiting,
        "kv_cache_usage": kv,
        "scrape_age_s": 0,
        "inflight_requests": max(inflight, waiting),
        "queued_requests": waiting,
        "queued_prefill_tokens": row.get("prefill_tokens_in_flight", math.nan),
        "decoding_requests": running,
        "context_ktok": kv * _KV_KTOK,
        "oldest_queued_s": 0,
        "prefill_tokens_per_s": 0,
    }
    for name, value in known.items():
        features[COLUMN[name]] = value
    return Request(
        endpoint=ENDPOINT, hardware=HARDWARE, features=features, reference_row=_reference_row(row)
    )


def _reference_row(row: _Row) -> FloatArray:
    """Lay the row out as llm-d's TTFT model reads it."""
    score, tokens = row["prefix_cache_score"], row["input_token_length"]
    given = {
        "kv_cache_percentage": row["kv_cache_percentage"],
        "input_token_length": tokens,
        "num_request_waiting": row["num_request_waiting"],
        "num_request_running": row["num_request_running"],
        "prefill_tokens_in_flight": row.get("prefill_tokens_in_flight", 0),
        "decode_tokens_in_flight": row.get("decode_tokens_in_flight", 0),
        "encoder_matched_size": row.get("encoder_matched_size", 0),
        "encoder_input_size": row.get("encoder_input_size", 0),
        "effective_input_tokens": (1.0 - score) * tokens,
    }
    values = np.array([float(given.get(name, 0)) for name in TTFT_COLUMNS])
    values[IS_QUEUED] = values[WAITING] > 0
    values[PREFIX] = score
    values[PREFIX_BUCKET] = min(int(score * PREFIX_BUCKETS), PREFIX_BUCKETS - 1)
    values[KV_CACHE] = row["kv_cache_percentage"]
    return values
