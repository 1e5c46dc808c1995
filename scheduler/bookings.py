"""What one writer has in flight at one endpoint, in a form that adds up over writers.

Several workers (of one machine, or of several) place requests on the same endpoints. Each
writes its own row per endpoint and reads the others': nobody ever writes another's row,
so that nothing needs a lock and a writer that dies takes its bookings with it. Means and
ages do not add up, so rows hold sums and instants instead. Instants are on one clock that
all writers share. Called by the accounting; carried by whoever connects the writers.
"""

import math
from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

from predictor.feature_rows import own_columns
from predictor.features import RATE_TAU_S, UNKNOWN

# Weight of a writer's recent means beside its rate, for endpoints nobody sends to lately.
_LEAST_WEIGHT: Final = 1e-9


class Bookings(NamedTuple):
    """Hold the sums of one writer, or of several together, at one endpoint.

    Attributes:
        inflight_requests: Sent, not ended.
        queued_requests: Of these without a first token.
        queued_prefill_tokens: Uncached prompt tokens of the queued ones.
        context_tokens: Context held by the decoding ones.
        streams: Decoding ones whose output length was estimated.
        stream_output_tokens: Sum of these estimates.
        stream_since_s: Sum of the instants since when they decode.
        oldest_queued_s: Instant the oldest queued one was sent, infinite for none.
        rated_s: Instant the two rates are as of.
        prefill_tokens_per_s: Decayed rate of uncached tokens sent there.
        dispatches_per_s: Decayed rate of requests sent there.
        recent_ttft_s: Decayed mean of TTFT observed there, NaN before the first.
        recent_tpot_s: Likewise of TPOT.
    """

    inflight_requests: float = 0.0
    queued_requests: float = 0.0
    queued_prefill_tokens: float = 0.0
    context_tokens: float = 0.0
    streams: float = 0.0
    stream_output_tokens: float = 0.0
    stream_since_s: float = 0.0
    oldest_queued_s: float = math.inf
    rated_s: float = 0.0
    prefill_tokens_per_s: float = 0.0
    dispatches_per_s: float = 0.0
    recent_ttft_s: float = UNKNOWN
    recent_tpot_s: float = UNKNOWN


NOTHING: Final = Bookings()

Sums = tuple[
    float, float, float, float, float, float, float, float, float, float, float, float, float
]
"""The fields of :class:`Bookings` without names: compiled code makes fewer objects of them."""


class Ledger(Protocol):
    """Carry rows between writers."""

    def follow(self, endpoints: Iterable[str]) -> None:
        """Take in the whole present set of endpoints; the rows of others are given up."""
        ...

    def booked(self, endpoint: str, sums: Sums) -> None:
        """Write our own row of an endpoint."""
        ...

    def changed(self, now: float, *, at_once: bool = False) -> Iterable[tuple[str, Bookings]]:
        """Give the sums of all others wherever they have changed since last asked.

        Those of the last milliseconds may be missing, unless they are wanted at once.
        """
        ...


def together(one: Bookings, other: Bookings) -> Bookings:
    """Add up what two writers, or groups of them, have at one endpoint.

    Rates are brought to the later of their instants; recent means count by these rates.

    >>> one = Bookings(inflight_requests=2, rated_s=0.0, dispatches_per_s=1.0, recent_ttft_s=0.2)
    >>> other = Bookings(inflight_requests=1, rated_s=15.0, dispatches_per_s=1.0)
    >>> both = together(one, other)
    >>> both.inflight_requests, round(both.dispatches_per_s, 2), round(both.recent_ttft_s, 2)
    (3, 1.37, 0.2)
    """
    return one if other is NOTHING else Bookings(*added(one, other))


def added(one: Sums, other: Sums) -> Sums:
    """Add up as :func:`together` does."""
    (
        requests, queued, tokens, context, streams, output, since_s,
        oldest_s, rated_s, prefill, dispatches, ttft_s, tpot_s,
    ) = one  # fmt: skip
    late_s = other[8]
    if late_s > rated_s:
        keep, kept, rated_s = math.exp((rated_s - late_s) / RATE_TAU_S), 1.0, late_s
    else:
        keep, kept = 1.0, math.exp((late_s - rated_s) / RATE_TAU_S)
    dispatches, theirs = dispatches * keep, other[10] * kept
    share = (theirs + _LEAST_WEIGHT) / (dispatches + theirs + 2 * _LEAST_WEIGHT)
    return (
        requests + other[0],
        queued + other[1],
        tokens + other[2],
        context + other[3],
        streams + other[4],
        output + other[5],
        since_s + other[6],
        min(oldest_s, other[7]),
        rated_s,
        prefill * keep + other[9] * kept,
        dispatches + theirs,
        _mean(ttft_s, other[11], share),
        _mean(tpot_s, other[12], share),
    )


def _mean(one: float, other: float, share: float) -> float:
    """Mix two means, of which either may be NaN: the other is then the answer.

    >>> _mean(1.0, 2.0, 0.25), _mean(UNKNOWN, 2.0, 0.25), _mean(1.0, UNKNOWN, 0.25)
    (1.25, 2.0, 1.0)
    """
    mixed = one + share * (other - one)
    if mixed == mixed:  # noqa: PLR0124  # NaN differs from itself; the cheapest way to ask
        return mixed
    return other if one != one else one  # noqa: PLR0124


def columns(sums: Sums) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Give the columns ``OWN`` of the feature table, and the clocks they are as of.

    >>> own, clocks = columns(Bookings(inflight_requests=2, queued_requests=1, oldest_queued_s=7))
    >>> own[3:5], clocks[0]
    ((2, 1), 7)
    """
    (
        requests, queued, prefill_tokens, context_tokens, streams, output_sum, since_sum,
        oldest_s, rated_s, prefill_rate, dispatch_rate, ttft_s, tpot_s,
    ) = sums  # fmt: skip
    output, since_s, drain = None, 0.0, 0.0
    if streams and tpot_s > 0.0:
        output, since_s, drain = output_sum / streams, since_sum / streams, 1.0 / tpot_s
    own = own_columns(
        prefill_tokens_per_s=prefill_rate,
        dispatches_per_s=dispatch_rate,
        inflight_requests=requests,
        queued_requests=queued,
        queued_prefill_tokens=prefill_tokens,
        decoding_requests=requests - queued,
        context_tokens=context_tokens,
        remaining_output_tokens=output,
        recent_ttft_s=ttft_s,
        recent_tpot_s=tpot_s,
    )
    return own, (oldest_s if queued else UNKNOWN, rated_s, since_s, drain)
