"""How long answers get: a distribution per fleet and per tenant, used for expected load.

Never used to order a queue: what is predicted of one request is its population's mean.
"""

import numpy as np

from predictor.settings import OutputLengthSettings
from predictor.types import LONGEST_OUTPUT_TOKENS, FloatArray

_BUCKETS = 64
_PER_DOUBLING = 3.2  # 64 buckets reach LONGEST_OUTPUT_TOKENS


class _Histogram:
    __slots__ = ("count", "sum")

    def __init__(self) -> None:
        self.count: FloatArray = np.zeros(_BUCKETS)
        self.sum: FloatArray = np.zeros(_BUCKETS)

    def mean_below(self, bound: float) -> float:
        """Give the mean of min(length, bound) over the buckets' own means."""
        lengths = self.sum / np.maximum(self.count, 1e-12)
        return float(self.count @ np.minimum(lengths, bound)) / max(float(self.count.sum()), 1e-12)


class OutputLengths:
    """Learn output lengths per key and expect the next, given the client's bound.

    Keys are tenants, ``None`` the rest; a key's lengths are shrunk toward all requests',
    those toward a default. Memory is bounded: a log-spaced histogram a key, and the key
    longest silent is forgotten.

    >>> lengths = OutputLengths()
    >>> lengths.expected(None, None), lengths.expected("acme", 50)
    (200.0, 50.0)
    >>> for _ in range(1000):
    ...     lengths.learn("acme", 20)
    >>> round(lengths.expected("acme", None)), round(lengths.expected("acme", 8))
    (20, 8)
    """

    def __init__(self, settings: OutputLengthSettings | None = None) -> None:
        self._settings = settings or OutputLengthSettings()
        self._keep = 2.0 ** (-1.0 / self._settings.half_life_rows)
        self._all = _Histogram()
        self._by_key: dict[str, _Histogram] = {}

    def expected(self, key: str | None, max_tokens: int | None) -> float:
        """Give the mean output tokens expected of a request of this key."""
        longest = LONGEST_OUTPUT_TOKENS
        bound = float(longest if max_tokens is None else min(max(max_tokens, 1), longest))
        settings = self._settings
        fleet = _shrunk(
            self._all, bound, min(settings.default_tokens, bound), settings.default_rows
        )
        own = None if key is None else self._by_key.get(key)
        return fleet if own is None else _shrunk(own, bound, fleet, settings.shrink_rows)

    def learn(self, key: str | None, output_tokens: int) -> None:
        """Take in one finished answer; empty ones teach nothing."""
        if output_tokens < 1:
            return
        tokens = min(output_tokens, LONGEST_OUTPUT_TOKENS)
        self._add(self._all, tokens)
        if key is None:
            return
        own = self._by_key.pop(key, None) or _Histogram()
        if len(self._by_key) >= self._settings.max_keys:
            del self._by_key[next(iter(self._by_key))]
        self._by_key[key] = own
        self._add(own, tokens)

    def _add(self, histogram: _Histogram, tokens: int) -> None:
        bucket = min(int(np.log2(tokens) * _PER_DOUBLING), _BUCKETS - 1)
        histogram.count *= self._keep
        histogram.sum *= self._keep
        histogram.count[bucket] += 1.0
        histogram.sum[bucket] += tokens


def _shrunk(histogram: _Histogram, bound: float, fallback: float, rows: float) -> float:
    seen = float(histogram.count.sum())
    return (seen * histogram.mean_below(bound) + rows * fallback) / (seen + rows)
