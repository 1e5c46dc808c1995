"""The OpenAI-compatible edge: data path, connections to endpoints, metrics."""

from proxy.acceptor import Acceptor
from proxy.access import Access, KeyRing, read_keys
from proxy.app import Lifespan, ProxyApp
from proxy.cache_collector import CacheCollector
from proxy.cache_metrics import CacheMetrics
from proxy.connection import OutgoingRequest
from proxy.discovery_metrics import DiscoveryMetrics
from proxy.errors import (
    BadHeader,
    BadRequest,
    BodyTooLarge,
    KeysUnusable,
    ProxyError,
    UnknownPath,
    UpstreamBroken,
    UpstreamError,
    UpstreamSilent,
    UpstreamUnreachable,
)
from proxy.fleet_metrics import FleetCollector, LogCollector
from proxy.gate import ADMITTED, Admission, Gate, Passed, Serving, Tap
from proxy.guard import Guard
from proxy.guard_metrics import ResponseCacheCollector
from proxy.history import History
from proxy.http_request import RequestHead
from proxy.metrics import ProxyMetrics
from proxy.metrics_page import Encoding, page_of, page_with
from proxy.model_metrics import ModelMetrics
from proxy.outlook_metrics import OutlookCollector
from proxy.process_metrics import publish_build
from proxy.queue_metrics import CapacityCollector, QueueCollector
from proxy.relay import Relay
from proxy.reply import Reply, ReplyHead
from proxy.request_log import RequestLog, log_request
from proxy.server import build_server
from proxy.settings import ProxySettings, TracingSettings, UpstreamSettings
from proxy.sinks import Sink
from proxy.stalls import StallWatch
from proxy.standby_metrics import StandbyCollector
from proxy.tls import endpoint_tls
from proxy.trace_context import Tracer
from proxy.upstream import Upstream
from proxy.upstream_response import UpstreamResponse

__all__ = [
    "ADMITTED",
    "Acceptor",
    "Access",
    "Admission",
    "BadHeader",
    "BadRequest",
    "BodyTooLarge",
    "CacheCollector",
    "CacheMetrics",
    "CapacityCollector",
    "DiscoveryMetrics",
    "Encoding",
    "FleetCollector",
    "Gate",
    "Guard",
    "History",
    "KeyRing",
    "KeysUnusable",
    "Lifespan",
    "LogCollector",
    "ModelMetrics",
    "OutgoingRequest",
    "OutlookCollector",
    "Passed",
    "ProxyApp",
    "ProxyError",
    "ProxyMetrics",
    "ProxySettings",
    "QueueCollector",
    "Relay",
    "Reply",
    "ReplyHead",
    "RequestHead",
    "RequestLog",
    "ResponseCacheCollector",
    "Serving",
    "Sink",
    "StallWatch",
    "StandbyCollector",
    "Tap",
    "Tracer",
    "TracingSettings",
    "UnknownPath",
    "Upstream",
    "UpstreamBroken",
    "UpstreamError",
    "UpstreamResponse",
    "UpstreamSettings",
    "UpstreamSilent",
    "UpstreamUnreachable",
    "build_server",
    "endpoint_tls",
    "log_request",
    "page_of",
    "page_with",
    "publish_build",
    "read_keys",
]
