"""The two sides of a shared answer: the request that leads, and those that follow it.

A leader is an ordinary request with a :class:`Leading` tap that feeds the answer into its
flight. A follower is served by :class:`Following` at its own client's pace, and becomes an
ordinary request itself when the flight fails before its client has seen anything. Made by
:mod:`proxy.guard`.
"""

import logging
from collections.abc import Callable
from typing import Final, Protocol

from predictor.types import Measurement, Outcome, RequestFeatures, RequestRecord
from proxy.errors import ShuttingDown, UpstreamError, to_response
from proxy.exchange import COMMENT, STREAM_LINES
from proxy.flight import Flight, Head
from proxy.gate import Passed, Serving
from proxy.headers import HeaderMap
from proxy.reply import Reply, ReplyHead
from proxy.response_cache import ResponseCache, Stored

logger = logging.getLogger(__name__)

MISS_LINES: Final = b"x-foretoken-cache: miss\r\n"
# Of the leader alone, or of its time.
_OWN_LINES: Final = (b"x-request-id:", b"x-foretoken-", b"date:", b"set-cookie:")
_CUT: Final = to_response(UpstreamError("", ""))
_SHUTTING_DOWN: Final = to_response(ShuttingDown())


class Host(Protocol):
    """What followers need of the data path."""

    def place(self, passed: Passed, reply: Reply, headers: HeaderMap) -> Serving | None:
        """Let a request go to the scheduler; ``None`` where it has been answered."""
        ...

    def reserve(self, request_id: str) -> None:
        """Keep a request's id from being given to another one."""
        ...

    def release(self, request_id: str) -> None:
        """Let go of a reserved id; another changes nothing."""
        ...

    def deserted(self, request_id: str) -> None:
        """Take that nobody but its own client wants a request's answer any more."""
        ...


def sharable_lines(lines: bytes) -> bytes:
    r"""Leave out the header lines that belong to one request alone.

    >>> sharable_lines(b"x-request-id: 1\r\nserver: uvicorn\r\n")
    b'server: uvicorn\r\n'
    """
    kept = [
        line for line in lines.split(b"\r\n") if line and not line.lower().startswith(_OWN_LINES)
    ]
    return b"".join([line + b"\r\n" for line in kept])


class Leading:
    """Feed a response into its flight.

    Args:
        flight: Where to.
        cache: Whose it is.
        clock: The data path's.
    """

    __slots__ = ("_cache", "_clock", "_flight")

    def __init__(self, flight: Flight, cache: ResponseCache, clock: Callable[[], float]) -> None:
        self._flight = flight
        self._cache = cache
        self._clock = clock

    @property
    def wanted(self) -> bool:
        """Tell whether anybody follows."""
        return self._flight.followers > 0

    def started(self, head: ReplyHead) -> None:
        """Take its head; only answers with status 200 that all can read are shared."""
        if head.status == 200 and b"\ncontent-encoding:" not in b"\n" + head.lines.lower():
            self._flight.begin(Head(lines=sharable_lines(head.lines), length=head.length))
        else:
            self._cache.fail(self._flight)

    def passed(self, data: bytes) -> None:
        """Take a piece of its body."""
        if self._flight.state == "open" and self._flight.head is not None:
            self._flight.feed(data)

    def ended(self, *, whole: bool, completed: bool) -> None:
        """Take its end: ``completed`` is false of a whole stream that reports a failure."""
        if whole and completed:
            self._cache.complete(self._flight, self._clock())
        else:
            self._cache.fail(self._flight)


class Following:
    """Serve a request from another one's answer; join the flight by :meth:`start`.

    Args:
        passed: The request, should it have to go on its own.
        reply: The way back to its client.
        headers: Of the request.
        host: The data path.
        clock: Its clock.
        on_record: Takes the whole story, unless the request went on its own.
        fleet: Base model that it is for.
        keepalive_s: Longest silence before a comment is sent, ``None`` for any.
    """

    def __init__(
        self,
        passed: Passed,
        reply: Reply,
        headers: HeaderMap,
        *,
        host: Host,
        clock: Callable[[], float],
        on_record: Callable[[RequestRecord], None],
        fleet: str | None,
        keepalive_s: float | None = None,
    ) -> None:
        self._keepalive_s = keepalive_s
        self._spoke_s = passed.request.features.arrived_s
        self._passed = passed
        self._reply = reply
        self._headers = headers
        self._host = host
        self._clock = clock
        self._on_record = on_record
        self._fleet = fleet
        self._features = passed.request.features
        self._held = self._over = False
        self._first_s: float | None = None
        self._own: Serving | None = None  # once it goes on its own

    def start(self, flight: Flight) -> bool:
        """Join a flight; ``False`` where that is too late."""
        follower = flight.join(self._on_news)
        if follower is None:
            return False
        self._follower = follower
        self._host.reserve(self._features.request_id)
        self._on_news()
        return True

    # What the client does

    def client_gone(self) -> None:
        """Follow no longer, or pass it on."""
        if self._own is not None:
            self._own.client_gone()
        else:
            self._end("client_gone")

    def hold_back(self) -> None:
        """Take nothing more for now, or pass it on."""
        self._held = True
        if self._own is not None:
            self._own.hold_back()

    def go_on(self) -> None:
        """Take what has come meanwhile, or pass it on."""
        self._held = False
        if self._own is not None:
            self._own.go_on()
        else:
            self._on_news()

    def tick(self, now: float) -> None:
        """Send a comment where one is due, or pass it on."""
        if self._own is not None:
            self._own.tick(now)
            return
        waits = not self._over and self._first_s is None and self._features.streamed
        if waits and self._keepalive_s is not None and now - self._spoke_s >= self._keepalive_s:
            self._spoke_s = now
            if not self._reply.started:
                lines = STREAM_LINES + answer_lines(self._features, "coalesced")
                self._reply.start(ReplyHead(200, lines, None))
            self._reply.write(COMMENT)

    def shut_down(self) -> None:
        """End now and say so, or pass it on."""
        if self._own is not None:
            self._own.shut_down()
        elif not self._over:
            self._end("shutdown")
            if self._reply.started:
                self._reply.cut(self._last_words(_SHUTTING_DOWN.body))
            else:
                self._reply.refuse(_SHUTTING_DOWN, self._features.request_id)

    # How

    def _on_news(self) -> None:
        """Pass on what has come; called by the leader, whom a fault here must not harm."""
        if self._held or self._over or self._own is not None:
            return
        try:
            self._pass_on()
        except Exception:  # the boundary of one request: a fault of ours ends it, no other
            logger.exception("following_failed")
            self._end("upstream_error")
            self._reply.give_up()

    def _pass_on(self) -> None:
        follower, reply = self._follower, self._reply
        data, state = follower.take(), follower.state
        if (data or state == "complete") and self._first_s is None:
            self._first_s = self._clock()
            if not reply.started:
                reply.start(self._reply_head())
            elif not self._streamed:
                self._end("cut")
                reply.cut(b"data: %b\n\n" % _CUT.body)
                return
        if state == "complete":
            self._end("completed")
            reply.end(data)
        elif state == "failed" and self._first_s is None:
            self._go_alone()
        elif state == "failed":
            self._end("cut")
            reply.cut(self._last_words(_CUT.body))
        elif data:
            reply.write(data)

    def _reply_head(self) -> ReplyHead:
        head = self._follower.head
        lines, length = (b"", None) if head is None else (head.lines, head.length)
        return ReplyHead(200, lines + answer_lines(self._features, "coalesced"), length)

    def _last_words(self, error: bytes) -> bytes:
        streamed = self._streamed or (self._reply.started and self._first_s is None)
        return b"\n\ndata: %b\n\n" % error if streamed else b""

    @property
    def _streamed(self) -> bool:
        head = self._follower.head
        return head is not None and is_stream(head.lines)

    def _go_alone(self) -> None:
        self._over = True
        self._follower.leave()
        self._host.release(self._features.request_id)
        self._own = self._host.place(self._passed, self._reply, self._headers)
        if self._own is not None and self._held:
            self._own.hold_back()

    def _end(self, outcome: Outcome) -> None:
        if self._over:
            return
        self._over = True
        self._follower.leave()
        self._host.release(self._features.request_id)
        self._on_record(
            answered_record(
                self._features,
                self._fleet,
                "cache_coalesced",
                outcome,
                first_s=self._first_s,
                now=self._clock(),
            )
        )


def replay(stored: Stored, features: RequestFeatures, reply: Reply, now: float) -> None:
    """Answer a request from the cache: a stream as a stream, all of it at once."""
    streamed = is_stream(stored.head.lines)
    lines = stored.head.lines + answer_lines(features, "hit")
    lines += b"age: %d\r\n" % max(0, int(now - stored.stored_s))
    reply.start(ReplyHead(200, lines, None if streamed else stored.body_bytes))
    for piece in stored.pieces:
        reply.write(piece)
    reply.end()


def is_stream(lines: bytes) -> bool:
    """Tell whether header lines announce server-sent events."""
    return b"content-type: text/event-stream" in lines.lower()


def answer_lines(features: RequestFeatures, result: str) -> bytes:
    """Give the header lines of an answer that no endpoint was asked for."""
    return b"x-request-id: %b\r\nx-foretoken-cache: %b\r\nx-foretoken-reason: cache_%b\r\n" % (
        features.request_id.encode("latin-1"),
        result.encode(),
        result.encode(),
    )


def answered_record(
    features: RequestFeatures,
    fleet: str | None,
    answered: str,
    outcome: Outcome,
    *,
    first_s: float | None,
    now: float,
) -> RequestRecord:
    """Tell the story of a request that no endpoint was asked for; it teaches nothing."""
    return RequestRecord(
        request=features,
        fleet=fleet,
        decision=None,
        endpoint=None,
        attempts=0,
        measurement=Measurement(outcome=outcome, status=None if first_s is None else 200),
        finished_s=now,
        ttft_s=None if first_s is None else first_s - features.arrived_s,
        e2e_s=now - features.arrived_s,
        answered=answered,
    )
