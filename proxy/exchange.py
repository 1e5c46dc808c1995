"""One request from the decision to its end: dispatch, retries, relay, account.

Invariants: nothing goes to the client before the endpoint's first body byte, so that
until then every failure can be made good elsewhere, and never after; when the client
goes, the endpoint hears of it at once, whatever is going on; the scheduler hears of
the end exactly once, also on cancellation. One object per request, made by the relay.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final, cast

from starlette.types import Receive, Send

from collectors.stream import StreamObserver
from predictor.types import Decision, Measurement, Outcome, RequestRecord
from proxy.answers import send_error
from proxy.connection import UpstreamResponse
from proxy.errors import (
    ErrorResponse,
    ShuttingDown,
    UpstreamError,
    UpstreamSilent,
    shed_response,
    to_response,
)
from proxy.headers import RawHeaders, response_headers
from proxy.incoming import IncomingRequest
from proxy.response_observer import (
    BodyObserver,
    ResponseObserver,
    is_event_stream,
    is_failed_stream,
)
from proxy.upstream import Upstream
from scheduler import Action, Dispatch, Scheduler, Shed, ShedReason, Wait

logger = logging.getLogger(__name__)

# The endpoint will not, or cannot, take the request: another one may.
_ELSEWHERE: Final = frozenset({502, 503})
_BODILESS: Final = frozenset({204, 304})
_CUT: Final = to_response(UpstreamError("", "")).body
_SHUTTING_DOWN: Final = to_response(ShuttingDown())


class Exchange:
    """Serve one request; :meth:`run` once.

    Args:
        incoming: The request.
        action: What the scheduler said of it.
        scheduler: Decides where it goes.
        upstream: Takes it there.
        clock: What the scheduler calls ``now``.
        receive: ASGI; the request's body has been read from it.
        send: ASGI.
        on_wait: Told that the request waits for a ``deliver``.
    """

    __slots__ = (
        "_action",
        "_clock",
        "_ended_s",
        "_gone",
        "_incoming",
        "_observer",
        "_on_wait",
        "_outcome",
        "_progress_due",
        "_receive",
        "_response",
        "_scheduler",
        "_seen_first_token",
        "_send",
        "_streamed",
        "_timer",
        "_upstream",
        "_waiter",
    )

    def __init__(
        self,
        incoming: IncomingRequest,
        action: Action,
        *,
        scheduler: Scheduler,
        upstream: Upstream,
        clock: Callable[[], float],
        receive: Receive,
        send: Send,
        on_wait: Callable[[], None],
    ) -> None:
        self._incoming = incoming
        self._action = action
        self._scheduler = scheduler
        self._upstream = upstream
        self._clock = clock
        self._receive = receive
        self._send = send
        self._on_wait = on_wait
        self._response: UpstreamResponse | None = None
        self._observer: ResponseObserver = BodyObserver()
        self._seen_first_token = False
        self._progress_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._streamed: bool | None = None  # until the client has been sent a head
        self._outcome: Outcome = "upstream_error"
        self._ended_s: float | None = None
        self._gone = False
        self._waiter: asyncio.Future[None] | None = None

    async def run(self, on_end: Callable[[RequestRecord, ShedReason | None], None]) -> None:
        """Serve the request to its end.

        Args:
            on_end: Takes the whole story, once, whatever happened; and why the request
                was refused, if it was.
        """
        task = cast("asyncio.Task[Any]", asyncio.current_task())  # a coroutine runs in one
        watcher = asyncio.create_task(self._watch_client(task))
        shutdown = False
        try:
            await self._serve()
        except asyncio.CancelledError:
            task.uncancel()
            shutdown = not self._gone
            self._outcome = "shutdown" if shutdown else "client_gone"
        finally:
            watcher.cancel()
            if self._timer is not None:
                self._timer.cancel()
            if self._response is not None:
                self._response.abort()
            reason = self._action.reason if isinstance(self._action, Shed) else None
            on_end(self._finish(), reason)
        if shutdown:  # the story is told: a client that does not read delays nothing but this
            await self._say_goodbye()

    def deliver(self, action: Dispatch | Shed) -> None:
        """Take what became of the request while it waited."""
        self._action = action
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _watch_client(self, task: "asyncio.Task[Any]") -> None:  # its result is not used
        while (await self._receive())["type"] != "http.disconnect":
            pass  # the body has been read: nothing else should come
        self._gone = True
        task.cancel()

    async def _serve(self) -> None:
        while True:
            action = self._action
            if isinstance(action, Wait):
                await self._wait()
            elif isinstance(action, Shed):
                await self._answer(shed_response(action))
                return
            else:
                try:
                    first = await self._dispatch(action)
                except UpstreamSilent as error:
                    await self._answer(to_response(error))
                    return
                if first is not None:
                    await self._relay(action.decision, first)
                    return
                again = (
                    self._scheduler.reroute
                    if self._response is None
                    else self._scheduler.turned_away
                )
                self._response = None
                self._action = again(action.request_id, self._clock())

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        self._on_wait()
        await self._waiter

    async def _dispatch(self, dispatch: Dispatch) -> bytes | None:
        """Send the request; give the first bytes of the body, ``None`` to try elsewhere.

        Where the endpoint answered that it will not or cannot, its response is kept.

        Raises:
            UpstreamSilent: The endpoint took the request and said nothing for too long.
        """
        try:
            response = await self._upstream.send(dispatch.url, self._incoming.outgoing)
            self._response = response
            cause = f"status {response.status}"
            if response.status not in _ELSEWHERE:
                first = await response.read()
                if not is_failed_stream(first):
                    return first
                cause = "failed before the first token"
            response.abort()
        except UpstreamSilent:
            raise
        except UpstreamError as error:
            cause = str(error)
            self._response = None
        logger.warning(
            "dispatch_failed",
            extra={
                "request_id": dispatch.request_id,
                "endpoint": dispatch.endpoint,
                "attempt": dispatch.attempt,
                "cause": cause,
            },
        )
        return None

    async def _say_goodbye(self) -> None:
        """Tell the client that the server shuts down and has waited long enough."""
        if self._streamed is None:
            await self._answer(_SHUTTING_DOWN)
        elif self._streamed:
            await self._send_error_event(_SHUTTING_DOWN.body)

    async def _send_error_event(self, error: bytes) -> None:
        """End a stream with an error; without a last piece the server closes the connection."""
        event = b"\n\ndata: %b\n\n" % error
        await self._send({"type": "http.response.body", "body": event, "more_body": True})

    async def _relay(self, decision: Decision, first: bytes) -> None:
        response = cast("UpstreamResponse", self._response)  # set by the dispatch before this
        self._outcome = _outcome_of(response.status)
        streamed = is_event_stream(response.headers)
        if streamed:
            kind, hide = self._incoming.stream_kind, self._incoming.hide_usage
            self._observer = StreamObserver(kind, hide_usage=hide)
        headers = self._response_headers(response, decision, streamed=streamed)
        self._streamed = streamed
        await self._send(
            {"type": "http.response.start", "status": response.status, "headers": headers}
        )
        try:
            await self._relay_body(response, first)
        except UpstreamError:
            self._outcome = "cut"
            if streamed:
                await self._send_error_event(_CUT)

    async def _relay_body(self, response: UpstreamResponse, first: bytes) -> None:
        shown = self._observe(first)
        while not response.drained:
            if shown:
                await self._send({"type": "http.response.body", "body": shown, "more_body": True})
            shown = self._observe(await response.read())
        self._ended_s = self._clock()
        if self._observer.failed:
            self._outcome = "cut"
        shown += self._observer.flush()
        await self._send({"type": "http.response.body", "body": shown, "more_body": False})

    def _observe(self, chunk: bytes) -> bytes:
        shown = self._observer.feed(chunk)
        if self._progress_due:
            self._tell_progress()
        elif self._observer.first_token and not self._seen_first_token:
            self._seen_first_token = True
            self._tell_first_token()
        return shown

    def _tell_first_token(self) -> None:
        after_s = self._scheduler.first_token(self._incoming.features.request_id, self._clock())
        if after_s is not None:
            self._timer = asyncio.get_running_loop().call_later(after_s, self._want_progress)

    def _want_progress(self) -> None:
        self._progress_due = True  # told with the next token, whose time is then known

    def _tell_progress(self) -> None:
        request_id, events = self._incoming.features.request_id, self._observer.token_events
        self._progress_due = not self._scheduler.progress(request_id, events, self._clock())

    def _response_headers(
        self, response: UpstreamResponse, decision: Decision, *, streamed: bool
    ) -> RawHeaders:
        headers = response_headers(response.headers)
        if response.status in _BODILESS or (streamed and self._incoming.hide_usage):
            headers = [header for header in headers if header[0] != b"content-length"]
        request = self._incoming.features
        headers += [
            (b"x-request-id", request.request_id.encode()),
            (b"x-foretoken-endpoint", decision.endpoint.encode()),
            (b"x-foretoken-reason", decision.reason.encode()),
        ]
        if decision.predictions is not None:
            waited_s = decision.decided_s - request.arrived_s
            ttft_s = waited_s + decision.predictions.ttft_s[decision.chosen]
            tpot_s = decision.predictions.tpot_s[decision.chosen]
            headers.append((b"x-foretoken-predicted-ttft-ms", b"%.3f" % (ttft_s * 1e3)))
            headers.append((b"x-foretoken-predicted-tpot-ms", b"%.3f" % (tpot_s * 1e3)))
        if streamed and not any(name == b"x-accel-buffering" for name, _ in headers):
            headers.append((b"x-accel-buffering", b"no"))
        return headers

    async def _answer(self, answer: ErrorResponse) -> None:
        await send_error(self._send, answer, self._incoming.features.request_id)

    def _finish(self) -> RequestRecord:
        if isinstance(self._action, Shed):
            return self._action.record
        usage = self._observer.usage
        counted = usage.output_tokens
        measurement = Measurement(
            outcome=self._outcome,
            prompt_tokens=usage.prompt_tokens,
            cached_tokens=usage.cached_tokens,
            output_tokens=(self._observer.token_events or None) if counted is None else counted,
            token_events=self._observer.token_events or None,
            endpoint_ttft_s=usage.ttft_s,
            endpoint_tpot_s=usage.itl_s,
            status=None if self._response is None else self._response.status,
        )
        request_id = self._incoming.features.request_id
        ended_s = self._clock() if self._ended_s is None else self._ended_s
        return self._scheduler.finished(request_id, measurement, ended_s)


def _outcome_of(status: int) -> Outcome:
    if status < 400:
        return "completed"
    return "client_error" if status < 500 else "upstream_error"
