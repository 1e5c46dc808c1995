"""The OpenAI-compatible edge: data path, connections to endpoints, metrics."""

from proxy.app import Lifespan, ProxyApp
from proxy.cache_metrics import CacheCollector, CacheMetrics
from proxy.connection import OutgoingRequest, UpstreamResponse
from proxy.errors import (
    BadHeader,
    BadRequest,
    BodyTooLarge,
    ProxyError,
    UnknownPath,
    UpstreamBroken,
    UpstreamError,
    UpstreamSilent,
    UpstreamUnreachable,
)
from proxy.fleet_metrics import FleetCollector, LogCollector, ModelMetrics
from proxy.history import History
from proxy.metrics import ProxyMetrics
from proxy.relay import Relay, Sink
from proxy.request_log import RequestLog, log_request
from proxy.server import build_server
from proxy.settings import ProxySettings, UpstreamSettings
from proxy.upstream import Upstream

__all__ = [
    "BadHeader",
    "BadRequest",
    "BodyTooLarge",
    "CacheCollector",
    "CacheMetrics",
    "FleetCollector",
    "History",
    "Lifespan",
    "LogCollector",
    "ModelMetrics",
    "OutgoingRequest",
    "ProxyApp",
    "ProxyError",
    "ProxyMetrics",
    "ProxySettings",
    "Relay",
    "RequestLog",
    "Sink",
    "UnknownPath",
    "Upstream",
    "UpstreamBroken",
    "UpstreamError",
    "UpstreamResponse",
    "UpstreamSettings",
    "UpstreamSilent",
    "UpstreamUnreachable",
    "build_server",
    "log_request",
]
