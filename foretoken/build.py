"""The composition root: the one place that constructs long-lived objects."""

import asyncio
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from collectors import (
    TokenizerUnusable,
    Tokens,
    TraceRecorder,
    open_scrape_client,
)
from foretoken.clock import unix_clock
from foretoken.control import ServicePlane
from foretoken.entrance import Entrance, Inside, build_relay, keys_of
from foretoken.errors import ConfigurationInvalid
from foretoken.log_lines import LogLines
from foretoken.model_updates import ModelUpdates
from foretoken.predictor_host import PredictorHost
from foretoken.predictor_service import PredictorService
from foretoken.published import publish_fleet, publish_process
from foretoken.rehearsal import prepare_kernels
from foretoken.scratch import Scratch
from foretoken.service import Service
from foretoken.settings import ConfigFile, Settings
from foretoken.stores import stored_fleets
from foretoken.tracing import open_tracing
from foretoken.trainer import Trainer
from foretoken.watched import watch
from models_store import ModelsStore, Place
from predictor import LatencyPredictor, OutputLengths
from proxy import (
    Access,
    CacheMetrics,
    Encoding,
    History,
    LogCollector,
    ProxyApp,
    ProxyMetrics,
    Relay,
    RequestLog,
    Sink,
    Upstream,
    endpoint_tls,
    log_request,
)
from proxy.control import (
    AdminGate,
    build_control,
    build_predictor_app,
    guards_reads,
    is_loopback,
)
from proxy.control.page_views import Snapshots
from scheduler import Fleet, Scheduler, policies_of

if TYPE_CHECKING:  # one process alone loads nothing of what several need
    from foretoken.peer import Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Hold what :func:`build` made.

    Attributes:
        app: The ASGI application; its lifespan runs the service.
        service: What runs behind it.
        relay: Serves what comes over HTTP, ``None`` where requests come by Envoy.
        closing: Set it when shutdown begins; ends the live page's streams.
        registry: What its metrics page shows.
    """

    app: ProxyApp
    service: Service
    relay: Relay | None
    closing: asyncio.Event
    registry: CollectorRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPredictor:
    """Hold what :func:`build_predictor` made; the fields mean what those of `Built` do."""

    app: ASGIApp
    service: PredictorService
    closing: asyncio.Event


def build(
    settings: Settings,
    config: ConfigFile | None = None,
    log_lines: LogLines | None = None,
    *,
    member: "Peer | None" = None,
    make_entrance: Callable[[Inside], Entrance] = build_relay,
) -> Built:
    """Construct the whole service; nothing runs until the app's lifespan starts.

    Args:
        settings: What to build.
        config: Where they were read from, ``None`` when there is nothing to reload.
        log_lines: Where requests are logged as JSON; ``None``: as records, like all else.
        member: Connects it with other processes that place requests on the same endpoints,
            ``None`` where it is the only one.
        make_entrance: Makes what requests come by.

    Raises:
        ConfigurationInvalid: No endpoint is configured nor any discovery, or a file that is
            cannot be used.
        ExtraMissing: A source of discovery needs a package that is not installed.
    """
    if not (settings.endpoints or settings.discovery):
        hint = "give --endpoint URL, [[endpoints]] url = ..., or [[discovery]] kind = ..."
        raise ConfigurationInvalid("endpoints", (hint,))
    tls = _tls(settings)
    prepare_kernels()
    clock = unix_clock() if member is None else member.clock
    registry = CollectorRegistry()
    metrics = ProxyMetrics(registry, settings.scheduler)
    scratch = Scratch()
    store_dir = settings.store_dir or Path(scratch.name)
    store = ModelsStore(store_dir)
    models = ModelUpdates(store, metrics.models)
    make_predictor = LatencyPredictor if member is None else member.predictor

    def make_fleet(model: str) -> Fleet:
        predictor = make_predictor(settings.predictor)
        models.adopt(model, predictor)
        # A fleet may show up after a reload.
        policy, fallback = policies_of(service.settings.scheduler, model)
        return Fleet(
            model=model,
            policy=policy,
            fallback=fallback,
            predictor=predictor,
            output_lengths=OutputLengths(settings.predictor.output_length),
        )

    if member is None:
        rng = random.Random(settings.seed)
        scheduler = Scheduler(settings=settings.scheduler, make_fleet=make_fleet, rng=rng)
    else:
        scheduler = member.scheduler(settings, make_fleet)
    publish_fleet(registry, scheduler, clock)
    cache_metrics = CacheMetrics(registry)
    history = History(
        requests=settings.control.history_requests, seconds=settings.control.history_s
    )
    upstream = Upstream(settings.proxy.upstream)
    client = open_scrape_client(settings.scrape, tls)
    access = Access(keys_of(settings))
    tracing = open_tracing(settings.tracing, registry)
    entrance = make_entrance(
        Inside(
            scheduler=scheduler,
            upstream=upstream,
            settings=settings,
            access=access,
            metrics=metrics,
            registry=registry,
            sinks=(
                metrics.observe,
                cache_metrics.observe,
                _request_log(log_lines, registry),
                history.add,
                lambda record: service.on_record(record),  # noqa: PLW0108  # bound below
                *tracing.sinks,
            ),
            clock=clock,
            tokens=_tokens(settings, client, scheduler, cache_metrics),
            tracer=tracing.tracer,
        )
    )
    trainer = _trainer(
        settings,
        store_dir,
        lambda report: service.on_report(report),  # noqa: PLW0108  # bound below
        member,
    )
    publish_process(registry, trainer, alone=member is None or member.worker is None, member=member)
    host = _host(settings, clock, models, metrics, trainer)
    host.adopt_stored({settings.control.predictor.llmd_model}.intersection(stored_fleets(store)))
    watched = watch(
        settings,
        tls=tls,
        client=client,
        scheduler=scheduler,
        upstream=upstream,
        guard=entrance.guard,
        objection=entrance.objection,
        clock=clock,
        on_states=lambda states: (member or service).on_states(states),  # noqa: PLW0108  # bound
        metrics=metrics,
        cache_metrics=cache_metrics,
        registry=registry,
    )
    service = Service(
        settings=settings,
        config=config,
        clock=clock,
        scheduler=scheduler,
        relay=entrance.path,
        entrance=entrance.serving,
        upstream=upstream,
        access=access,
        guard=entrance.guard,
        stalls=entrance.stalls,
        watched=watched,
        found=None if member is None else member.on_found,
        metrics=metrics,
        cache_metrics=cache_metrics,
        models=models,
        history=history,
        learner=host.learner,
        trainer=trainer,
        recorder=_recorder(settings, member),
        log_lines=log_lines,
        exporting=tracing.exporting,
        scratch=scratch,
        arrange=list if member is None else member.arrange,
        on_drain=_keep_drain if member is None else member.on_drain,
    )
    closing = asyncio.Event()
    control, page = _control(service, host, settings, closing, member)
    app = ProxyApp(
        scheduler=scheduler,
        registry=registry,
        lifespan=service.running,
        access=access,
        control=control,
        page=page,
    )
    return Built(app=app, service=service, relay=entrance.relay, closing=closing, registry=registry)


def _control(
    service: Service,
    host: PredictorHost,
    settings: Settings,
    closing: asyncio.Event,
    member: "Peer | None",
) -> tuple[ASGIApp, Callable[[Encoding], Awaitable[bytes]] | None]:
    """Make the control plane, and the page of ``/metrics`` where all workers make it."""
    plane = ServicePlane(service, None if member is None else member.outside)
    beyond = not is_loopback(settings.proxy.host)
    control: ASGIApp = build_control(
        plane,
        closing=closing,
        settings=settings.control,
        predictors=host,
        access=service.access,
        listens_beyond=beyond,
    )
    if member is None:
        return control, None
    snapshots = Snapshots(plane, interval_s=settings.control.snapshot_interval_s)
    member.hold(
        service,
        control=control,
        page=host.metrics,
        snapshot=lambda since_s: snapshots.since(since_s).model_dump_json().encode(),
    )
    whole = member.control(control, settings=settings, closing=closing)
    if whole is None:
        return control, None
    # What is made of all workers' answers never passes the gate of our own.
    guarded = guards_reads(settings.control, listens_beyond=beyond)
    return AdminGate(whole, service.access, guarded=guarded), whole.metrics


def build_predictor(settings: Settings) -> BuiltPredictor:
    """Construct the predictor's API alone; nothing runs until the app's lifespan starts."""
    clock = unix_clock()
    metrics = ProxyMetrics(CollectorRegistry(), settings.scheduler)
    scratch = Scratch()
    store_dir = settings.store_dir or Path(scratch.name)
    store = ModelsStore(store_dir)
    models = ModelUpdates(store, metrics.models)
    trainer = _trainer(
        settings,
        store_dir,
        lambda report: service.on_report(report),  # noqa: PLW0108  # bound below
    )
    publish_process(metrics.registry, trainer)
    host = _host(settings, clock, models, metrics, trainer)
    service = PredictorService(
        clock=clock,
        host=host,
        models=models,
        store=store,
        metrics=metrics,
        trainer=trainer,
        scratch=scratch,
    )
    app = build_predictor_app(host, settings.control, lifespan=service.running)
    return BuiltPredictor(app=app, service=service, closing=asyncio.Event())


def _tls(settings: Settings) -> ssl.SSLContext:
    try:
        return endpoint_tls(settings.proxy.upstream)
    except OSError as error:
        raise ConfigurationInvalid("proxy.upstream.ca_file", (str(error),)) from error


def _host(
    settings: Settings,
    clock: Callable[[], float],
    models: ModelUpdates,
    metrics: ProxyMetrics,
    trainer: Trainer | None,
) -> PredictorHost:
    return PredictorHost(
        settings=settings.control.predictor,
        predictor=settings.predictor,
        models=models,
        clock=clock,
        feed=_drop if trainer is None else trainer.feed,
        forget=_drop if trainer is None else trainer.forget,
        trainer_alive=lambda: None if trainer is None or trainer.elsewhere else trainer.alive,
        registry=metrics.registry,
        refused=lambda reason: metrics.models.refused_observations.labels(reason).inc(),
    )


def _tokens(
    settings: Settings, client: httpx.AsyncClient, scheduler: Scheduler, metrics: CacheMetrics
) -> Tokens:
    def endpoints(model: str) -> list[str]:
        """Give those that are up, the least busy first: tokenizing takes their processor."""
        serving = [
            state
            for state in scheduler.states.values()
            if state.up and (not model or model == state.model or model in state.adapters)
        ]
        serving.sort(key=lambda state: (state.draining, state.running_requests or 0.0))
        return [state.url for state in serving]

    try:
        return Tokens(settings.tokens, client=client, endpoints=endpoints, counts=metrics)
    except TokenizerUnusable as error:
        raise ConfigurationInvalid("tokens.files", (str(error),)) from error


def _request_log(lines: LogLines | None, registry: CollectorRegistry) -> Sink:
    registry.register(LogCollector(lambda: 0 if lines is None else lines.dropped))
    if lines is None:
        return log_request
    return RequestLog(lines.append).add


def _keep_drain(endpoint: str, *, draining: bool) -> None:
    """Tell nobody that an endpoint is drained: there is no other router."""


def _drop(_: object) -> None:
    """Take what no trainer is there to take."""


def _trainer(
    settings: Settings,
    store_dir: Place,
    on_report: Callable[..., None],
    member: "Peer | None" = None,
) -> Trainer | None:
    if not settings.trainer.enabled:
        return None
    if member is not None:
        return member.trainer(settings, store_dir, on_report)
    return Trainer(
        settings=settings.trainer,
        predictor=settings.predictor,
        store_dir=store_dir,
        keep=settings.store.keep,
        on_report=on_report,
    )


def _recorder(settings: Settings, member: "Peer | None") -> TraceRecorder | None:
    if settings.trace_dir is None:
        return None
    return TraceRecorder(
        settings.trace_dir,
        settings.traces,
        epoch_offset_s=0.0,
        wall_clock=time.time,
        writer=None if member is None or member.worker is None else f"w{member.worker}",
    )
