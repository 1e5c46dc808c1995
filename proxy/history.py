"""What happened lately: the last finished requests and a per-second series of them.

Feeds the control plane and the live page. Bounded in memory whatever the traffic:
a fixed number of records, without their block hashes, and a fixed number of seconds.
Written by the event loop's one sink call per finished request, which keeps the record and
adds up its second; all else is found out when somebody looks, on the same loop.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import Final

from predictor.types import RequestRecord
from predictor.values import replace


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondSummary:
    """Summarise the requests that finished within one second of the clock.

    The four times are means over the requests of which each is known, ``None`` where
    there was none. TTFT is upstream TTFT, the quantity that is predicted per endpoint.

    Attributes:
        second_s: Start of the second, on the clock of ``RequestRecord.finished_s``.
        requests: How many finished, whatever their outcome.
        failed: How many of these were refused, or failed through no fault of the client.
        ttft_s: Measured last dispatch to first token.
        predicted_ttft_s: What was predicted of it at dispatch.
        tpot_s: Measured mean gap between output tokens.
        predicted_tpot_s: What was predicted of it at dispatch.
    """

    second_s: float
    requests: int
    failed: int
    ttft_s: float | None
    predicted_ttft_s: float | None
    tpot_s: float | None
    predicted_tpot_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionError:
    """Say how far predictions for one endpoint were off lately.

    Attributes:
        ttft_ratio: Median of ``|predicted - actual| / actual`` of TTFT, ``None`` without one.
        tpot_ratio: The same of TPOT.
    """

    ttft_ratio: float | None = None
    tpot_ratio: float | None = None


NO_ERROR = PredictionError()

FAILURES: Final = frozenset({"upstream_error", "cut", "shed"})
"""Outcomes that whoever runs the service answers for."""


class _Second:
    """Sum up the requests of one second."""

    __slots__ = (
        "failed",
        "predicted_tpot_requests",
        "predicted_tpot_s",
        "predicted_ttft_requests",
        "predicted_ttft_s",
        "requests",
        "second_s",
        "tpot_requests",
        "tpot_s",
        "ttft_requests",
        "ttft_s",
    )  # fmt: skip

    def __init__(self, second_s: float) -> None:
        self.second_s = second_s
        self.requests = self.failed = 0
        self.ttft_s = self.predicted_ttft_s = self.tpot_s = self.predicted_tpot_s = 0.0
        self.ttft_requests = self.predicted_ttft_requests = 0
        self.tpot_requests = self.predicted_tpot_requests = 0

    def add(self, record: RequestRecord) -> None:
        self.requests += 1
        decision, outcome = record.decision, record.measurement.outcome
        if decision is None or outcome != "completed":
            self.failed += outcome in FAILURES
            return
        said, chosen = decision.predictions, decision.chosen
        # Predictions only beside what was measured, so that both lines are of the same requests.
        if record.upstream_ttft_s is not None:
            self.ttft_s += record.upstream_ttft_s
            self.ttft_requests += 1
            if said is not None:
                self.predicted_ttft_s += said.ttft_s.item(chosen)
                self.predicted_ttft_requests += 1
        if record.tpot_s is not None:
            self.tpot_s += record.tpot_s
            self.tpot_requests += 1
            if said is not None:
                self.predicted_tpot_s += said.tpot_s.item(chosen)
                self.predicted_tpot_requests += 1

    def summary(self) -> SecondSummary:
        return SecondSummary(
            second_s=self.second_s,
            requests=self.requests,
            failed=self.failed,
            ttft_s=_mean(self.ttft_s, self.ttft_requests),
            predicted_ttft_s=_mean(self.predicted_ttft_s, self.predicted_ttft_requests),
            tpot_s=_mean(self.tpot_s, self.tpot_requests),
            predicted_tpot_s=_mean(self.predicted_tpot_s, self.predicted_tpot_requests),
        )


class History:
    """Keep the last finished requests for those who look at the router.

    Args:
        requests: Records kept; the oldest leave first.
        seconds: Seconds of the series kept; seconds without a request take no room.
    """

    def __init__(self, *, requests: int = 1000, seconds: int = 900) -> None:
        self._records: deque[RequestRecord] = deque(maxlen=requests)
        self._seconds: deque[_Second] = deque(maxlen=seconds)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: RequestRecord) -> None:
        """Remember a finished request."""
        request = record.request
        if request.block_hashes or request.token_blocks:
            bare = replace(request, block_hashes=(), token_blocks={})
            record = replace(record, request=bare)
        self._records.append(record)
        seconds = self._seconds
        # A record that comes late counts in the second that is open.
        if not seconds or seconds[-1].second_s + 1.0 <= record.finished_s:
            seconds.append(_Second(float(record.finished_s // 1)))
        seconds[-1].add(record)

    def get(self, request_id: str) -> RequestRecord | None:
        """Find a record, ``None`` when it never was or has left."""
        return next(
            (r for r in reversed(self._records) if r.request.request_id == request_id), None
        )

    def latest(self, limit: int) -> list[RequestRecord]:
        """Give up to ``limit`` records, the last finished first."""
        return list(islice(self._last_of_each(), limit))

    def finished_after(self, finished_s: float, *, most: int) -> list[RequestRecord]:
        """Give the records that finished later than that, oldest first, ``most`` of the newest."""
        found: list[RequestRecord] = []
        for record in reversed(self._records):
            if record.finished_s <= finished_s or len(found) == most:
                break
            found.append(record)
        return found[::-1]

    def series(self, *, since_s: float = float("-inf")) -> list[SecondSummary]:
        """Give the seconds that start at ``since_s`` or later, oldest first.

        The last one may still grow: ask again from its own ``second_s``.
        """
        found: list[SecondSummary] = []
        for second in reversed(self._seconds):
            if second.second_s < since_s:
                break
            found.append(second.summary())
        return found[::-1]

    def prediction_errors(self) -> dict[str, PredictionError]:
        """Give each endpoint's median relative error over the records kept."""
        ttft: defaultdict[str, list[float]] = defaultdict(list)
        tpot: defaultdict[str, list[float]] = defaultdict(list)
        for record in self._last_of_each():
            decision = record.decision
            if decision is None or record.measurement.outcome != "completed":
                continue
            said, chosen = decision.predictions, decision.chosen
            ttft_s = None if said is None else said.ttft_s.item(chosen)
            tpot_s = None if said is None else said.tpot_s.item(chosen)
            ttft[decision.endpoint] += _error(ttft_s, record.upstream_ttft_s)
            tpot[decision.endpoint] += _error(tpot_s, record.tpot_s)
        return {
            endpoint: PredictionError(
                ttft_ratio=_median(ttft[endpoint]), tpot_ratio=_median(tpot[endpoint])
            )
            for endpoint in sorted(_union(ttft, tpot))
        }

    def _last_of_each(self) -> Iterator[RequestRecord]:
        """Give the records, the last finished first; clients may use an id of theirs again."""
        seen: set[str] = set()
        for record in reversed(self._records):
            if record.request.request_id not in seen:
                seen.add(record.request.request_id)
                yield record


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None


def _error(predicted: float | None, actual: float | None) -> Sequence[float]:
    """Give the relative error, nothing where either side is unknown.

    >>> _error(1.5, 1.0), _error(None, 1.0)
    ((0.5,), ())
    """
    if predicted is None or not actual:
        return ()
    return (abs(predicted - actual) / actual,)


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None


def _union(*groups: Iterable[str]) -> set[str]:
    return set().union(*groups)
