"""The spans of one finished request, made of its record.

One span for the request, as its client felt it; below it ``schedule`` (until it could be
placed), ``queue`` (each wait for its turn), ``upstream`` (each dispatch), and below the last
of these ``first_token``. Attributes are those of OpenTelemetry's semantic conventions 1.44
(HTTP, and GenAI, which is in development) where one says it, else ``foretoken.*``. Counts,
times and names only, never text of a prompt or an answer.
"""

from collections.abc import Iterator
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from predictor.types import FailedDispatch, RequestRecord, TraceContext
from proxy.trace_context import upstream_id

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"
SCOPE: Final = InstrumentationScope("foretoken", schema_url=SCHEMA_URL)

# gen_ai.operation.name by path, as the conventions spell them.
_OPERATIONS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/responses": "chat",
    "/v1/messages": "chat",
}
_FAILED: Final = frozenset({"upstream_error", "cut", "shed", "shutdown"})
# Ids of the spans beside those of dispatches, counted from the request's own.
_SCHEDULE, _FIRST_TOKEN, _QUEUE = 1001, 1002, 1003

Attributes = dict[str, str | bool | int | float]


def spans_of(record: RequestRecord, resource: Resource) -> list[ReadableSpan]:
    """Make the spans of a request, none for one without a place in a trace.

    Args:
        record: Its times are Unix time.
        resource: Who says so.
    """
    trace = record.request.trace
    if trace is None:
        return []
    making = _Making(trace, resource)
    request, measured = record.request, record.measurement
    operation = _OPERATIONS.get(trace.path)
    root = making.span(
        _name(record, trace, operation),
        span_id=trace.span_id,
        parent_id=trace.parent_id,
        interval_s=(request.arrived_s, record.finished_s),
        kind=SpanKind.SERVER,
        attributes=_of_request(record, trace, operation),
        error=record.refused or (measured.outcome if measured.outcome in _FAILED else None),
    )
    return [root, *_waits(record, making), *_dispatches(record, making)]


def _name(record: RequestRecord, trace: TraceContext, operation: str | None) -> str:
    """Name the request's span out of few words: no path, and no model, that clients made up."""
    if operation is None:
        return trace.method
    return operation if record.fleet is None else f"{operation} {record.request.model}"


class _Making:
    """Make spans of one request.

    Attributes:
        trace: Its place.
        root_id: Of the request's own span.
    """

    def __init__(self, trace: TraceContext, resource: Resource) -> None:
        self.trace = trace
        self.root_id = trace.span_id
        self._trace_id = int(trace.trace_id, 16)
        self._resource = resource
        self._flags = TraceFlags(TraceFlags.SAMPLED if trace.sampled else TraceFlags.DEFAULT)
        self._state = TraceState.from_header([trace.state]) if trace.state else TraceState()

    def span(
        self,
        name: str,
        *,
        span_id: int,
        parent_id: int | None,
        interval_s: tuple[float, float],
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes | None = None,
        error: str | None = None,
    ) -> ReadableSpan:
        """Make one; ``error`` says what went wrong, in a word."""
        told = dict(attributes or {})
        if error is not None:
            told["error.type"] = error
        began_s, ended_s = interval_s
        return ReadableSpan(
            name,
            context=self._context(span_id, remote=False),
            parent=None
            if parent_id is None
            else self._context(parent_id, remote=span_id == self.root_id),
            resource=self._resource,
            attributes=told,
            kind=kind,
            status=Status(StatusCode.UNSET if error is None else StatusCode.ERROR),
            start_time=_ns(began_s),
            end_time=_ns(max(began_s, ended_s)),
            instrumentation_scope=SCOPE,
        )

    def _context(self, span_id: int, *, remote: bool) -> SpanContext:
        return SpanContext(self._trace_id, span_id, remote, self._flags, self._state)


def _of_request(record: RequestRecord, trace: TraceContext, operation: str | None) -> Attributes:
    request, measured, decision = record.request, record.measurement, record.decision
    said = None if decision is None else decision.predictions
    return _known(
        {
            "http.request.method": trace.method,
            "url.path": trace.path,
            "http.response.status_code": measured.status,
            "gen_ai.operation.name": operation,
            "gen_ai.request.model": request.model,
            "gen_ai.request.max_tokens": request.max_tokens,
            "gen_ai.request.stream": request.streamed,
            "gen_ai.usage.input_tokens": measured.prompt_tokens,
            "gen_ai.usage.output_tokens": measured.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": measured.cached_tokens,
            "gen_ai.response.time_to_first_chunk": record.ttft_s,
            "foretoken.request_id": request.request_id,
            "foretoken.outcome": measured.outcome,
            "foretoken.fleet": record.fleet,
            "foretoken.endpoint": record.endpoint,
            "foretoken.tier": request.tier,
            "foretoken.attempts": record.attempts,
            "foretoken.queued_s": record.queued_s,
            "foretoken.waited_for": record.waited_for,
            "foretoken.refused": record.refused,
            "foretoken.answered": record.answered,
            "foretoken.policy": None if decision is None else decision.policy,
            "foretoken.reason": None if decision is None else decision.reason,
            "foretoken.layer": None if said is None else said.layer,
            "foretoken.model_version": None if said is None else said.version,
            "foretoken.predicted_upstream_ttft_s": _at(record, 0),
            "foretoken.upstream_ttft_s": record.upstream_ttft_s,
            "foretoken.predicted_tpot_s": _at(record, 1),
            "foretoken.tpot_s": record.tpot_s,
        }
    )


def _waits(record: RequestRecord, making: _Making) -> Iterator[ReadableSpan]:
    """Tell of the time before each dispatch: until it could be placed, and for its turn.

    The record has the sum of the waits; the last moments before a dispatch, back to when
    the request came or its last endpoint failed it, are waits until that sum is used up.
    """
    if record.answered is not None:  # by the router itself: it was never to be placed
        return
    root_id, left_s = making.root_id, record.queued_s
    arrived_s = record.request.arrived_s
    ready = [arrived_s, *(one.failed_s for one in record.failures)]
    sent = [one.dispatched_s for one in record.failures]
    sent.append(_last_sent_s(record) or record.finished_s)
    for number, (ready_s, sent_s) in enumerate(zip(ready, sent, strict=True)):
        waited_s = min(left_s, max(sent_s - ready_s, 0.0))
        left_s -= waited_s
        if not number:
            until_s = sent_s - waited_s
            yield making.span(
                "schedule",
                span_id=root_id + _SCHEDULE,
                parent_id=root_id,
                interval_s=(arrived_s, until_s),
            )
        if waited_s > 0:
            yield making.span(
                "queue",
                span_id=root_id + _QUEUE + number,
                parent_id=root_id,
                interval_s=(sent_s - waited_s, sent_s),
                attributes=_known({"foretoken.waited_for": record.waited_for}),
            )


def _dispatches(record: RequestRecord, making: _Making) -> Iterator[ReadableSpan]:
    for attempt, failure in enumerate(record.failures, 1):
        yield _failed(making, attempt, failure)
    sent_s = _last_sent_s(record)
    if sent_s is None:
        return
    outcome, attempt = record.measurement.outcome, len(record.failures) + 1
    span_id = upstream_id(making.trace, attempt)
    yield making.span(
        "upstream",
        span_id=span_id,
        parent_id=making.root_id,
        interval_s=(sent_s, record.finished_s),
        kind=SpanKind.CLIENT,
        attributes=_of_dispatch(record.endpoint, attempt)
        | _known({"http.response.status_code": record.measurement.status}),
        error=outcome if outcome in _FAILED else None,
    )
    if record.upstream_ttft_s is not None:
        yield making.span(
            "first_token",
            span_id=making.root_id + _FIRST_TOKEN,
            parent_id=span_id,
            interval_s=(sent_s, sent_s + record.upstream_ttft_s),
            attributes=_known({"foretoken.predicted_upstream_ttft_s": _at(record, 0)}),
        )


def _failed(making: _Making, attempt: int, failure: FailedDispatch) -> ReadableSpan:
    return making.span(
        "upstream",
        span_id=upstream_id(making.trace, attempt),
        parent_id=making.root_id,
        interval_s=(failure.dispatched_s, failure.failed_s),
        kind=SpanKind.CLIENT,
        attributes=_of_dispatch(failure.endpoint, attempt),
        error=failure.cause,
    )


def _of_dispatch(endpoint: str | None, attempt: int) -> Attributes:
    host, _, port = (endpoint or "").rpartition(":")
    return _known(
        {
            "server.address": host.strip("[]") or None,
            "server.port": int(port) if port.isdigit() else None,
            "http.request.resend_count": attempt - 1 or None,
            "foretoken.endpoint": endpoint,
        }
    )


def _last_sent_s(record: RequestRecord) -> float | None:
    """Give when the dispatch began that the request ended with, ``None`` if it was at none."""
    sent_s = record.dispatched_s
    return None if record.attempts <= len(record.failures) else sent_s


def _at(record: RequestRecord, target: int) -> float | None:
    decision = record.decision
    if decision is None or decision.predictions is None:
        return None
    said = decision.predictions
    return (said.ttft_s, said.tpot_s)[target].item(decision.chosen)


def _known(attributes: dict[str, str | bool | int | float | None]) -> Attributes:
    """Leave out what is unknown.

    >>> _known({"a": 0, "b": None})
    {'a': 0}
    """
    return {name: value for name, value in attributes.items() if value is not None}


def _ns(at_s: float) -> int:
    """Put a time in nanoseconds."""
    return round(at_s * 1e9)
