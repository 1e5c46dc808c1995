"""Distributed tracing as it is configured: what begins traces, and what sends their spans.

Loads OpenTelemetry only where tracing is on, and says what to install where it is missing.
"""

import logging
import os
import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from prometheus_client import CollectorRegistry

from foretoken.errors import ConfigurationInvalid
from proxy import Sink, TracingSettings
from proxy.trace_context import Tracer
from proxy.trace_metrics import TraceCollector, TraceCounts

_TRACES_PATH: Final = "/v1/traces"
_RESTORE: Final = "pip install --force-reinstall --no-deps opentelemetry-proto"
_UNNAMED: Final = "unknown_service"  # what the SDK calls a service that nobody has named


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """Hold what tracing adds to the service.

    Attributes:
        tracer: Gives requests their place in a trace, ``None`` where tracing is off.
        sinks: Take finished requests.
        exporting: Entered before the first request, left after the last.
    """

    tracer: Tracer | None = None
    sinks: Sequence[Sink] = ()
    exporting: AbstractAsyncContextManager[None]


def open_tracing(settings: TracingSettings, registry: CollectorRegistry) -> Tracing:
    """Build what is configured; nothing is sent until it is entered.

    Raises:
        ConfigurationInvalid: The extra is missing, or the environment asks for a sampler
            that is none.
    """
    counts = TraceCounts()
    registry.register(TraceCollector(counts))
    if not settings.on:
        return Tracing(exporting=nullcontext())
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415  # optional
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415  # as above

        from proxy.tracing.export import SpanExport  # noqa: PLC0415  # as above
    except ModuleNotFoundError as error:
        advice = "tracing needs more: pip install 'foretoken[tracing]'"
        raise ConfigurationInvalid("tracing.enabled", (advice,)) from error
    except ImportError as error:  # xds-protos, of the picker's extra, has put older ones there
        advice = "OpenTelemetry's definitions were overwritten: " + _RESTORE
        raise ConfigurationInvalid("tracing.enabled", (advice,)) from error
    # It says of each try that failed what we say once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    attributes = {"service.version": version("foretoken"), "service.instance.id": str(os.getpid())}
    resource = Resource.create(attributes)
    named = str(resource.attributes.get("service.name", _UNNAMED))
    if settings.service_name is not None or named.startswith(_UNNAMED):
        name = settings.service_name or "foretoken"
        resource = resource.merge(Resource({"service.name": name}))
    export = SpanExport(
        OTLPSpanExporter(endpoint=_traces_url(settings.endpoint)),
        resource,
        most_waiting=settings.max_waiting_requests,
        counts=counts,
    )
    return Tracing(
        tracer=Tracer(random.Random(), _ratio(settings)),
        sinks=(export.add,),
        exporting=export.running(),
    )


def _ratio(settings: TracingSettings) -> float:
    try:
        return settings.ratio
    except ValueError as error:
        raise ConfigurationInvalid("environment", (str(error),)) from error


def _traces_url(endpoint: str | None) -> str | None:
    """Give the URL that spans are sent to, ``None``: as the environment says.

    >>> _traces_url("http://collector:4318"), _traces_url("http://collector/otlp/v1/traces")
    ('http://collector:4318/v1/traces', 'http://collector/otlp/v1/traces')
    """
    if endpoint is None or endpoint.endswith(_TRACES_PATH):
        return endpoint
    return endpoint.rstrip("/") + _TRACES_PATH
