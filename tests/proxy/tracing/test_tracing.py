"""Traces end to end: a caller, the proxy, endpoints, and a collector on loopback."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from prometheus_client import CollectorRegistry, generate_latest

from proxy.trace_context import Tracer
from proxy.trace_metrics import TraceCollector, TraceCounts
from proxy.tracing.export import SpanExport
from proxy.tracing.spans import spans_of
from scheduler import SchedulerSettings
from tests.fakes import RESET, FakeEndpoint
from tests.proxy.harness import CHAT, RunningProxy, running_proxy
from tests.proxy.raw import BODY, STREAM, STREAMED
from tests.proxy.tracing.receiver import Received, attributes, receiving

pytestmark = pytest.mark.anyio

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
RESOURCE = Resource({"service.name": "under-test"})


@dataclass
class Traced:
    proxy: RunningProxy
    counts: TraceCounts


@asynccontextmanager
async def traced_proxy(
    received: Received,
    *endpoints: FakeEndpoint,
    ratio: float = 1.0,
    scheduling: SchedulerSettings | None = None,
) -> AsyncIterator[Traced]:
    counts = TraceCounts()
    exporter = OTLPSpanExporter(endpoint=f"{received.url}/v1/traces", timeout=1)
    export = SpanExport(exporter, RESOURCE, most_waiting=10, counts=counts)
    async with (
        export.running(),
        running_proxy(
            *endpoints,
            sinks=[export.add],
            tracer=Tracer(random.Random(7), ratio),
            scheduling=scheduling,
        ) as proxy,
    ):
        yield Traced(proxy, counts)


def seconds(span: Span) -> float:
    return (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9


async def test_a_request_is_one_trace_from_its_caller_to_the_endpoint() -> None:
    with receiving() as received:
        async with (
            FakeEndpoint(STREAM) as endpoint,
            traced_proxy(received, endpoint) as traced,
        ):
            headers = {"traceparent": PARENT, "tracestate": "vendor=1", "x-slo-tier": "interactive"}
            await traced.proxy.client.post(CHAT, json=STREAMED, headers=headers)
            await traced.proxy.ended.wait()
        spans = received.wait_for({"chat m", "schedule", "upstream", "first_token"})

    root, upstream = spans["chat m"], spans["upstream"]
    (record,) = traced.proxy.records
    assert {span.trace_id.hex() for span in spans.values()} == {TRACE}
    assert {span.trace_state for span in spans.values()} == {"vendor=1"}
    assert root.parent_span_id.hex() == SPAN
    assert {spans[name].parent_span_id for name in ("schedule", "upstream")} == {root.span_id}
    assert spans["first_token"].parent_span_id == upstream.span_id
    assert len({span.span_id for span in spans.values()}) == len(spans) == 4
    assert (root.kind, upstream.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    # What the endpoint was told makes its spans children of the dispatch.
    assert endpoint.seen[0].header("traceparent") == f"00-{TRACE}-{upstream.span_id.hex()}-01"
    assert endpoint.seen[0].header("tracestate") == "vendor=1"
    assert record.upstream_ttft_s is not None
    assert seconds(spans["first_token"]) == pytest.approx(record.upstream_ttft_s, abs=1e-6)
    assert seconds(root) == pytest.approx(record.e2e_s, abs=1e-6)
    told = attributes(root)
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.request.model"] == "m"
    assert told["gen_ai.usage.input_tokens"] == 7
    assert told["gen_ai.usage.cache_read.input_tokens"] == 4
    assert told["http.response.status_code"] == 200
    assert told["foretoken.endpoint"] == endpoint.name
    assert told["foretoken.reason"] == "predicted"
    assert told["foretoken.tier"] == "interactive"
    assert told["foretoken.predicted_upstream_ttft_s"] > 0
    assert attributes(upstream)["server.port"] == endpoint.port
    assert received.resources[0]["service.name"] == "under-test"
    assert traced.counts == TraceCounts(exported=1)


async def test_every_attempt_has_a_span_and_its_endpoint_knows_which() -> None:
    with receiving() as received:
        async with (
            FakeEndpoint([RESET]) as broken,
            FakeEndpoint(STREAM) as good,
            traced_proxy(received, broken, good) as traced,
        ):
            await traced.proxy.client.post(CHAT, json=STREAMED)
            await traced.proxy.ended.wait()
        received.wait_for({"chat m", "first_token"})

    failed, last = sorted(
        (span for span in received.spans if span.name == "upstream"),
        key=lambda span: span.start_time_unix_nano,
    )
    assert broken.seen[0].header("traceparent").split("-")[2] == failed.span_id.hex()  # type: ignore[union-attr]  # it is there
    assert good.seen[0].header("traceparent").split("-")[2] == last.span_id.hex()  # type: ignore[union-attr]  # as above
    assert failed.status.code == Status.STATUS_CODE_ERROR
    assert attributes(failed)["error.type"] == "unreachable"
    assert last.status.code == Status.STATUS_CODE_UNSET
    assert attributes(last)["http.request.resend_count"] == 1


async def test_a_refused_request_has_no_dispatch_and_says_why() -> None:
    with receiving() as received:
        async with FakeEndpoint([RESET]) as broken:
            only_once = SchedulerSettings(max_attempts=1)
            async with traced_proxy(received, broken, scheduling=only_once) as traced:
                await traced.proxy.client.post(CHAT, json=BODY)
                await traced.proxy.ended.wait()
        spans = received.wait_for({"chat m", "upstream"})

    root = spans["chat m"]
    assert root.status.code == Status.STATUS_CODE_ERROR
    assert attributes(root)["error.type"] == "retries_exhausted"
    assert not root.parent_span_id
    assert len(received.spans) == 3  # with its schedule; one dispatch that failed


async def test_what_is_not_sampled_is_not_sent_and_the_endpoint_is_told() -> None:
    with receiving() as received:
        async with (
            FakeEndpoint() as endpoint,
            traced_proxy(received, endpoint, ratio=0.0) as traced,
        ):
            await traced.proxy.client.post(CHAT, json=BODY)
            await traced.proxy.client.post(
                CHAT, json=BODY, headers={"traceparent": PARENT[:-2] + "00"}
            )
            await traced.proxy.client.post(CHAT, json=BODY, headers={"traceparent": PARENT})

    flags = [str(seen.header("traceparent"))[-2:] for seen in endpoint.seen]
    assert flags == ["00", "00", "01"]
    assert {span.trace_id.hex() for span in received.spans} == {TRACE}
    assert traced.counts.exported == 1


@pytest.mark.parametrize("status", [400, 500])
async def test_a_collector_that_refuses_costs_traces_only(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with receiving() as received:
        received.status = status
        async with FakeEndpoint() as endpoint, traced_proxy(received, endpoint) as traced:
            answers = [await traced.proxy.client.post(CHAT, json=BODY) for _ in range(12)]

    assert {answer.status_code for answer in answers} == {200}
    assert traced.counts.exported == 0
    assert traced.counts.lost > 0
    told = [each for each in caplog.records if each.message == "spans_not_exported"]
    assert len(told) == 1


async def test_no_collector_at_all_costs_traces_only() -> None:
    nobody = Received(url="http://127.0.0.1:9")
    async with FakeEndpoint() as endpoint, traced_proxy(nobody, endpoint) as traced:
        answers = [await traced.proxy.client.post(CHAT, json=BODY) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {200}
    assert traced.counts == TraceCounts(failed=3)


class Nowhere:
    """An exporter that loses everything."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Nothing to let go of."""


async def test_what_finds_the_queue_full_is_dropped_and_counted() -> None:
    counts = TraceCounts()
    export = SpanExport(Nowhere(), RESOURCE, most_waiting=2, counts=counts)  # nothing is sent yet
    async with (
        FakeEndpoint() as endpoint,
        running_proxy(endpoint, sinks=[export.add], tracer=Tracer(random.Random(7), 1.0)) as proxy,
    ):
        for _ in range(5):
            await proxy.client.post(CHAT, json=BODY)

    async with export.running():
        pass

    assert counts == TraceCounts(failed=2, dropped=3)
    registry = CollectorRegistry()
    registry.register(TraceCollector(counts))
    assert b'foretoken_traced_requests_total{outcome="dropped"} 3.0' in generate_latest(registry)


async def test_a_record_without_a_trace_has_no_spans() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        await proxy.client.post(CHAT, json=BODY)

    assert spans_of(proxy.records[0], RESOURCE) == []
