"""Everything that comes in from outside: scrapes, token streams, traces."""

from collectors.endpoint import EndpointView
from collectors.errors import (
    CollectorsError,
    KvEventsUnreadable,
    PackageNeeded,
    ScrapeFailed,
    ScrapeFailure,
    TokenizerUnusable,
    TraceUnreadable,
    UnknownEndpoint,
)
from collectors.kv_events import FeedCounts, KvEventFeeds
from collectors.metrics_page import MetricsPage, parse_metrics
from collectors.page_reader import PageReader
from collectors.scraper import Pages, ScrapeCounts, Scraper, open_scrape_client
from collectors.settings import (
    EndpointSettings,
    KvEventSettings,
    KvEventSource,
    ScrapeSettings,
    TokenSettings,
    TraceSettings,
)
from collectors.stream import StreamKind, StreamObserver
from collectors.tokens import TokenCounts, Tokens
from collectors.trace import TraceCounts, TraceRecorder
from collectors.trace_reader import TraceProblem, read_observations, read_traces
from collectors.trace_row import TraceRow
from collectors.trace_schema import TRACE_SCHEMA
from collectors.usage import UNKNOWN_USAGE, Usage, read_usage

__all__ = [
    "TRACE_SCHEMA",
    "UNKNOWN_USAGE",
    "CollectorsError",
    "EndpointSettings",
    "EndpointView",
    "FeedCounts",
    "KvEventFeeds",
    "KvEventSettings",
    "KvEventSource",
    "KvEventsUnreadable",
    "MetricsPage",
    "PackageNeeded",
    "PageReader",
    "Pages",
    "ScrapeCounts",
    "ScrapeFailed",
    "ScrapeFailure",
    "ScrapeSettings",
    "Scraper",
    "StreamKind",
    "StreamObserver",
    "TokenCounts",
    "TokenSettings",
    "TokenizerUnusable",
    "Tokens",
    "TraceCounts",
    "TraceProblem",
    "TraceRecorder",
    "TraceRow",
    "TraceSettings",
    "TraceUnreadable",
    "UnknownEndpoint",
    "Usage",
    "open_scrape_client",
    "parse_metrics",
    "read_observations",
    "read_traces",
    "read_usage",
]
