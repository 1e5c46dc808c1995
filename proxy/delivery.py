"""One request from its last byte to its end: the shell around an exchange.

Carries out what the exchange returns: writes to the client, sends to endpoints, waits.
Invariants: the booking is released exactly once, whatever happens here, a bug included;
when the client goes, the endpoint hears of it at once, whatever is going on, unless
somebody else still wants the response. Made by the relay.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol, TypeVarTuple

from predictor.types import RequestRecord
from proxy.connection import OutgoingRequest, Receiver
from proxy.errors import ShuttingDown, UpstreamError, to_response
from proxy.exchange import Comment, Exchange, Failure, Output, Step
from proxy.gate import Serving, Tap
from proxy.http_response import ResponseHead
from proxy.reply import Reply, ReplyHead
from proxy.trace_context import outgoing_at
from scheduler import Action, Dispatch, ShedReason, Wait

logger = logging.getLogger(__name__)

Told = TypeVarTuple("Told")

_SHUTTING_DOWN: Final = to_response(ShuttingDown())


class Host(Protocol):
    """What a delivery needs of the data path around it."""

    def dispatch(self, url: str, request: OutgoingRequest, receiver: Receiver) -> None:
        """Send a request to an endpoint."""
        ...

    def wait(self) -> None:
        """Take that a request waits for a tick of the scheduler."""
        ...

    def ended(self, record: RequestRecord, refused: ShedReason | None) -> None:
        """Take the whole story of a request that has ended."""
        ...


class Delivery(Receiver):
    """Serve one placed request.

    Args:
        exchange: What to do.
        reply: The way back to the client.
        host: The data path around.
        tap: Sees the response, ``None`` for nobody.
        keepalive_s: Longest silence before a comment is sent, ``None`` for any.
        now: When it came in, on the data path's clock.

    Attributes:
        way: Where the request is under way, ``None`` while it is nowhere.
        live: Whether it has not ended.
    """

    __slots__ = (
        "_exchange",
        "_held",
        "_host",
        "_keepalive_s",
        "_reply",
        "_spoke_s",
        "_tap",
        "live",
    )

    def __init__(
        self,
        exchange: Exchange,
        reply: Reply,
        host: Host,
        *,
        tap: Tap | None,
        keepalive_s: float | None,
        now: float,
    ) -> None:
        super().__init__()
        self.live = True
        self._held = False  # whatever way it takes
        self._exchange = exchange
        self._reply = reply
        self._host = host
        self._tap = tap
        self._keepalive_s = keepalive_s
        self._spoke_s = now

    @property
    def exchange(self) -> Exchange:
        """Give what says what to do."""
        return self._exchange

    def deliver(self, action: Action) -> None:
        """Take what is to become of the request: at first, and after it waited."""
        self._do(self._exchange.take, action)

    # What the endpoint does

    def received(self, head: ResponseHead, body: bytes, trailers: bytes | None) -> None:
        """Take what one read from the endpoint brought."""
        try:
            self._take(self._exchange.received(head, body, trailers))
        except Exception:  # the boundary of one request, as in ``_do``
            logger.exception("exchange_failed")
            self._give_up()
        if self._held and self.way is not None:
            self.way.pause_reading()

    def take_chunk(self, data: bytes, start: int) -> bool:
        """Hand a chunk of tokens on as it came, framing and all, where nobody else sees it."""
        if self._tap is not None or not self._reply.in_chunks:
            return False
        try:
            if not self._exchange.take_tokens(data, start):
                return False
            self._reply.pass_on(data)
        except Exception:  # the boundary of one request, as in ``_do``
            logger.exception("exchange_failed")
            self._give_up()
        if self._held and self.way is not None:
            self.way.pause_reading()
        return True

    def failed(self, error: UpstreamError) -> None:
        """Take that the endpoint failed."""
        self._do(self._exchange.failed, error)

    # What the client does

    def client_gone(self) -> None:
        """End at once, unless somebody else wants the response."""
        if not self.live:
            return
        if self._tap is not None and self._tap.wanted:
            self.go_on()
            return
        self._exchange.client_gone()
        self._end(whole=False)

    def deserted(self) -> None:
        """End where the client has gone as well: nobody else wants the response any more."""
        if self._reply.ended:
            self.client_gone()

    def hold_back(self) -> None:
        """Take nothing more from the endpoint: the client reads slowly."""
        self._held = True
        if self.way is not None:
            self.way.pause_reading()

    def go_on(self) -> None:
        """Go on: the client reads again."""
        self._held = False
        if self.way is not None:
            self.way.resume_reading()

    def tick(self, now: float) -> None:
        """Send a comment where one is due."""
        if self._keepalive_s is not None and now - self._spoke_s >= self._keepalive_s:
            self._spoke_s = now
            self._do(self._exchange.keep_alive)

    def shut_down(self) -> None:
        """End now: the server stops."""
        if self.live:
            self._do(self._exchange.shut_down)

    # How

    def _do(self, event: Callable[[*Told], Step], *told: *Told) -> None:
        """Tell the exchange of an event, and carry out what it returns."""
        try:
            self._take(event(*told))
        except Exception:  # the boundary of one request: a fault of ours ends it, no other
            logger.exception("exchange_failed")
            self._give_up()

    def _take(self, step: Step) -> None:
        if not isinstance(step, bytes):
            self._carry_out(step)
        elif step:  # a piece of a response that goes on
            self._reply.write(step)
            if self._tap is not None:
                self._tap.passed(step)

    def _carry_out(self, step: Output | Comment | Dispatch | Wait | None) -> None:
        if self._exchange.failure is not None:
            self._log_failure(self._exchange.failure)
        if isinstance(step, Output):
            self._show(step)
        elif isinstance(step, Comment):
            self._remark(step)
        elif step is not None:
            self._leave_endpoint()
            if isinstance(step, Dispatch):
                incoming = self._exchange.incoming
                first = step.attempt == 1
                outgoing = incoming.outgoing if first else outgoing_at(incoming, step.attempt)
                self._host.dispatch(step.url, outgoing, self)
            else:
                self._host.wait()

    def _show(self, output: Output) -> None:
        reply, tap, head = self._reply, self._tap, output.head
        if head is not None:
            if tap is not None:
                tap.started(head)
                head = ReplyHead(head.status, head.lines + tap.lines, head.length)
            if not reply.started:
                reply.start(head)
        if tap is not None and output.data:
            tap.passed(output.data)
        if output.end is None:
            reply.write(output.data)
            return
        if output.end == "whole":
            reply.end(output.data, output.trailers)
        else:
            reply.cut(output.data)
        self._end(whole=output.end == "whole")

    def _remark(self, comment: Comment) -> None:
        """Send what nobody else is to see: it is of this client's waiting."""
        if comment.head is not None:
            self._reply.start(comment.head)
        self._reply.write(comment.data)

    def _end(self, *, whole: bool) -> None:
        if not self.live:
            return
        self.live = False
        self._leave_endpoint()
        try:
            self._host.ended(self._exchange.finish(), self._exchange.refused)
        finally:
            if self._tap is not None:
                self._tap.ended(whole=whole)

    def _leave_endpoint(self) -> None:
        way, self.way = self.way, None
        if way is not None:
            way.give_up()

    def _give_up(self) -> None:
        """End the request and release what it has booked."""
        self._leave_endpoint()
        self._exchange.broken_off()
        try:
            self._end(whole=False)
        finally:
            self._reply.give_up()

    def _log_failure(self, failure: Failure) -> None:
        self._exchange.failure = None
        dispatch = failure.dispatch
        fields = {
            "request_id": dispatch.request_id,
            "endpoint": dispatch.endpoint,
            "attempt": dispatch.attempt,
            "cause": failure.cause,
        }
        logger.warning("dispatch_failed", extra=fields)


class Preparation:
    """A request whose tokens are being looked up before it can be placed.

    Args:
        reply: The way back to the client.

    Attributes:
        serving: Who serves it once it is placed.
    """

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._task: asyncio.Task[None] | None = None
        self.serving: Serving | None = None

    def start(self, task: "asyncio.Task[None]") -> None:
        """Keep the task that looks up and places: nobody else does."""
        self._task = task

    def client_gone(self) -> None:
        """Stop, or pass it on."""
        if self.serving is not None:
            self.serving.client_gone()
        elif self._task is not None:
            self._task.cancel()

    def hold_back(self) -> None:
        """Pass it on."""
        if self.serving is not None:
            self.serving.hold_back()

    def go_on(self) -> None:
        """Pass it on."""
        if self.serving is not None:
            self.serving.go_on()

    def tick(self, now: float) -> None:
        """Pass it on: the look-up has a limit of its own."""
        if self.serving is not None:
            self.serving.tick(now)

    def shut_down(self) -> None:
        """Stop and tell the client, or pass it on."""
        if self.serving is not None:
            self.serving.shut_down()
        elif not self._reply.ended:
            self.client_gone()
            self._reply.refuse(_SHUTTING_DOWN)
