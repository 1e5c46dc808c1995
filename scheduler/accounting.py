"""Count what this router has in flight at every endpoint.

Polled load herds: two decisions within one scrape see the same numbers. So each
dispatch is booked at once and released exactly once, and the next decision sees
it: the endpoint's row of the table that decisions gather from is written before it is
next read, once for all that happened in between.
Called by the scheduler only.
"""

import math
from collections.abc import Callable
from typing import Final

from predictor.feature_rows import own_columns
from predictor.features import COLUMN, RATE_TAU_S, UNKNOWN
from predictor.types import IDLE, Decision, EndpointLoad
from scheduler.bookings import NOTHING, Bookings, Ledger, Sums, added, columns
from scheduler.endpoint_table import EndpointTable

# Weight of one observation in the recent means: they hold about the last five.
RECENT_WEIGHT: Final = 0.2
# After so long a rate has come to nothing.
_LONG_S: Final = 20 * RATE_TAU_S
_UNCACHED: Final = COLUMN["uncached_tokens"]
_OUTPUT: Final = COLUMN["expected_output_tokens"]


class _Booking:
    __slots__ = (
        "booked_s",
        "context_tokens",
        "decoding_since_s",
        "output_tokens",
        "prefill_tokens",
    )

    def __init__(
        self,
        *,
        prefill_tokens: float,
        context_tokens: float,
        output_tokens: float | None,
        booked_s: float,
    ) -> None:
        self.prefill_tokens = prefill_tokens
        self.context_tokens = context_tokens
        self.output_tokens = output_tokens
        self.booked_s = booked_s
        self.decoding_since_s: float | None = None


class _Streams:
    """Sum up the decoding requests whose output length was estimated.

    Times are summed relative to ``origin_s``, to keep their sums exact enough.
    """

    __slots__ = ("count", "origin_s", "output_tokens", "since_s")

    def __init__(self, origin_s: float) -> None:
        self.origin_s = origin_s
        self.count = 0
        self.output_tokens = 0.0
        self.since_s = 0.0


class _Account:
    """Hold one endpoint's open bookings and their running sums."""

    __slots__ = (
        "bookings",
        "context_tokens",
        "dispatches_per_s",
        "last_dispatch",
        "name",
        "others",
        "prefill_tokens_per_s",
        "queued",
        "queued_prefill_tokens",
        "rated_s",
        "recent_tpot_s",
        "recent_ttft_s",
        "row",
        "streams",
    )

    def __init__(self, name: str, row: int, now: float) -> None:
        self.name = name
        self.row = row
        self.streams = _Streams(now)
        self.rated_s = now
        self.bookings: dict[str, _Booking] = {}
        self.queued: dict[str, float] = {}  # id -> booked_s, oldest first
        self.queued_prefill_tokens = 0.0
        self.context_tokens = 0.0
        self.prefill_tokens_per_s = 0.0
        self.dispatches_per_s = 0.0
        self.recent_ttft_s: float | None = None
        self.recent_tpot_s: float | None = None
        self.last_dispatch = 0
        self.others = NOTHING


class InflightAccounting:
    """Book, move and release requests; give snapshots.

    Args:
        table: Where each endpoint's row is kept up to date.

    Attributes:
        ledger: Told of every change where other workers book as well, ``None`` otherwise.
        later: Calls back soon, when more may have changed: the ledger is told then.

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

    def __init__(self, table: EndpointTable | None = None) -> None:
        self._table = table or EndpointTable()
        self._table.counted_by(self._settle)
        self._unwritten: dict[str, _Account] = {}  # whose rows do not stand for them any more
        self._accounts: dict[str, _Account] = {}
        self._dispatches = 0
        self._untold: dict[str, _Account] = {}  # of whose change the ledger is to be told
        self.ledger: Ledger | None = None
        self.later: Callable[[Callable[[], None]], object] = at_once

    def book(
        self,
        request_id: str,
        endpoint: str,
        *,
        prefill_tokens: float,
        context_tokens: float,
        output_tokens: float | None = None,
        now: float,
    ) -> None:
        """Count a request as sent to an endpoint.

        Args:
            request_id: Which request; not yet booked there.
            endpoint: Where it goes.
            prefill_tokens: Prompt tokens it has to compute there.
            context_tokens: Tokens it will hold in the KV cache while it decodes.
            output_tokens: Tokens it is expected to generate, ``None`` for no estimate.
            now: Clock in seconds.
        """
        account = self._account(endpoint, now)
        self._dispatches += 1
        account.last_dispatch = self._dispatches
        account.bookings[request_id] = _Booking(
            prefill_tokens=float(prefill_tokens),
            context_tokens=context_tokens,
            output_tokens=output_tokens,
            booked_s=now,
        )
        account.queued[request_id] = now
        account.queued_prefill_tokens += prefill_tokens
        keep = _kept(account, now)
        account.prefill_tokens_per_s = (
            account.prefill_tokens_per_s * keep + prefill_tokens / RATE_TAU_S
        )
        account.dispatches_per_s = account.dispatches_per_s * keep + 1.0 / RATE_TAU_S
        account.rated_s = now
        self._changed(account)

    def book_decision(self, request_id: str, endpoint: str, decision: Decision, now: float) -> None:
        """Count a request as sent where it was decided to go, with what was expected of it."""
        chosen, features = decision.chosen, decision.features
        output_tokens = features.item(chosen, _OUTPUT)
        self.book(
            request_id,
            endpoint,
            prefill_tokens=features.item(chosen, _UNCACHED),
            # Half of the output is there on average while it decodes.
            context_tokens=decision.prompt_tokens + output_tokens / 2,
            output_tokens=output_tokens,
            now=now,
        )

    def first_token(self, request_id: str, endpoint: str, *, ttft_s: float) -> None:
        """Move a request from queued to decoding, ``ttft_s`` after it was booked."""
        account = self._accounts[endpoint]
        booking = account.bookings[request_id]
        if booking.decoding_since_s is not None:
            return
        booking.decoding_since_s = booking.booked_s + ttft_s
        _leave_queue(account, request_id, booking)
        account.context_tokens += booking.context_tokens
        _stream(account.streams, booking, 1)
        account.recent_ttft_s = _blend(account, account.recent_ttft_s, ttft_s)
        self._changed(account)

    def release(self, request_id: str, endpoint: str, *, tpot_s: float | None) -> None:
        """Forget a request, whatever phase it is in."""
        account = self._accounts[endpoint]
        booking = account.bookings.pop(request_id)
        if booking.decoding_since_s is not None:
            account.context_tokens -= booking.context_tokens
            _stream(account.streams, booking, -1)
        else:
            _leave_queue(account, request_id, booking)
        if not account.bookings:  # sums of floats drift; an idle endpoint is exactly idle
            account.context_tokens = 0.0
            account.queued_prefill_tokens = 0.0
        if not account.streams.count:
            account.streams = _Streams(booking.booked_s)
        if tpot_s is not None:
            account.recent_tpot_s = _blend(account, account.recent_tpot_s, tpot_s)
        self._changed(account)

    def hear(self, endpoint: str, others: Bookings, now: float) -> None:
        """Take in what all other workers together have in flight at an endpoint."""
        account = self._account(endpoint, now)
        account.others = others
        self._unwritten[endpoint] = account

    def load(self, endpoint: str, now: float) -> EndpointLoad:
        """Give the snapshot of what we have at one endpoint; an unknown one is idle."""
        account = self._accounts.get(endpoint)
        if account is None:
            return IDLE
        queued, keep = len(account.queued), _kept(account, now)
        return EndpointLoad(
            inflight_requests=len(account.bookings),
            queued_requests=queued,
            queued_prefill_tokens=account.queued_prefill_tokens,
            decoding_requests=len(account.bookings) - queued,
            context_tokens=account.context_tokens,
            remaining_output_tokens=_remaining(account, now),
            oldest_queued_s=now - next(iter(account.queued.values())) if queued else 0.0,
            prefill_tokens_per_s=account.prefill_tokens_per_s * keep,
            dispatches_per_s=account.dispatches_per_s * keep,
            recent_ttft_s=account.recent_ttft_s,
            recent_tpot_s=account.recent_tpot_s,
            last_dispatch=account.last_dispatch,
        )

    def forget(self, endpoint: str) -> None:
        """Drop an endpoint that has left, unless requests are still in flight there."""
        account = self._accounts.get(endpoint)
        if account is None or not account.bookings:
            self._accounts.pop(endpoint, None)
            self._unwritten.pop(endpoint, None)
            self._table.forget(endpoint)

    def inflight_requests(self) -> int:
        """Count what is in flight at all endpoints together."""
        return sum(len(account.bookings) for account in self._accounts.values())

    def _account(self, endpoint: str, now: float) -> _Account:
        account = self._accounts.get(endpoint)
        if account is None:
            account = self._accounts[endpoint] = _Account(endpoint, self._table.row(endpoint), now)
        return account

    def _changed(self, account: _Account) -> None:
        """See that the other workers are told; the row is written when it is next read."""
        self._unwritten[account.name] = account
        if self.ledger is not None:
            is_first = not self._untold
            self._untold[account.name] = account
            if is_first:
                self.later(self._tell)

    def _tell(self) -> None:
        """Tell the other workers of all that has changed."""
        untold, self._untold = self._untold, {}
        if self.ledger is not None:
            for name, account in untold.items():
                self.ledger.booked(name, _sums(account))

    def _settle(self) -> None:
        """Write the rows of all that has changed."""
        if self._unwritten:
            for account in self._unwritten.values():
                self._write(account)
            self._unwritten.clear()

    def _write(self, account: _Account) -> None:
        """Write the endpoint's row, as of the clocks beside it."""
        if account.others is not NOTHING:
            values, clocks = columns(added(_sums(account), account.others))
            self._table.count(account.row, values, clocks, turn=account.last_dispatch)
            return
        inflight, queued = len(account.bookings), len(account.queued)
        output, since_s, drain = _outlook(account)
        self._table.count(
            account.row,
            own_columns(
                prefill_tokens_per_s=account.prefill_tokens_per_s,
                dispatches_per_s=account.dispatches_per_s,
                inflight_requests=inflight,
                queued_requests=queued,
                queued_prefill_tokens=account.queued_prefill_tokens,
                decoding_requests=inflight - queued,
                context_tokens=account.context_tokens,
                remaining_output_tokens=output,
                recent_ttft_s=account.recent_ttft_s,
                recent_tpot_s=account.recent_tpot_s,
            ),
            (
                next(iter(account.queued.values())) if queued else UNKNOWN,
                account.rated_s,
                since_s,
                drain,
            ),
            turn=account.last_dispatch,
        )


def at_once(call: Callable[[], None]) -> None:
    """Call now: for whoever has no event loop."""
    call()


def _sums(account: _Account) -> Sums:
    """Give the account's sums in the form that adds up."""
    streams, queued = account.streams, account.queued
    return (
        float(len(account.bookings)),
        float(len(queued)),
        account.queued_prefill_tokens,
        account.context_tokens,
        float(streams.count),
        streams.output_tokens,
        streams.since_s + streams.count * streams.origin_s,
        next(iter(queued.values())) if queued else math.inf,
        account.rated_s,
        account.prefill_tokens_per_s,
        account.dispatches_per_s,
        UNKNOWN if account.recent_ttft_s is None else account.recent_ttft_s,
        UNKNOWN if account.recent_tpot_s is None else account.recent_tpot_s,
    )


def _leave_queue(account: _Account, request_id: str, booking: _Booking) -> None:
    del account.queued[request_id]
    account.queued_prefill_tokens -= booking.prefill_tokens
    if not account.queued:
        account.queued_prefill_tokens = 0.0


def _stream(streams: _Streams, booking: _Booking, change: int) -> None:
    """Take a decoding request into the sums (1), or out of them (-1)."""
    if booking.output_tokens is None or booking.decoding_since_s is None:
        return
    streams.count += change
    streams.output_tokens += change * booking.output_tokens
    streams.since_s += change * (booking.decoding_since_s - streams.origin_s)


def _outlook(account: _Account) -> tuple[float | None, float, float]:
    """Give the decoding ones' mean output, mean begin, and tokens a second of each.

    ``None`` and zeros where none decodes, or nothing is known of its pace.
    """
    streams, tpot_s = account.streams, account.recent_tpot_s
    if not streams.count or not tpot_s:
        return None, 0.0, 0.0
    since_s = streams.origin_s + streams.since_s / streams.count
    return streams.output_tokens / streams.count, since_s, 1.0 / tpot_s


def _remaining(account: _Account, now: float) -> float | None:
    output, since_s, drain = _outlook(account)
    return None if output is None else max(output - (now - since_s) * drain, 0.0)


def _kept(account: _Account, now: float) -> float:
    return math.exp((account.rated_s - now) / RATE_TAU_S)


def _blend(account: _Account, mean: float | None, value: float) -> float:
    """Move our mean as far as all requests together would have moved that of a lone writer.

    We see our share of them; what others see is in theirs (:func:`scheduler.bookings.added`).
    """
    if mean is None:
        return value
    weight, others = RECENT_WEIGHT, account.others
    if others is not NOTHING and account.dispatches_per_s > 0.0:
        later_s = min(others.rated_s - account.rated_s, _LONG_S)
        ratio = others.dispatches_per_s / account.dispatches_per_s
        weight = 1.0 - (1.0 - weight) ** (1.0 + ratio * math.exp(later_s / RATE_TAU_S))
    return mean + weight * (value - mean)
