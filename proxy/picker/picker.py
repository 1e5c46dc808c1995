"""The picker's desk: has requests placed for Envoy, as the relay does for the proxy.

Knows what is in flight by its ids, hands waiting requests what the scheduler decides later,
and passes every finished record to the sinks. :meth:`Picker.accept` gives each ext_proc
stream its handler; :meth:`Picker.tick` is also called by whoever updates the scheduler's
endpoint states.
"""

import asyncio
import itertools
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from predictor.types import Decision, RequestRecord
from proxy.headers import RawHeaders, request_id_of
from proxy.incoming import IncomingRequest
from proxy.metrics import ProxyMetrics
from proxy.picker.call import Call
from proxy.picker.processing import Processing
from proxy.picker.questions import read_question
from proxy.picker.reading import read
from proxy.picker.upload import Answers
from proxy.relay import PromptTokens, serves
from proxy.settings import ProxySettings
from proxy.sinks import Sink, tell
from proxy.trace_context import Tracer
from scheduler import Action, Dispatch, Scheduler, Shed, ShedReason

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

_INTERNAL: Final = 13  # gRPC status


class Picker:
    """Place requests for Envoy.

    Args:
        scheduler: Places requests.
        settings: Limits; the picker's own are its section.
        metrics: Told of what no record tells: decision times, refusals.
        sinks: Called with every finished or refused request's record, in the event loop.
        clock: Monotonic seconds; the ``now`` of the scheduler.
        tokens: Asked where some endpoint's cache is known by tokens, ``None`` for nobody.
        tracer: Gives requests their place in a trace, ``None`` where none are made.
    """

    def __init__(
        self,
        *,
        scheduler: Scheduler,
        settings: ProxySettings,
        metrics: ProxyMetrics,
        sinks: Sequence[Sink],
        clock: Callable[[], float],
        tokens: PromptTokens | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self.max_body_bytes = settings.max_body_bytes
        self.fallbacks = settings.picker.fallbacks
        self._settings = settings
        self._metrics = metrics
        self._sinks = tuple(sinks)
        self._tokens = tokens
        self._tracer = tracer
        self._live: set[str] = set()  # ids of requests that were placed or wait
        self._waiting: dict[str, _Stream] = {}
        self._held: dict[Processing, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ids = (f"{secrets.token_hex(6)}-{number:x}" for number in itertools.count())
        self._timer: asyncio.TimerHandle | None = None

    def accept(self, call: Call) -> "_Stream":
        """Give the handler of an ext_proc stream."""
        return _Stream(self, call)

    def tick(self) -> None:
        """Let waiting requests go that can; call after the endpoints' states changed."""
        if not self.scheduler.waiting_requests:
            return
        for action in self.scheduler.tick(self.clock()):
            self._waiting.pop(action.request_id).deliver(action)

    @property
    def live_requests(self) -> int:
        """Count requests that have been routed and have not ended."""
        return len(self._live)

    def close(self) -> None:
        """Let go of what is held and asked for: the service ends."""
        for processing, timer in list(self._held.items()):
            timer.cancel()
            self._let_go(processing)
        for task in list(self._tasks):
            task.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What streams ask

    @property
    def wants_tokens(self) -> bool:
        """Tell whether prompts are to be tokenized before they are placed."""
        return self._tokens is not None and self.scheduler.caches.speak

    def read(
        self,
        headers: RawHeaders,
        body: bytes,
        *,
        arrived_s: float,
        changeable: bool,
        tokens: bytes | None,
    ) -> IncomingRequest:
        """Read a request."""
        return read(
            headers,
            body,
            request_id=self._request_id(headers),
            arrived_s=arrived_s,
            include_usage=changeable and self._settings.include_usage,
            tokens=tokens,
            token_blocks=self.scheduler.caches.token_blocks,
            tracer=self._tracer,
        )

    def place(self, incoming: IncomingRequest) -> Action:
        """Have the scheduler place a request."""
        features = incoming.features
        started_s = self.clock()
        action = self.scheduler.route(features, started_s)
        ended_s = self.clock()
        self._live.add(features.request_id)
        self._metrics.decided(ended_s - started_s)
        self.scheduler.decided(features.request_id, ended_s - started_s, ended_s)
        return action

    def preview(self, incoming: IncomingRequest) -> Decision | None:
        """Have the scheduler say where a request would go, and book nothing."""
        return self.scheduler.preview(incoming.features, self.clock())

    def is_placed(self, path: bytes) -> bool:
        """Tell whether requests for a path are placed."""
        return serves(path.partition(b"?")[0].decode("latin-1"))

    def rejected(self, code: str) -> None:
        """Count a request that was refused before it was placed."""
        self._metrics.rejected(code)

    def ended(self, record: RequestRecord, refused: ShedReason | None) -> None:
        """Pass a finished request's record on, and let others have its place."""
        request_id = record.request.request_id
        self._live.discard(request_id)
        self._waiting.pop(request_id, None)
        if refused is not None:
            self._metrics.shed(refused)
        tell(self._sinks, record)
        self.tick()

    def hold(self, processing: Processing, until_s: float) -> None:
        """Let go of a request at a time."""
        after_s = max(0.0, until_s - self.clock())
        loop = asyncio.get_running_loop()
        self._held[processing] = loop.call_later(after_s, self._let_go, processing)

    def wait(self, stream: "_Stream") -> None:
        """Hand a stream what becomes of it, once the scheduler says."""
        self._waiting[stream.processing.request_id] = stream
        self._tick_later()

    def tokenize(self, stream: "_Stream") -> None:
        """Find out the tokens of a stream's prompt, and go on with it."""
        task = asyncio.create_task(self._tokenize(stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tokenize(self, stream: "_Stream") -> None:
        upload = stream.processing.upload
        path = upload.path.partition(b"?")[0].decode("latin-1")
        tokens = None if self._tokens is None else await self._tokens.of(path, upload.body)
        stream.tokenized(tokens)

    def _let_go(self, processing: Processing) -> None:
        del self._held[processing]
        processing.let_go()

    def _request_id(self, headers: RawHeaders) -> str:
        """Take the client's id, or Envoy's, made unique where it is in flight already."""
        wanted = request_id_of(dict(headers))
        if wanted is None:
            return next(self._ids)
        return f"{wanted}-{next(self._ids)}" if wanted in self._live else wanted

    def _tick_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._settings.tick_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        try:
            self.tick()
        finally:  # whatever went wrong for one request, the others still wait
            if self.scheduler.waiting_requests:
                self._tick_later()


class _Stream:
    """Carry one ext_proc stream: messages to its processing, answers to its call."""

    __slots__ = ("_call", "_picker", "processing")

    def __init__(self, picker: Picker, call: Call) -> None:
        self._picker = picker
        self._call = call
        self.processing = Processing(picker)

    def message(self, data: bytes) -> None:
        """Take in a message of Envoy's."""
        self._step(self.processing.receive, read_question(data))

    def deliver(self, action: Dispatch | Shed) -> None:
        """Take in what became of the request while it waited."""
        self._step(self.processing.deliver, action)

    def tokenized(self, tokens: bytes | None) -> None:
        """Take in the tokens of its prompt."""
        self._step(self.processing.tokenized, tokens)

    def half_closed(self) -> None:
        """End: Envoy half-closes when its request is over, one way or the other."""
        self.ended()
        self._call.finish()

    def ended(self) -> None:
        """End, whoever ended the call."""
        try:
            self.processing.ended()
        except Exception as error:  # the connection carries others, and must end them too
            logger.error("picker_failed", exc_info=error)

    def _step(self, step: Callable[[_T], Answers], told: _T) -> None:
        before = self.processing.phase
        try:
            for answer in step(told):
                self._call.send(answer)
        except Exception as error:  # a connection carries the requests of many
            logger.error("picker_failed", exc_info=error)
            self._call.finish(_INTERNAL, type(error).__name__)
            return
        if self.processing.phase == before:  # what that asks for is under way already
            return
        match self.processing.phase:
            case "refused":
                self._call.finish()
            case "waiting":
                self._picker.wait(self)
            case "tokenizing":
                self._picker.tokenize(self)
