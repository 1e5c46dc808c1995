"""What requests come in by, and what that stands on.

The proxy's entrance is the application itself; :mod:`foretoken.picker` makes another, for
Envoy. Made by :func:`foretoken.build.build`.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from collectors import Tokens
from foretoken.errors import ConfigurationInvalid
from foretoken.membership import Objection, no_objection
from foretoken.service import DataPath
from foretoken.settings import Settings
from proxy import (
    Access,
    Guard,
    KeyRing,
    KeysUnusable,
    ProxyMetrics,
    Relay,
    ResponseCacheCollector,
    Sink,
    StallWatch,
    Tracer,
    Upstream,
    read_keys,
)
from scheduler import Scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """Hold what a data path stands on.

    Attributes:
        scheduler: Places requests.
        upstream: Reaches endpoints.
        settings: Everything that is set.
        access: Knows callers by their keys.
        metrics: Told of what no record tells.
        registry: What ``/metrics`` shows.
        sinks: Take every finished request's record.
        clock: The scheduler's.
        tokens: Asked for the tokens of prompts.
        tracer: Gives requests their place in a trace, ``None`` where none are made.
    """

    scheduler: Scheduler
    upstream: Upstream
    settings: Settings
    access: Access
    metrics: ProxyMetrics
    registry: CollectorRegistry
    sinks: Sequence[Sink]
    clock: Callable[[], float]
    tokens: Tokens
    tracer: Tracer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """Hold what requests come by.

    Attributes:
        path: Serves them.
        serving: Entered when all else runs, left before the rest ends.
        relay: The same as ``path`` where requests come over HTTP.
        guard: Stands before the relay, ``None`` where Envoy is the data path.
        stalls: Looks for endpoints that fall silent, likewise.
        objection: Says why an endpoint cannot be served by it, ``None`` where it can.
    """

    path: DataPath
    serving: AbstractAsyncContextManager[object]
    relay: Relay | None = None
    guard: Guard | None = None
    stalls: StallWatch | None = None
    objection: Objection = no_objection


def build_relay(inside: Inside) -> Entrance:
    """Make the entrance of the proxy: requests come by the application itself."""
    settings = inside.settings.proxy
    guard = Guard(
        settings,
        access=inside.access,
        scheduler=inside.scheduler,
        clock=inside.clock,
        sinks=inside.sinks,
        host=lambda: relay,
    )
    inside.registry.register(ResponseCacheCollector(guard.cache))
    relay = Relay(
        scheduler=inside.scheduler,
        upstream=inside.upstream,
        settings=settings,
        metrics=inside.metrics,
        sinks=(guard.observe, *inside.sinks),
        clock=inside.clock,
        gate=guard,
        tracer=inside.tracer,
        tokens=inside.tokens,
    )
    stalls = StallWatch(relay, inside.scheduler, settings.stalls, inside.clock)
    return Entrance(path=relay, serving=nullcontext(), relay=relay, guard=guard, stalls=stalls)


def keys_of(settings: Settings) -> KeyRing:
    """Read the API keys that the settings name.

    Raises:
        ConfigurationInvalid: They cannot be used.
    """
    access = settings.proxy.access
    try:
        return read_keys(access.keys_file, access.environment)
    except KeysUnusable as error:
        raise ConfigurationInvalid("proxy.access", (str(error),)) from error
