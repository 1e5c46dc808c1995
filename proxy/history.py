"""What happened lately: the last finished requests and a per-second series of them.

Feeds the control plane and the live page. Bounded in memory whatever the traffic:
a fixed number of records, without their block hashes, and a fixed number of seconds.
Written by the event loop's one sink call per finished request; read by the control
plane on the same loop.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from statistics import median

from msgspec.structs import replace

from predictor.types import RequestRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondSummary:
    """Summarise the requests that finished within one second of the clock.

    The four times are means over the requests of which each is known, ``None`` where
    there was none. TTFT is upstream TTFT, the quantity that is predicted per endpoint.

    Attributes:
        second_s: Start of the second, on the clock of ``RequestRecord.finished_s``.
        requests: How many finished, whatever their outcome.
        ttft_s: Measured last dispatch to first token.
        predicted_ttft_s: What was predicted of it at dispatch.
        tpot_s: Measured mean gap between output tokens.
        predicted_tpot_s: What was predicted of it at dispatch.
    """

    second_s: float
    requests: int
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


@dataclass(slots=True)
class _Mean:
    total: float = 0.0
    count: int = 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self.total += value
            self.count += 1

    def value(self) -> float | None:
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class _Second:
    """Sum up the requests of one second."""

    second_s: float
    requests: int = 0
    ttft: _Mean = field(default_factory=_Mean)
    predicted_ttft: _Mean = field(default_factory=_Mean)
    tpot: _Mean = field(default_factory=_Mean)
    predicted_tpot: _Mean = field(default_factory=_Mean)

    def add(self, record: RequestRecord) -> None:
        self.requests += 1
        seen = record.observation
        if seen is None:
            return
        self.ttft.add(seen.upstream_ttft_s)
        self.tpot.add(seen.tpot_s)
        # Only beside what was measured, so that both lines are about the same requests.
        if seen.upstream_ttft_s is not None:
            self.predicted_ttft.add(seen.predicted_ttft_s)
        if seen.tpot_s is not None:
            self.predicted_tpot.add(seen.predicted_tpot_s)

    def summary(self) -> SecondSummary:
        return SecondSummary(
            second_s=self.second_s,
            requests=self.requests,
            ttft_s=self.ttft.value(),
            predicted_ttft_s=self.predicted_ttft.value(),
            tpot_s=self.tpot.value(),
            predicted_tpot_s=self.predicted_tpot.value(),
        )


class History:
    """Keep the last finished requests for those who look at the router.

    Args:
        requests: Records kept; the oldest leave first.
        seconds: Seconds of the series kept; seconds without a request take no room.
    """

    def __init__(self, *, requests: int = 1000, seconds: int = 900) -> None:
        self._capacity = requests
        self._records: OrderedDict[str, RequestRecord] = OrderedDict()
        self._seconds: deque[_Second] = deque(maxlen=seconds)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: RequestRecord) -> None:
        """Remember a finished request.

        A request id seen before (clients may choose theirs) replaces the older record.
        """
        request = replace(record.request, block_hashes=(), token_blocks={})
        self._records.pop(request.request_id, None)
        self._records[request.request_id] = replace(record, request=request)
        if len(self._records) > self._capacity:
            self._records.popitem(last=False)
        self._second(record.finished_s).add(record)

    def get(self, request_id: str) -> RequestRecord | None:
        """Find a record, ``None`` when it never was or has left."""
        return self._records.get(request_id)

    def latest(self, limit: int) -> list[RequestRecord]:
        """Give up to ``limit`` records, the last finished first."""
        return list(islice(reversed(self._records.values()), limit))

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
        for record in self._records.values():
            seen = record.observation
            if seen is not None:
                ttft[seen.endpoint] += _error(seen.predicted_ttft_s, seen.upstream_ttft_s)
                tpot[seen.endpoint] += _error(seen.predicted_tpot_s, seen.tpot_s)
        return {
            endpoint: PredictionError(
                ttft_ratio=_median(ttft[endpoint]), tpot_ratio=_median(tpot[endpoint])
            )
            for endpoint in sorted(_union(ttft, tpot))
        }

    def _second(self, finished_s: float) -> _Second:
        # A record that comes late counts in the second that is open.
        second_s = float(finished_s // 1)
        if not self._seconds or self._seconds[-1].second_s < second_s:
            self._seconds.append(_Second(second_s))
        return self._seconds[-1]


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
