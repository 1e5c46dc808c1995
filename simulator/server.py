"""vLLM's HTTP face around an engine in real time: a plain ASGI application.

Decides which paths exist and how a request's life is tied to its connection: a
client that goes away, streaming or not, aborts its request in the engine at once.
"""

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import uvicorn

from simulator.connections import Connections, protocol_of, reset
from simulator.driver import Driver, TokenStream
from simulator.engine import Engine
from simulator.errors import ClientGone, RequestRefused
from simulator.exchange import JSON, Exchange, Receive, Scope, Send
from simulator.faults import GARBAGE, SLOW_PAGE_S, Faults, read_fault
from simulator.kv_events import CacheJournal, KvEventPublisher
from simulator.language import (
    TOKEN_BYTES,
    Language,
    chain_hashes,
    detokenize,
    from_ids,
    token_ids,
    tokenize,
    tokenize_chat,
)
from simulator.metrics import EndpointMetrics
from simulator.profiles import profile
from simulator.protocol import (
    ChatBody,
    CompletionBody,
    DetokenizeBody,
    Job,
    TokenizeBody,
    plan,
    read,
)
from simulator.responses import (
    DONE,
    ChatShape,
    CompletionShape,
    Shape,
    error_body,
    models_body,
)
from simulator.settings import EndpointSettings
from simulator.types import Completion, SimRequest

logger = logging.getLogger(__name__)

_EVENTS = b"text/event-stream; charset=utf-8"
_PAGE = b"text/plain; version=1.0.0; charset=utf-8"
_INFERENCE = frozenset({"/v1/chat/completions", "/v1/completions"})
_BEFORE_RESET_S = 0.02  # a reset overtakes what was not yet read


class SimulatedEndpoint:
    """One simulated endpoint as an ASGI application; it runs between lifespan's events.

    Attributes:
        connections: By whom they come from; :func:`serve` fills it, so that one can be reset.
    """

    def __init__(self, settings: EndpointSettings) -> None:
        chosen = profile(settings.profile)
        self.model = settings.model or chosen.model
        self.engine = Engine(chosen, settings, Random(settings.seed))
        self._settings = settings
        offloads = settings.cpu_tier_tokens is not None
        self._metrics = EndpointMetrics(self.engine, self.model, offloads=offloads)
        self._journal = CacheJournal(
            block_size=settings.block_size, encoding=settings.kv_events_encoding
        )
        self._publisher = _publisher(settings, self._journal)
        self._driver = Driver(self.engine, self._metrics.token, self._publish)
        if self._publisher is not None:
            self.engine.kv.cache.watcher = self._journal
        draws = Random(f"{settings.seed} faults")
        self._faults = Faults(self._driver, self._metrics, self._publisher, draws)
        self.connections: Connections = {}
        self._language = Language()
        self._created = int(time.time())
        self._requests = 0
        self._failed = False
        self._routes = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._completion,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
            ("GET", "/v1/models"): self._models,
            ("GET", "/health"): self._health,
            ("GET", "/ping"): self._health,
            ("GET", "/version"): self._version,
            ("GET", "/metrics"): self._page,
            ("POST", "/sim/fault"): self._fault,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            if self._faults.resets():
                send = self._resetting(scope, send)
            await self._serve(Exchange(scope, receive, send))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the engine stepping in real time while the context is open."""
        tasks = [asyncio.create_task(self._drive())]
        if self._publisher is not None:
            tasks.append(asyncio.create_task(self._publisher.run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def abort_all(self) -> None:
        """End every request at once, as vLLM does when it is told to stop."""
        self._driver.cancel_all()

    async def _drive(self) -> None:
        try:
            await self._driver.run()
        except Exception:  # the endpoint's one background task: it dies in sight
            self._failed = True
            self._driver.cancel_all()
            logger.exception("engine_died")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self, exchange: Exchange) -> None:
        try:
            await self._route(exchange)(exchange)
        except RequestRefused as error:
            await exchange.reply(error_body(error), JSON, error.status)
        except ClientGone:
            logger.debug("client_gone")

    def _resetting(self, scope: Scope, send: Send) -> Send:
        """Send half of what comes second of a stream, or of the only piece, and no more."""
        pieces = 0

        async def send_some(message: Scope) -> None:
            nonlocal pieces
            body = message.get("body", b"")
            pieces += bool(body)
            whole = not message.get("more_body", False)
            if not body or (pieces == 1 and not whole):
                await send(message)
                return
            await send({**message, "body": body[: len(body) // 2], "more_body": True})
            await asyncio.sleep(_BEFORE_RESET_S)
            reset(self.connections.get(tuple(scope["client"])))
            raise ClientGone

        return send_some if scope["path"] in _INFERENCE else send

    def _route(self, exchange: Exchange) -> Callable[[Exchange], Awaitable[None]]:
        route = self._routes.get((exchange.method, exchange.path))
        if self._faults.down and route != self._fault:
            raise RequestRefused("It has crashed.", status=503, kind="ServiceUnavailableError")
        if exchange.path in _INFERENCE and self._faults.refuses():
            raise RequestRefused("Not now.", status=503, kind="ServiceUnavailableError")
        if route is None:
            raise _no_route(known=any(path == exchange.path for _, path in self._routes))
        return route

    async def _chat(self, exchange: Exchange) -> None:
        await self._generate(exchange, read(await exchange.body(), ChatBody), ChatShape)

    async def _completion(self, exchange: Exchange) -> None:
        await self._generate(exchange, read(await exchange.body(), CompletionBody), CompletionShape)

    async def _generate(
        self, exchange: Exchange, body: ChatBody | CompletionBody, shape_of: type[Shape]
    ) -> None:
        came_s = asyncio.get_running_loop().time()
        if body.model not in {None, self.model}:
            raise RequestRefused(
                f"The model `{body.model}` does not exist.",
                param="model",
                status=404,
                kind="NotFoundError",
            )
        if self._failed:
            raise _aborted()
        job = plan(body, exchange.headers, self._settings, self.engine.max_model_len)
        name = exchange.headers.get("x-request-id") or uuid.uuid4().hex
        shape = shape_of(name, self.model, int(time.time()))
        answer = self._language.answer(job.prompt, job.output_tokens)
        tokens = job.prompt + answer.encode()
        request = self._request(job, tokens)
        async with self._submitted(request, exchange, came_s) as stream:
            if self._publisher is not None:
                self._journal.expect(request.block_hashes, tokens, salt=job.salt)
            if body.stream:
                await _send_stream(exchange, stream, shape, answer, usage=body.include_usage)
            else:
                await _send_whole(exchange, stream, shape, answer)

    def _publish(self) -> None:
        if self._publisher is not None:
            self._publisher.publish(time.time())

    def _request(self, job: Job, tokens: bytes) -> SimRequest:
        self._requests += 1
        return SimRequest(
            request_id=str(self._requests),
            prompt_tokens=job.prompt_tokens,
            output_tokens=job.output_tokens,
            block_hashes=chain_hashes(tokens, self.engine.block_size, job.salt),
            priority=job.priority,
            finish_reason=job.finish_reason,
        )

    @asynccontextmanager
    async def _submitted(
        self, request: SimRequest, exchange: Exchange, came_s: float
    ) -> AsyncIterator[TokenStream]:
        stream = self._driver.submit(request, came_s)
        gone = asyncio.create_task(exchange.disconnected())
        gone.add_done_callback(lambda _: self._driver.cancel(request.request_id))
        try:
            yield stream
        finally:
            gone.cancel()
            self._driver.cancel(request.request_id)
            self._journal.forget(request.block_hashes)

    async def _tokenize(self, exchange: Exchange) -> None:
        body = read(await exchange.body(), TokenizeBody)
        if body.messages is not None:
            tokens = tokenize_chat((message.role, message.text()) for message in body.messages)
        elif body.prompt is not None:
            tokens = tokenize(body.prompt)
        else:
            raise RequestRefused("either prompt or messages is required", param="prompt")
        await exchange.reply_json(
            {
                "count": len(tokens) // TOKEN_BYTES,
                "max_model_len": self.engine.max_model_len,
                "tokens": token_ids(tokens),
                "token_strs": None,
            }
        )

    async def _detokenize(self, exchange: Exchange) -> None:
        body = read(await exchange.body(), DetokenizeBody)
        await exchange.reply_json({"prompt": detokenize(from_ids(body.tokens))})

    async def _models(self, exchange: Exchange) -> None:
        body = models_body(self.model, self._created, self.engine.max_model_len)
        await exchange.reply(body, JSON)

    async def _health(self, exchange: Exchange) -> None:
        await exchange.reply(b"", JSON, 503 if self._failed else 200)

    async def _version(self, exchange: Exchange) -> None:
        await exchange.reply_json({"version": "0.32.0+simulated"})

    async def _fault(self, exchange: Exchange) -> None:
        self._faults.begin(read_fault(exchange.query))
        await exchange.reply(b"", JSON)

    async def _page(self, exchange: Exchange) -> None:
        match self._faults.page:
            case "gone":
                raise _no_route(known=False)
            case "garbage":
                await exchange.reply(GARBAGE, _PAGE)
                return
            case "slow":
                await asyncio.sleep(SLOW_PAGE_S)
        await exchange.reply(self._metrics.page(), _PAGE)


async def _send_stream(
    exchange: Exchange, stream: TokenStream, shape: Shape, answer: str, *, usage: bool
) -> None:
    await exchange.start(_EVENTS, 200)
    opening = shape.opening()
    while tokens := await stream.fetch():
        end = tokens[-1]
        text = answer[tokens[0].index * TOKEN_BYTES : (end.index + 1) * TOKEN_BYTES]
        if end.completion is None:
            await exchange.write(opening + shape.chunk(text), more=True)
            opening = b""
        else:
            closing = _closing(shape, text, end.completion, usage=usage)
            await exchange.write(opening + closing, more=False)
            return
    failure = b"data: %b\n\n" % error_body(_aborted())
    await exchange.write((failure if stream.failed else shape.last("", "abort")) + DONE, more=False)


def _closing(shape: Shape, text: str, completion: Completion, *, usage: bool) -> bytes:
    facts = shape.usage(completion) if usage else b""
    return shape.last(text, completion.finish_reason) + facts + DONE


async def _send_whole(exchange: Exchange, stream: TokenStream, shape: Shape, answer: str) -> None:
    while tokens := await stream.fetch():
        completion = tokens[-1].completion
        if completion is not None:
            await exchange.reply(shape.whole(answer, completion), JSON)
            return
    raise _aborted()


def _aborted() -> RequestRefused:
    return RequestRefused("The request was aborted.", status=500, kind="InternalServerError")


def _no_route(*, known: bool) -> RequestRefused:
    if known:
        return RequestRefused("Method Not Allowed", status=405, kind="MethodNotAllowedError")
    return RequestRefused("Not Found", status=404, kind="NotFoundError")


def _publisher(settings: EndpointSettings, journal: CacheJournal) -> KvEventPublisher | None:
    if settings.kv_events is None:
        return None
    return KvEventPublisher(
        journal,
        address=settings.kv_events,
        replay=settings.kv_events_replay,
        topic=settings.kv_events_topic,
    )


def create_app(settings: EndpointSettings) -> SimulatedEndpoint:
    """Make the ASGI application of one simulated endpoint."""
    return SimulatedEndpoint(settings)


def serve(settings: EndpointSettings) -> None:
    """Serve one simulated endpoint until SIGTERM or SIGINT, which end it at once."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        http=protocol_of(app.connections),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=60,
        timeout_graceful_shutdown=1,
    )
    _Server(config, app).run()


class _Server(uvicorn.Server):
    """A server that does not wait for the answers under way when it is told to stop."""

    def __init__(self, config: uvicorn.Config, app: SimulatedEndpoint) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.abort_all()
        await super().shutdown(sockets)
