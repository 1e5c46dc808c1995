"""The composition root: the one place that constructs long-lived objects."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from collectors import (
    KvEventFeeds,
    Scraper,
    TokenizerUnusable,
    Tokens,
    TraceRecorder,
    open_scrape_client,
)
from foretoken.control import ServicePlane
from foretoken.errors import ConfigurationInvalid
from foretoken.model_updates import ModelUpdates
from foretoken.predictor_host import PredictorHost
from foretoken.predictor_service import PredictorService
from foretoken.service import Service
from foretoken.settings import ConfigFile, Settings
from foretoken.trainer import Trainer
from models_store import ModelsStore
from predictor import LatencyPredictor, OutputLengths, compile_kernels
from proxy import (
    CacheCollector,
    CacheMetrics,
    FleetCollector,
    History,
    ProxyApp,
    ProxyMetrics,
    Relay,
    Upstream,
    log_request,
)
from proxy.control import build_control, build_predictor_app
from scheduler import Fleet, Scheduler, policies_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Hold what :func:`build` made.

    Attributes:
        app: The ASGI application; its lifespan runs the service.
        service: What runs behind it.
        closing: Set it when shutdown begins; ends the live page's streams.
    """

    app: ProxyApp
    service: Service
    closing: asyncio.Event


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPredictor:
    """Hold what :func:`build_predictor` made; the fields mean what those of `Built` do."""

    app: ASGIApp
    service: PredictorService
    closing: asyncio.Event


def build(settings: Settings, config: ConfigFile | None = None) -> Built:
    """Construct the whole service; nothing runs until the app's lifespan starts.

    Args:
        settings: What to build.
        config: Where they were read from, ``None`` when there is nothing to reload.

    Raises:
        ConfigurationInvalid: No endpoint is configured.
    """
    if not settings.endpoints:
        raise ConfigurationInvalid("endpoints", ("give --endpoint URL or [[endpoints]] url = ...",))
    compile_kernels()
    clock = unix_clock()
    registry = CollectorRegistry()
    metrics = ProxyMetrics(registry, settings.scheduler)
    scratch = TemporaryDirectory(prefix="foretoken-")
    store_dir = settings.store_dir or Path(scratch.name)
    store = ModelsStore(store_dir)
    models = ModelUpdates(store, metrics.models)

    def make_fleet(model: str) -> Fleet:
        predictor = LatencyPredictor(settings.predictor)
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

    scheduler = Scheduler(
        settings=settings.scheduler, make_fleet=make_fleet, rng=random.Random(settings.seed)
    )
    registry.register(FleetCollector(scheduler, clock))
    registry.register(CacheCollector(scheduler))
    cache_metrics = CacheMetrics(registry)
    history = History(
        requests=settings.control.history_requests, seconds=settings.control.history_s
    )
    upstream = Upstream(settings.proxy.upstream)
    client = open_scrape_client(settings.scrape)
    relay = Relay(
        scheduler=scheduler,
        upstream=upstream,
        settings=settings.proxy,
        metrics=metrics,
        sinks=(
            metrics.observe,
            cache_metrics.observe,
            log_request,
            history.add,
            lambda record: service.on_record(record),  # noqa: PLW0108  # bound below
        ),
        clock=clock,
        tokens=_tokens(settings, client, scheduler, cache_metrics),
    )
    trainer = _trainer(
        settings,
        store_dir,
        lambda report: service.on_report(report),  # noqa: PLW0108  # bound below
    )
    host = _host(settings, clock, models, metrics, trainer)
    host.adopt_stored({settings.control.predictor.llmd_model}.intersection(store.fleets()))
    service = Service(
        settings=settings,
        config=config,
        clock=clock,
        scheduler=scheduler,
        relay=relay,
        upstream=upstream,
        scraper=Scraper(
            settings.endpoints,
            settings.scrape,
            client=client,
            clock=clock,
            on_states=lambda states: service.on_states(states),  # noqa: PLW0108  # bound below
            counts=metrics.scrapes,
        ),
        scrape_client=client,
        feeds=KvEventFeeds(
            settings.endpoints,
            settings.kv_events,
            listener=scheduler.caches,
            counts=cache_metrics,
        ),
        metrics=metrics,
        cache_metrics=cache_metrics,
        models=models,
        history=history,
        learner=host.learner,
        trainer=trainer,
        recorder=_recorder(settings),
        scratch=scratch,
    )
    closing = asyncio.Event()
    app = ProxyApp(
        relay=relay,
        scheduler=scheduler,
        registry=registry,
        lifespan=service.running,
        control=build_control(
            ServicePlane(service), closing=closing, settings=settings.control, predictors=host
        ),
    )
    return Built(app=app, service=service, closing=closing)


def build_predictor(settings: Settings) -> BuiltPredictor:
    """Construct the predictor's API alone; nothing runs until the app's lifespan starts."""
    clock = unix_clock()
    metrics = ProxyMetrics(CollectorRegistry(), settings.scheduler)
    scratch = TemporaryDirectory(prefix="foretoken-")
    store_dir = settings.store_dir or Path(scratch.name)
    store = ModelsStore(store_dir)
    models = ModelUpdates(store, metrics.models)
    trainer = _trainer(
        settings,
        store_dir,
        lambda report: service.on_report(report),  # noqa: PLW0108  # bound below
    )
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
        trainer_alive=lambda: trainer is not None and trainer.alive,
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


def _drop(_: object) -> None:
    """Take what no trainer is there to take."""


def unix_clock() -> Callable[[], float]:
    """Make a monotonic clock that reads Unix time as of its making."""
    offset_s = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset_s


def _trainer(settings: Settings, store_dir: Path, on_report: Callable[..., None]) -> Trainer | None:
    if not settings.trainer.enabled:
        return None
    return Trainer(
        settings=settings.trainer,
        predictor=settings.predictor,
        store_dir=store_dir,
        keep=settings.store.keep,
        on_report=on_report,
    )


def _recorder(settings: Settings) -> TraceRecorder | None:
    if settings.trace_dir is None:
        return None
    return TraceRecorder(
        settings.trace_dir, settings.traces, epoch_offset_s=0.0, wall_clock=time.time
    )
