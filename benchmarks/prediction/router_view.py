"""What the router would have known of recorded requests when it sent each of them.

Walks recorded requests and server readings in time order through the production
accounting, output lengths and feature table, so that a row is what serving would have
seen: bookings of requests sent and not ended, the latest reading before, and nothing
measured later. What is not recorded is stood in for:

- A reading counts as seen ``SEEN_AFTER_S`` after it was taken.
- Reported hits per request: the hit rate of the server's counters between the two latest
  readings. So a match that is no hit is unlearned as in production.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from benchmarks.prediction.rowset import Request
from foretoken.simulation.llmd_rows import (
    PREFIX,
    PREFIX_BUCKET,
    PREFIX_BUCKETS,
    prefix_score,
    ttft_rows,
)
from predictor import OutputLengths
from predictor.feature_rows import feature_matrix
from predictor.types import EndpointState, FloatArray
from scheduler.accounting import InflightAccounting
from scheduler.prefix_index import PrefixIndex

SEEN_AFTER_S: Final = 0.1
"""The recordings' two clocks agree to 0.05 s; a reading must not tell what came after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Hold a server's readings as columns ``(n,)``; times are from its first one on."""

    read_s: FloatArray
    running: FloatArray
    waiting: FloatArray
    kv_cache_usage: FloatArray
    hits: FloatArray
    queries: FloatArray
    preemptions: FloatArray

    def latest(self, at_s: float) -> int:
        """Give the index of the latest reading seen by then, -1 before the first."""
        return int(np.searchsorted(self.read_s, at_s - SEEN_AFTER_S, side="right")) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """Tell one recorded request's story; times are on the clock of its set.

    Attributes:
        endpoint: Where it was sent.
        readings: Of that endpoint's server.
        readings_shift_s: What to add to their times.
        sent_s: When it was sent.
        first_s: When its first token came.
        end_s: When it ended.
        ttft_s: The label, which may differ from ``first_s - sent_s`` (:meth:`slower`).
        tpot_s: Likewise.
        prompt_tokens: Length of its prompt.
        matched_tokens: Of these expected in the endpoint's cache.
        output_tokens: Length of its answer.
    """

    endpoint: str
    readings: Readings
    readings_shift_s: float
    sent_s: float
    first_s: float
    end_s: float
    ttft_s: float
    tpot_s: float
    prompt_tokens: float
    matched_tokens: float
    output_tokens: int

    @property
    def seen_at_end(self) -> tuple[float, float] | None:
        """Give waiting requests and KV usage as last read when it ended."""
        index = self.readings.latest(self.end_s - self.readings_shift_s)
        if index < 0:
            return None
        return float(self.readings.waiting[index]), float(self.readings.kv_cache_usage[index])

    def slower(self, factor: float) -> "Sent":
        """Multiply its labels; nothing moves in time."""
        return replace(self, ttft_s=self.ttft_s * factor, tpot_s=self.tpot_s * factor)


class _Router:
    """Book requests and give each its row."""

    def __init__(self) -> None:
        self._accounting = InflightAccounting()
        self._lengths = OutputLengths()
        self._index = PrefixIndex(default_capacity_blocks=1)

    def sent(self, number: int, one: Sent) -> Request:
        state = _state(one)
        expected = self._lengths.expected(None, None)
        trust = self._index.effectiveness(one.endpoint)
        features = feature_matrix(
            prompt_tokens=one.prompt_tokens,
            cached_tokens=np.array([one.matched_tokens * trust]),
            max_tokens=None,
            expected_output_tokens=expected,
            streamed=True,
            states=[state],
            loads=[self._accounting.load(one.endpoint, one.sent_s)],
            now=one.sent_s,
        )
        self._accounting.book(
            str(number),
            one.endpoint,
            prefill_tokens=one.prompt_tokens - one.matched_tokens * trust,
            context_tokens=one.prompt_tokens + expected / 2,
            now=one.sent_s,
        )
        return Request(
            endpoint=one.endpoint,
            hardware=None,
            features=features[0],
            reference_row=_reference_row(features, one),
        )

    def first_token(self, number: int, one: Sent) -> None:
        self._accounting.first_token(str(number), one.endpoint, ttft_s=one.ttft_s)
        rate = _hit_rate(one)
        if rate is not None:
            self._index.report(
                one.endpoint,
                matched_tokens=one.matched_tokens,
                cached_tokens=int(rate * one.prompt_tokens),
            )

    def ended(self, number: int, one: Sent) -> None:
        tpot_s = one.tpot_s if one.output_tokens > 1 else None
        self._accounting.release(str(number), one.endpoint, tpot_s=tpot_s)
        self._lengths.learn(None, one.output_tokens)


def requests_as_seen(sent: Sequence[Sent]) -> list[Request]:
    """Give each request with its features, in the order given."""
    router, requests = _Router(), dict[int, Request]()
    for number, what in _happenings(sent):
        one = sent[number]
        if what == "sent":
            requests[number] = router.sent(number, one)
        elif what == "first":
            router.first_token(number, one)
        else:
            router.ended(number, one)
    return [requests[number] for number in range(len(sent))]


_Happening = Literal["sent", "first", "ended"]


def _happenings(sent: Sequence[Sent]) -> Iterator[tuple[int, _Happening]]:
    """Give what happened in time order; a request's own three in theirs."""
    moments: list[tuple[float, int, int, _Happening]] = []
    for number, one in enumerate(sent):
        moments += [
            (one.sent_s, number, 0, "sent"),
            (one.first_s, number, 1, "first"),
            (one.end_s, number, 2, "ended"),
        ]
    for _, number, _, what in sorted(moments):
        yield number, what


def _state(one: Sent) -> EndpointState:
    """Snapshot the endpoint by its latest reading; unknown before the first."""
    state = EndpointState(endpoint=one.endpoint, url=f"http://{one.endpoint}", up=True)
    readings = one.readings
    index = readings.latest(one.sent_s - one.readings_shift_s)
    if index < 0:
        return state
    return replace(
        state,
        running_requests=float(readings.running[index]),
        waiting_requests=float(readings.waiting[index]),
        kv_cache_usage=float(readings.kv_cache_usage[index]),
        preemptions_total=float(readings.preemptions[index]),
        prefix_hits_total=float(readings.hits[index]),
        prefix_queries_total=float(readings.queries[index]),
        scraped_s=float(readings.read_s[index]) + one.readings_shift_s,
    )


def _hit_rate(one: Sent) -> float | None:
    """Give the share of prompt tokens found between the latest two readings."""
    readings = one.readings
    index = readings.latest(one.first_s - one.readings_shift_s)
    if index < 1:
        return None
    queried = float(readings.queries[index] - readings.queries[index - 1])
    if queried <= 0:
        return None
    return min(float(readings.hits[index] - readings.hits[index - 1]) / queried, 1.0)


def _reference_row(features: FloatArray, one: Sent) -> FloatArray:
    """Give llm-d's row: its prefix score is the match by itself, whatever was found."""
    row: FloatArray = ttft_rows(features)[0]
    score = float(prefix_score(np.array([one.matched_tokens]), one.prompt_tokens)[0])
    row[PREFIX] = score
    row[PREFIX + 1] = (1.0 - score) * np.floor(one.prompt_tokens)
    row[PREFIX_BUCKET] = min(int(score * PREFIX_BUCKETS), PREFIX_BUCKETS - 1)
    return row
