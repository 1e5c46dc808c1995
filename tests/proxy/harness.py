"""The whole data path on a loopback port, with the real scheduler and real connections."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass

import httpx
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from predictor.types import EndpointState, RequestRecord
from proxy import (
    Acceptor,
    FleetCollector,
    Gate,
    ProxyApp,
    ProxyMetrics,
    ProxySettings,
    Relay,
    Sink,
    Tracer,
    Upstream,
    log_request,
)
from proxy.access import Access
from proxy.guard import Guard
from proxy.relay import PromptTokens
from scheduler import Scheduler, SchedulerSettings
from tests.fakes import FakeEndpoint
from tests.scheduler.known_physics import MODEL, KnownPhysics, make_scheduler

CHAT = "/v1/chat/completions"


@dataclass(kw_only=True)
class RunningProxy:
    """Hold a running proxy and what can be seen of it."""

    client: httpx.AsyncClient
    port: int
    scheduler: Scheduler
    app: ProxyApp
    relay: Relay
    guard: Guard
    acceptor: Acceptor
    upstream: Upstream
    registry: CollectorRegistry
    physics: KnownPhysics
    records: list[RequestRecord]
    ended: asyncio.Event

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until something has come about."""
    while not condition():
        await asyncio.sleep(0)


def state_of(endpoint: FakeEndpoint, **changes: object) -> EndpointState:
    values: dict[str, object] = {"model": MODEL, "up": True, "scraped_s": 0.0} | changes
    return EndpointState(endpoint=endpoint.name, url=endpoint.url, **values)  # type: ignore[arg-type]  # test shorthand


@asynccontextmanager
async def running_proxy(
    *endpoints: FakeEndpoint,
    states: Sequence[EndpointState] | None = None,
    settings: ProxySettings | None = None,
    scheduling: SchedulerSettings | None = None,
    control: ASGIApp | None = None,
    access: Access | None = None,
    gate: Gate | None = None,
    tokens: PromptTokens | None = None,
    sinks: Sequence[Sink] = (),
    tracer: Tracer | None = None,
) -> AsyncIterator[RunningProxy]:
    """Run a proxy in front of endpoints; the first one is predicted to be the fastest."""
    settings = settings or ProxySettings()
    scheduling = scheduling or SchedulerSettings()
    speeds = {endpoint.name: 1e-3 * 100**rank for rank, endpoint in enumerate(endpoints)}
    physics = KnownPhysics(speeds)
    scheduler = make_scheduler(
        physics, states or [state_of(endpoint) for endpoint in endpoints], scheduling
    )
    registry = CollectorRegistry()
    metrics = ProxyMetrics(registry, scheduling)
    registry.register(FleetCollector(scheduler, time.monotonic))
    records: list[RequestRecord] = []
    ended = asyncio.Event()

    def keep(record: RequestRecord) -> None:
        records.append(record)
        ended.set()

    told: list[Sink] = [*sinks, metrics.observe, log_request, keep]
    guard = Guard(
        settings,
        access=access or Access(),
        scheduler=scheduler,
        clock=time.monotonic,
        sinks=told,
        host=lambda: relay,
    )
    async with Upstream(settings.upstream) as upstream:
        relay = Relay(
            scheduler=scheduler,
            upstream=upstream,
            settings=settings,
            metrics=metrics,
            sinks=[guard.observe, *told],
            clock=time.monotonic,
            tokens=tokens,
            gate=gate or guard,
            tracer=tracer,
        )
        app = ProxyApp(
            scheduler=scheduler,
            registry=registry,
            lifespan=nullcontext,
            access=access,
            control=control,
        )
        acceptor = Acceptor(relay, settings)
        async with _listening(app, acceptor) as port:
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
                proxy = RunningProxy(
                    client=client,
                    port=port,
                    scheduler=scheduler,
                    app=app,
                    relay=relay,
                    guard=guard,
                    acceptor=acceptor,
                    upstream=upstream,
                    registry=registry,
                    physics=physics,
                    records=records,
                    ended=ended,
                )
                yield proxy


@asynccontextmanager
async def _listening(app: ASGIApp, acceptor: Acceptor) -> AsyncIterator[int]:
    """Serve without uvicorn's signal handlers and its ticking."""
    config = uvicorn.Config(app, log_config=None, access_log=False, ws="none")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: acceptor(config, state, {}), "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
        acceptor.end()
        for task in list(state.tasks):
            task.cancel()
        await asyncio.gather(*state.tasks, return_exceptions=True)
        logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
