"""One request from the decision to its end: retries, what the client is shown, the account.

A state machine without I/O: told what happens, it returns what to do next. Invariants:
nothing but comments goes to the client before the endpoint's first body byte, so that
until then every failure can be made good elsewhere, and never after; the scheduler hears
of the end exactly once. Driven by :mod:`proxy.delivery`, one object per request.
"""

from collections.abc import Callable
from typing import Final, Literal

from collectors.stream import StreamObserver
from predictor.types import Decision, Measurement, Outcome, RequestRecord
from predictor.values import Value
from proxy.errors import (
    ErrorResponse,
    ShuttingDown,
    UpstreamError,
    UpstreamSilent,
    shed_response,
    to_response,
)
from proxy.headers import predicted_ms, response_lines
from proxy.http_response import ResponseHead
from proxy.incoming import IncomingRequest
from proxy.reply import ReplyHead
from proxy.response_observer import (
    BodyObserver,
    ResponseObserver,
    is_event_stream,
    is_failed_stream,
)
from scheduler import Action, Dispatch, Scheduler, Shed, ShedReason, Wait

# The endpoint will not, or cannot, take the request: another one may.
_ELSEWHERE: Final = frozenset({502, 503})
_CUT: Final = to_response(UpstreamError("", ""))
_SHUTTING_DOWN: Final = to_response(ShuttingDown())
STREAM_LINES: Final = b"content-type: text/event-stream; charset=utf-8\r\nx-accel-buffering: no\r\n"
_LOOK_EVERY: Final = 4  # token events
COMMENT: Final = b": keepalive\n\n"


class Output(Value, kw_only=False):
    """Send this to the client.

    Attributes:
        head: Status and headers, with the first output only; whoever has sent those of a
            comment sends no others.
        data: A piece of the body.
        end: Whether the response ends with it, whole or cut; ``None`` if it goes on.
        trailers: Lines that follow a whole body.
    """

    head: ReplyHead | None = None
    data: bytes = b""
    end: Literal["whole", "cut"] | None = None
    trailers: bytes = b""


class Comment(Value, kw_only=False):
    """Send this to the client: it is no part of the answer.

    Attributes:
        head: Status and headers, where none have been sent.
        data: A comment.
    """

    head: ReplyHead | None = None
    data: bytes = COMMENT


class Failure(Value, kw_only=False):
    """Say which dispatch failed, and why."""

    dispatch: Dispatch
    cause: str


Step = bytes | Output | Comment | Dispatch | Wait | None
"""What to do next: send a piece of the body, or more than that; send the request to an
endpoint; wait for :meth:`Exchange.deliver`; nothing."""


class Exchange:
    """Follow one request.

    Args:
        incoming: The request.
        scheduler: Decides where it goes, and hears how it went.
        clock: What the scheduler calls ``now``.
        committed: Whether the head of a stream has gone to the client already.

    Attributes:
        incoming: As above.
        failure: The last dispatch that failed, until whoever logs it has taken it.
        refused: Why the scheduler refused the request, ``None`` if it did not.
    """

    __slots__ = (
        "_action",
        "_clock",
        "_committed",
        "_ended_s",
        "_look_events",
        "_observer",
        "_outcome",
        "_progress_s",
        "_scheduler",
        "_shown",
        "_status",
        "_streamed",
        "_watching",
        "failure",
        "incoming",
        "refused",
    )

    def __init__(
        self,
        incoming: IncomingRequest,
        *,
        scheduler: Scheduler,
        clock: Callable[[], float],
        committed: bool = False,
    ) -> None:
        self.incoming = incoming
        self.failure: Failure | None = None
        self.refused: ShedReason | None = None
        self._scheduler = scheduler
        self._clock = clock
        self._action: Action | None = None
        self._observer: ResponseObserver | None = None
        self._status: int | None = None
        self._outcome: Outcome = "upstream_error"
        self._ended_s: float | None = None
        self._shown = False  # whether bytes of an endpoint have gone to the client
        self._committed = committed  # whether the head of a stream has, with comments alone
        self._streamed = committed  # whether what goes to the client is an event stream
        self._watching = False  # whether the first token, or its progress, is still to be told
        self._progress_s: float | None = None
        self._look_events = 0  # how many there must be before that is looked at again

    @property
    def decision(self) -> Decision | None:
        """Give the decision in force, ``None`` while it is nowhere."""
        return self._action.decision if isinstance(self._action, Dispatch) else None

    @property
    def shown(self) -> bool:
        """Tell whether bytes of an endpoint have gone to the client."""
        return self._shown

    def take(self, action: Action) -> Step:
        """Take what the scheduler said: at first, after a wait, after a failure."""
        self._action = action
        if not isinstance(action, Shed):
            return action
        self.refused = action.reason
        return self._answer(shed_response(action))

    def received(self, head: ResponseHead, body: bytes, trailers: bytes | None) -> Step:
        """Take what one read from the endpoint brought; ``trailers`` with its end."""
        if not self._shown:
            return self._begin(head, body, trailers)
        shown = self._observer.feed(body) if self._observer is not None else body
        if self._watching:
            self._watch()
        return shown if trailers is None else self._end(None, shown, trailers)

    def take_tokens(self, data: bytes, start: int) -> bool:
        """Take a chunk if it is tokens alone; false where it is to be ``received``."""
        observer = self._observer
        if not isinstance(observer, StreamObserver) or not observer.take_tokens(data, start):
            return False
        if self._watching:
            self._watch()
        return True

    def failed(self, error: UpstreamError) -> Step:
        """Take that the endpoint failed before the response was complete."""
        if self._shown:
            self._outcome = "cut"
            return self._broken(_CUT)
        self._status = None
        if isinstance(error, UpstreamSilent):  # it has the request, and may be working on it
            return self._answer(to_response(error))
        self._note_failure(str(error))
        return self.take(self._scheduler.reroute(self._id, self._clock()))

    def keep_alive(self) -> Step:
        """Show a waiting client that somebody is there, if it can be told by a comment."""
        if self._shown or not self.incoming.features.streamed:
            return None
        if self._committed:
            return Comment()
        self._committed = self._streamed = True
        return Comment(ReplyHead(200, STREAM_LINES + self._id_line, None))

    def client_gone(self) -> None:
        """Take that nobody reads any more."""
        self._outcome = "client_gone"

    def broken_off(self) -> None:
        """Take that a fault of ours ends it: what the client has is not the whole."""
        self._outcome = "cut" if self._shown else "upstream_error"

    def shut_down(self) -> Output:
        """Tell the client that the server stops and has waited long enough."""
        self._outcome = "shutdown"
        return self._broken(_SHUTTING_DOWN) if self._shown else self._answer(_SHUTTING_DOWN)

    def finish(self) -> RequestRecord:
        """Tell the scheduler, and give the whole story; once."""
        if isinstance(self._action, Shed):
            return self._action.record
        events, usage = 0, None
        if self._observer is not None:
            events, usage = self._observer.token_events, self._observer.usage
        counted = None if usage is None else usage.output_tokens
        measurement = Measurement(
            outcome=self._outcome,
            prompt_tokens=None if usage is None else usage.prompt_tokens,
            cached_tokens=None if usage is None else usage.cached_tokens,
            output_tokens=(events or None) if counted is None else counted,
            token_events=events or None,
            endpoint_ttft_s=None if usage is None else usage.ttft_s,
            endpoint_tpot_s=None if usage is None else usage.itl_s,
            status=self._status,
        )
        ended_s = self._clock() if self._ended_s is None else self._ended_s
        return self._scheduler.finished(self._id, measurement, ended_s)

    # How

    @property
    def _id(self) -> str:
        return self.incoming.features.request_id

    @property
    def _id_line(self) -> bytes:
        return b"x-request-id: %b\r\n" % self._id.encode("latin-1")

    def _begin(self, head: ResponseHead, body: bytes, trailers: bytes | None) -> Step:
        """Decide, with the first body byte or the end, whether this goes to the client."""
        self._status = status = head.status
        if status in _ELSEWHERE:
            return self._turned_away(f"status {status}")
        if trailers is None and not body:
            return None
        if is_failed_stream(body):
            return self._turned_away("failed before the first token")
        self._shown = True
        if status >= 400:
            self._outcome = "client_error" if status < 500 else "upstream_error"
        else:
            self._outcome = "completed"
        streamed = is_event_stream(head.headers)
        if self._committed and not (streamed and status == 200):
            return Output(None, b"data: %b\n\n" % _one_line(body), "cut")
        self._streamed = streamed
        if streamed:
            kind, hide = self.incoming.stream_kind, self.incoming.hide_usage
            self._observer = StreamObserver(kind, hide_usage=hide)
            self._watching = True
        else:
            self._observer = BodyObserver()
        shown = self._observer.feed(body)
        if streamed:
            self._watch()
        reply_head = self._reply_head(head)
        if trailers is None:
            return Output(reply_head, shown)
        return self._end(reply_head, shown, trailers)

    def _end(self, head: ReplyHead | None, shown: bytes, trailers: bytes) -> Output:
        self._ended_s = self._clock()
        if self._observer is not None:
            if self._observer.failed:
                self._outcome = "cut"
            shown += self._observer.flush()
        if trailers and not self.incoming.wants_trailers:
            trailers = b""
        return Output(head, shown, "whole", trailers)

    def _turned_away(self, why: str) -> Step:
        self._note_failure(why)
        return self.take(self._scheduler.turned_away(self._id, self._clock()))

    def _note_failure(self, cause: str) -> None:
        if isinstance(self._action, Dispatch):
            self.failure = Failure(self._action, cause)

    def _watch(self) -> None:
        """Tell the scheduler of the first token, and later once of how far the stream is."""
        observer = self._observer
        if observer is None or not observer.first_token:
            return
        if self._progress_s is not None:
            events = observer.token_events
            if events >= self._look_events:
                self._look_events = events + _LOOK_EVERY
                now = self._clock()
                if now >= self._progress_s:
                    self._watching = not self._scheduler.progress(self._id, events, now)
            return
        now = self._clock()
        after_s = self._scheduler.first_token(self._id, now)
        self._watching = after_s is not None
        self._progress_s = None if after_s is None else now + after_s

    def _answer(self, answer: ErrorResponse) -> Output:
        """Give an answer of our own in place of an endpoint's."""
        if self._committed:
            return self._broken(answer)
        body = answer.body
        return Output(
            ReplyHead(answer.status, answer.lines + self._id_line, len(body)), body, "whole"
        )

    def _broken(self, answer: ErrorResponse) -> Output:
        """Break a response off; a stream says why, and never that it is done."""
        event = b"\n\ndata: %b\n\n" % answer.body if self._streamed else b""
        return Output(None, event, "cut")

    def _reply_head(self, head: ResponseHead) -> ReplyHead:
        lines = response_lines(head.headers) + self._decision_lines()
        length = None
        for name, value in head.headers:
            if name == b"content-length":
                length = int(value)
        if self._streamed:
            if b"x-accel-buffering:" not in lines:
                lines += b"x-accel-buffering: no\r\n"
            if self.incoming.hide_usage:
                length = None
        return ReplyHead(head.status, lines, length)

    def _decision_lines(self) -> bytes:
        action = self._action
        if not isinstance(action, Dispatch):
            return self._id_line
        decision, features = action.decision, self.incoming.features
        lines = (
            f"x-request-id: {features.request_id}\r\nx-foretoken-endpoint: {action.endpoint}\r\n"
            f"x-foretoken-reason: {decision.reason}\r\n"
        )
        predicted = predicted_ms(decision, features.arrived_s)
        if predicted is not None:
            ttft_ms, tpot_ms = predicted
            lines += (
                f"x-foretoken-predicted-ttft-ms: {ttft_ms}\r\n"
                f"x-foretoken-predicted-tpot-ms: {tpot_ms}\r\n"
            )
        return lines.encode("latin-1")


def _one_line(body: bytes) -> bytes:
    """Give an error body as the data of one event; ours where it cannot be one."""
    return body if body[:1] == b"{" and b"\n" not in body and b"\r" not in body else _CUT.body
