"""Count what this router has in flight at every endpoint.

Polled load herds: two decisions within one scrape see the same numbers. So each
dispatch is booked at once and released exactly once, and the next decision sees
it. Called by the scheduler only.
"""

import math
from dataclasses import dataclass, field

from predictor.types import IDLE, EndpointLoad

# Decay of the prefill rate and of recent observations: long enough to hold several
# requests of a busy endpoint, short enough to follow a burst.
RATE_TAU_S = 15.0
RECENT_WEIGHT = 0.2


@dataclass(slots=True, kw_only=True)
class _Booking:
    prefill_tokens: float
    context_tokens: float
    booked_s: float
    decoding: bool = False


@dataclass(slots=True)
class _Account:
    """Hold one endpoint's open bookings and their running sums."""

    bookings: dict[str, _Booking] = field(default_factory=dict)
    queued: dict[str, float] = field(default_factory=dict)  # id -> booked_s, oldest first
    queued_prefill_tokens: float = 0.0
    context_tokens: float = 0.0
    rate_tokens_per_s: float = 0.0
    rate_at_s: float = 0.0
    recent_ttft_s: float | None = None
    recent_tpot_s: float | None = None
    last_dispatch: int = 0


class InflightAccounting:
    """Book, move and release requests; give snapshots.

    >>> accounting = InflightAccounting()
    >>> accounting.book("r", "a:1", prefill_tokens=100, context_tokens=120, now=0.0)
    >>> accounting.load("a:1", now=1.0).queued_prefill_tokens
    100.0
    >>> accounting.first_token("r", "a:1", ttft_s=0.2)
    >>> accounting.load("a:1", now=1.0).decoding_requests
    1
    >>> accounting.release("r", "a:1", tpot_s=None)
    >>> accounting.load("a:1", now=1.0).inflight_requests
    0
    """

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._dispatches = 0

    def book(
        self,
        request_id: str,
        endpoint: str,
        *,
        prefill_tokens: float,
        context_tokens: float,
        now: float,
    ) -> None:
        """Count a request as sent to an endpoint.

        Args:
            request_id: Which request; not yet booked there.
            endpoint: Where it goes.
            prefill_tokens: Prompt tokens it has to compute there.
            context_tokens: Tokens it will hold in the KV cache while it decodes.
            now: Clock in seconds.
        """
        account = self._accounts.setdefault(endpoint, _Account(rate_at_s=now))
        self._dispatches += 1
        account.last_dispatch = self._dispatches
        account.bookings[request_id] = _Booking(
            prefill_tokens=float(prefill_tokens), context_tokens=context_tokens, booked_s=now
        )
        account.queued[request_id] = now
        account.queued_prefill_tokens += prefill_tokens
        account.rate_tokens_per_s = _decayed_rate(account, now) + prefill_tokens / RATE_TAU_S
        account.rate_at_s = now

    def first_token(self, request_id: str, endpoint: str, *, ttft_s: float) -> None:
        """Move a request from queued to decoding."""
        account = self._accounts[endpoint]
        booking = account.bookings[request_id]
        if booking.decoding:
            return
        booking.decoding = True
        _leave_queue(account, request_id, booking)
        account.context_tokens += booking.context_tokens
        account.recent_ttft_s = _blend(account.recent_ttft_s, ttft_s)

    def release(self, request_id: str, endpoint: str, *, tpot_s: float | None) -> None:
        """Forget a request, whatever phase it is in."""
        account = self._accounts[endpoint]
        booking = account.bookings.pop(request_id)
        if booking.decoding:
            account.context_tokens -= booking.context_tokens
        else:
            _leave_queue(account, request_id, booking)
        if not account.bookings:  # sums of floats drift; an idle endpoint is exactly idle
            account.context_tokens = 0.0
            account.queued_prefill_tokens = 0.0
        if tpot_s is not None:
            account.recent_tpot_s = _blend(account.recent_tpot_s, tpot_s)

    def load(self, endpoint: str, now: float) -> EndpointLoad:
        """Give the snapshot of one endpoint; an unknown one is idle."""
        account = self._accounts.get(endpoint)
        if account is None:
            return IDLE
        queued = len(account.queued)
        return EndpointLoad(
            inflight_requests=len(account.bookings),
            queued_requests=queued,
            queued_prefill_tokens=account.queued_prefill_tokens,
            decoding_requests=len(account.bookings) - queued,
            context_tokens=account.context_tokens,
            oldest_queued_s=now - next(iter(account.queued.values())) if queued else 0.0,
            prefill_tokens_per_s=_decayed_rate(account, now),
            recent_ttft_s=account.recent_ttft_s,
            recent_tpot_s=account.recent_tpot_s,
            last_dispatch=account.last_dispatch,
        )

    def forget(self, endpoint: str) -> None:
        """Drop an endpoint that has left, unless requests are still in flight there."""
        account = self._accounts.get(endpoint)
        if account is not None and not account.bookings:
            del self._accounts[endpoint]

    def inflight_requests(self) -> int:
        """Count what is in flight at all endpoints together."""
        return sum(len(account.bookings) for account in self._accounts.values())


def _leave_queue(account: _Account, request_id: str, booking: _Booking) -> None:
    del account.queued[request_id]
    account.queued_prefill_tokens -= booking.prefill_tokens
    if not account.queued:
        account.queued_prefill_tokens = 0.0


def _decayed_rate(account: _Account, now: float) -> float:
    return account.rate_tokens_per_s * math.exp((account.rate_at_s - now) / RATE_TAU_S)


def _blend(mean: float | None, value: float) -> float:
    return value if mean is None else mean + RECENT_WEIGHT * (value - mean)
