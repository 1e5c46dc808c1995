"""The data path's entrance: reads a request, has it placed, and starts its exchange.

Knows every live exchange by its request id, hands waiting ones what the scheduler
decides later, and passes every finished record to the sinks. Called by the application
for each request to an inference path; :meth:`Relay.tick` also by whoever updates the
scheduler's endpoint states.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

from starlette.types import Receive, Scope, Send

from predictor.types import RequestFeatures, RequestRecord
from proxy.answers import send_error
from proxy.errors import BodyTooLarge, ProxyError, ShuttingDown, to_response
from proxy.exchange import Exchange
from proxy.headers import HeaderMap, request_id_of
from proxy.incoming import read_request
from proxy.metrics import ProxyMetrics
from proxy.settings import ProxySettings
from proxy.upstream import Upstream
from scheduler import Action, Scheduler, SchedulerError, ShedReason

Sink = Callable[[RequestRecord], None]


class PromptTokens(Protocol):
    """Give the tokens of a request's prompt, as its endpoints would see them."""

    async def of(self, path: str, payload: bytes) -> bytes | None:
        """Give the ids, four bytes each, ``None`` where they are not to be had in time."""
        ...


class Relay:
    """Serve inference requests; an ASGI application of its own.

    Args:
        scheduler: Places requests.
        upstream: Reaches endpoints; whoever opened it closes it.
        settings: Limits.
        metrics: Told of what no record tells: decision times, refusals.
        sinks: Called with every finished or refused request's record, in the event loop.
        clock: Monotonic seconds; the ``now`` of the scheduler.
        tokens: Asked where some endpoint's cache is known by tokens, ``None`` for nobody.
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
    ) -> None:
        self._scheduler = scheduler
        self._tokens = tokens
        self._upstream = upstream
        self._settings = settings
        self._metrics = metrics
        self._sinks = tuple(sinks)
        self._clock = clock
        self._exchanges: dict[str, Exchange] = {}
        self._ids = (f"{secrets.token_hex(6)}-{number:x}" for number in itertools.count())
        self._timer: asyncio.TimerHandle | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        arrived_s = self._clock()
        headers = dict(scope["headers"])
        try:
            payload = await _read_payload(receive, headers, self._settings.max_body_bytes)
            if payload is None:
                return
            tokens = await self._tokenize(scope["path"], payload)
            incoming = read_request(
                scope,
                payload,
                headers=headers,
                request_id=self._request_id(headers),
                arrived_s=arrived_s,
                include_usage=self._settings.include_usage,
                tokens=tokens,
                token_blocks=self._scheduler.caches.token_blocks,
            )
            action = self._route(incoming.features)
        except asyncio.CancelledError:  # while its body was still coming
            await self._refuse(send, ShuttingDown(), request_id_of(headers) or next(self._ids))
            return
        except (ProxyError, SchedulerError) as error:
            await self._refuse(send, error, request_id_of(headers) or next(self._ids))
            return
        exchange = Exchange(
            incoming,
            action,
            scheduler=self._scheduler,
            upstream=self._upstream,
            clock=self._clock,
            receive=receive,
            send=send,
            on_wait=self._tick_later,
        )
        request_id = incoming.features.request_id
        self._exchanges[request_id] = exchange
        try:
            await exchange.run(self._ended)
        finally:
            del self._exchanges[request_id]

    def tick(self) -> None:
        """Let waiting requests go that can; call after the endpoints' states changed."""
        if not self._scheduler.waiting_requests:
            return
        for action in self._scheduler.tick(self._clock()):
            self._exchanges[action.request_id].deliver(action)

    @property
    def live_requests(self) -> int:
        """Count requests that have been routed and have not ended."""
        return len(self._exchanges)

    async def _tokenize(self, path: str, payload: bytes) -> bytes | None:
        if self._tokens is None or not self._scheduler.caches.speak:
            return None
        return await self._tokens.of(path, payload)

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
            return next(self._ids)
        return f"{wanted}-{next(self._ids)}" if wanted in self._exchanges else wanted

    def _ended(self, record: RequestRecord, refused: ShedReason | None) -> None:
        if refused is not None:
            self._metrics.shed(refused)
        for sink in self._sinks:
            sink(record)
        self.tick()

    def _tick_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._settings.tick_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        try:
            self.tick()
        finally:  # whatever went wrong for one request, the others still wait
            if self._scheduler.waiting_requests:
                self._tick_later()

    async def _refuse(self, send: Send, error: Exception, request_id: str) -> None:
        answer = to_response(error)
        self._metrics.rejected(answer.code or "bad_request")
        await send_error(send, answer, request_id)


async def _read_payload(receive: Receive, headers: HeaderMap, limit: int) -> bytes | None:
    """Read the whole request body; ``None`` when the client went before its end.

    Raises:
        BodyTooLarge: It is longer than ``limit`` bytes, or says so.
    """
    announced = headers.get(b"content-length", b"")
    if announced.isdigit() and int(announced) > limit:
        raise BodyTooLarge(limit)
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunk: bytes = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge(limit)
        if not message.get("more_body", False):
            return chunk if len(chunks) == 1 else b"".join(chunks)
