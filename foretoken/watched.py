"""What watches the fleet: who belongs to it, how each is, what each announces.

Made by :func:`foretoken.build.build`.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx
from prometheus_client import CollectorRegistry

from collectors import KvEventFeeds, PackageNeeded, PageReader, Scraper
from collectors.discovery import Source, open_sources
from foretoken.errors import ExtraMissing
from foretoken.membership import Membership, Objection
from foretoken.settings import Settings
from predictor.types import EndpointState
from proxy import CacheMetrics, DiscoveryMetrics, Guard, ProxyMetrics, Upstream
from scheduler import Scheduler


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Hold what watches the fleet.

    Attributes:
        client: Asks endpoints for names and health.
        scraper: Reads their pages.
        feeds: Follows what they announce of their caches.
        sources: Tell who there is, by their names.
        membership: Knows who belongs.
    """

    client: httpx.AsyncClient
    scraper: Scraper
    feeds: KvEventFeeds
    sources: Mapping[str, Source]
    membership: Membership


def watch(
    settings: Settings,
    *,
    tls: ssl.SSLContext,
    client: httpx.AsyncClient,
    scheduler: Scheduler,
    upstream: Upstream,
    guard: Guard | None,
    objection: Objection,
    clock: Callable[[], float],
    on_states: Callable[[tuple[EndpointState, ...]], None],
    metrics: ProxyMetrics,
    cache_metrics: CacheMetrics,
    registry: CollectorRegistry,
) -> Watched:
    """Make what watches the fleet.

    Raises:
        ExtraMissing: A source of discovery needs a package that is not installed.
    """
    scraper = Scraper(
        settings.endpoints,
        settings.scrape,
        client=client,
        pages=PageReader(settings.scrape, tls),
        clock=clock,
        on_states=on_states,
        counts=metrics.scrapes,
    )
    feeds = KvEventFeeds(
        settings.endpoints, settings.kv_events, listener=scheduler.caches, counts=cache_metrics
    )
    counts = DiscoveryMetrics(registry, clock, [one.name for one in settings.discovery])
    try:
        sources = open_sources(settings.discovery, counts)
    except PackageNeeded as error:
        raise ExtraMissing(str(error)) from error
    membership = Membership(
        settings.endpoints,
        sources=sources,
        counted=counts.found,
        scraper=scraper,
        feeds=feeds,
        upstream=upstream,
        guard=guard,
        bookings=scheduler,
        clock=clock,
        leave_s=settings.leave_s,
        objection=objection,
    )
    return Watched(
        client=client, scraper=scraper, feeds=feeds, sources=sources, membership=membership
    )
