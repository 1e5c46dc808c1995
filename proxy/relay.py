"""The data path's entrance: reads a request, has it placed, and starts its delivery.

Knows every live delivery by its request id, hands waiting ones what the scheduler
decides later, and passes every finished record to the sinks. Called by the client
connections for each request to an inference path; :meth:`Relay.tick` also by whoever
updates the scheduler's endpoint states.
"""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from predictor.types import RequestFeatures, RequestRecord
from proxy.connection import OutgoingRequest, Receiver
from proxy.delivery import Delivery, Preparation
from proxy.errors import ErrorResponse, ProxyError, to_response
from proxy.exchange import Exchange
from proxy.gate import Admission, Gate, OpenGate, Passed, Serving
from proxy.headers import HeaderMap, request_id_of
from proxy.http_request import Request, RequestHead
from proxy.incoming import read_request
from proxy.metrics import ProxyMetrics
from proxy.outbox import Outbox
from proxy.reply import Reply
from proxy.settings import ProxySettings
from proxy.sinks import Sink, tell
from proxy.trace_context import Tracer
from proxy.upstream import Upstream
from scheduler import Action, Scheduler, SchedulerError, ShedReason

logger = logging.getLogger(__name__)

# vLLM's inference paths beside /v1/*.
_INFERENCE_PATHS: Final = frozenset(
    {
        "/classify",
        "/detokenize",
        "/pooling",
        "/rerank",
        "/score",
        "/tokenize",
        "/v2/rerank",
    }
)
_INFERENCE_PREFIXES: Final = ("/v1/", "/inference/")
_OWN_PATHS: Final = frozenset({"/v1/models"})


class PromptTokens(Protocol):
    """Give the tokens of a request's prompt, as its endpoints would see them."""

    async def of(self, path: str, payload: bytes) -> bytes | None:
        """Give the ids, four bytes each, ``None`` where they are not to be had in time."""
        ...


def serves(path: str) -> bool:
    """Tell whether a path is one of an endpoint's own.

    >>> serves("/v1/chat/completions"), serves("/v1/models"), serves("/metrics")
    (True, False, False)
    """
    if path.startswith(_INFERENCE_PREFIXES):
        return path not in _OWN_PATHS
    return path in _INFERENCE_PATHS


class Relay:
    """Serve inference requests.

    Args:
        scheduler: Places requests.
        upstream: Reaches endpoints; whoever opened it closes it.
        settings: Limits.
        metrics: Told of what no record tells: decision times, refusals.
        sinks: Called with every finished or refused request's record, in the event loop.
        clock: Monotonic seconds; the ``now`` of the scheduler.
        tokens: Asked where some endpoint's cache is known by tokens, ``None`` for nobody.
        gate: Asked before the scheduler is; lets everything pass where ``None``.
        tracer: Gives requests their place in a trace, ``None`` where none are made.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        upstream: Upstream,
        settings: ProxySettings,
        metrics: ProxyMetrics,
        sinks: Sequence[Sink],
        clock: Callable[[], float],
        tokens: PromptTokens | None = None,
        gate: Gate | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._scheduler = scheduler
        self._tokens = tokens
        self._upstream = upstream
        self._settings = settings
        self._metrics = metrics
        self._sinks = tuple(sinks)
        self._clock = clock
        self._gate = gate or OpenGate()
        self._tracer = tracer
        self._live: dict[str, Delivery] = {}
        self._reserved: set[str] = set()
        self._prefix, self._numbers = secrets.token_hex(6), itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    # What client connections ask

    def admit(self, head: RequestHead, reply: Reply) -> Admission | None:
        """Let a request in by its headers; ``None`` where it has been refused."""
        admission = self._gate.admit(head)
        if isinstance(admission, ErrorResponse):
            self._refuse(reply, admission, head.named)
            return None
        return admission

    def serve(self, request: Request, admission: Admission, reply: Reply) -> Serving | None:
        """Serve one request; ``None`` where it has been answered already."""
        arrived_s = self._clock()
        if self._tokens is None or not self._scheduler.caches.speak:
            return self._place(request, admission, reply, arrived_s, None)
        preparation = Preparation(reply)

        async def look_up(tokens: PromptTokens) -> None:
            try:
                ids = await tokens.of(request.head.path, request.body)
                preparation.serving = self._place(request, admission, reply, arrived_s, ids)
            except Exception:  # the boundary of one request: a fault of ours ends it, no other
                logger.exception("placing_failed")
                reply.give_up()

        task = asyncio.get_running_loop().create_task(look_up(self._tokens))
        preparation.start(task)
        return preparation

    @property
    def outbox(self) -> Outbox:
        """Give what takes all writes of the data path."""
        return self._upstream.outbox

    def now(self) -> float:
        """Read the clock that deliveries are ticked by."""
        return self._clock()

    def refuse(self, reply: Reply, error: ProxyError) -> None:
        """Refuse what never became a request."""
        answer = to_response(error)
        self._metrics.rejected(answer.code or "bad_request")
        reply.refuse(answer)

    @property
    def live(self) -> Mapping[str, Delivery]:
        """Give the requests that have been routed and have not ended, by their ids."""
        return self._live

    @property
    def live_requests(self) -> int:
        """Count them."""
        return len(self._live)

    # What the gate asks

    def place(self, passed: Passed, reply: Reply, headers: HeaderMap) -> Serving | None:
        """Let a request go to the scheduler that was held back; ``None`` where it is answered."""
        try:
            return self._start(passed, reply)
        except (ProxyError, SchedulerError) as error:
            self._refuse(reply, to_response(error), headers)
        return None

    def reserve(self, request_id: str) -> None:
        """Keep a request's id from being given to another one."""
        self._reserved.add(request_id)

    def release(self, request_id: str) -> None:
        """Let go of a reserved id."""
        self._reserved.discard(request_id)

    def deserted(self, request_id: str) -> None:
        """Take that nobody but its own client wants a request's answer any more."""
        delivery = self._live.get(request_id)
        if delivery is not None:
            delivery.deserted()

    # What the scheduler's drivers ask

    def tick(self) -> None:
        """Let waiting requests go that can; call after the endpoints' states changed."""
        if not self._scheduler.waiting_requests:
            return
        for action in self._scheduler.tick(self._clock()):
            self._deliver(action)

    # What deliveries ask

    def dispatch(self, url: str, request: OutgoingRequest, receiver: Receiver) -> None:
        """Send a request to an endpoint."""
        self._upstream.dispatch(url, request, receiver)

    def wait(self) -> None:
        """Look at waiting requests again soon."""
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._settings.tick_s, self._on_timer)

    def ended(self, record: RequestRecord, refused: ShedReason | None) -> None:
        """Pass on the story of a request that has ended."""
        del self._live[record.request.request_id]
        if refused is not None:
            self._metrics.shed(refused)
        tell(self._sinks, record)
        self.tick()

    # How

    def _place(
        self,
        request: Request,
        admission: Admission,
        reply: Reply,
        arrived_s: float,
        tokens: bytes | None,
    ) -> Serving | None:
        head = request.head
        try:
            incoming = read_request(
                head,
                request.body,
                request_id=self._request_id(head.named),
                arrived_s=arrived_s,
                include_usage=self._settings.include_usage,
                tenant=admission.tenant,
                dropped=admission.dropped,
                tokens=tokens,
                token_blocks=self._scheduler.caches.token_blocks,
            )
            if self._tracer is not None:
                incoming = self._tracer.trace(incoming, head)
            verdict = self._gate.consider(head, incoming, reply)
            if isinstance(verdict, Passed):
                return self._start(verdict, reply)
        except (ProxyError, SchedulerError) as error:
            verdict = to_response(error)
        if not isinstance(verdict, ErrorResponse):
            return None if reply.ended else verdict
        self._refuse(reply, verdict, head.named)
        return None

    def _start(self, passed: Passed, reply: Reply) -> Serving | None:
        incoming = passed.request
        try:
            action = self._route(incoming.features)
        except Exception:
            if passed.tap is not None:
                passed.tap.ended(whole=False)
            raise
        exchange = Exchange(
            incoming, scheduler=self._scheduler, clock=self._clock, committed=reply.started
        )
        delivery = Delivery(
            exchange,
            reply,
            self,
            tap=passed.tap,
            keepalive_s=self._settings.sse_keepalive_s,
            now=incoming.features.arrived_s,
        )
        self._live[incoming.features.request_id] = delivery
        delivery.deliver(action)
        return delivery if delivery.live else None

    def _deliver(self, action: Action) -> None:
        try:
            self._live[action.request_id].deliver(action)
        except Exception:  # the boundary of one request: what the others have booked is sent
            logger.exception("delivery_failed", extra={"request_id": action.request_id})

    def _route(self, features: RequestFeatures) -> Action:
        started_s = self._clock()
        action = self._scheduler.route(features, started_s)
        ended_s = self._clock()
        self._metrics.decided(ended_s - started_s)
        self._scheduler.decided(features.request_id, ended_s - started_s, ended_s)
        return action

    def _request_id(self, headers: HeaderMap) -> str:
        """Take the client's id, made unique where it is in flight already."""
        wanted = request_id_of(headers)
        if wanted is None:
            return self._next_id()
        taken = wanted in self._live or wanted in self._reserved
        return f"{wanted}-{self._next_id()}" if taken else wanted

    def _next_id(self) -> str:
        return f"{self._prefix}-{next(self._numbers)}"

    def _on_timer(self) -> None:
        self._timer = None
        try:
            self.tick()
        finally:  # whatever went wrong for one request, the others still wait
            if self._scheduler.waiting_requests:
                self.wait()

    def _refuse(self, reply: Reply, answer: ErrorResponse, headers: HeaderMap) -> None:
        self._metrics.rejected(answer.code or "bad_request")
        if reply.started:  # with comments, while it followed another one's answer
            reply.cut(b"data: %b\n\n" % answer.body)
        else:
            reply.refuse(answer, request_id_of(headers) or self._next_id())
