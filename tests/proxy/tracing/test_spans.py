"""The spans of one record: which there are, and of which times."""

from opentelemetry.sdk.resources import Resource
from opentelemetry.trace import StatusCode

from predictor.types import FailedDispatch, Measurement, RequestRecord, TraceContext
from predictor.values import replace
from proxy.tracing.spans import SCHEMA_URL, spans_of
from tests.proxy.control.fakes import NAMES, record, shed_record

RESOURCE = Resource({"service.name": "under-test"})
CONTEXT = TraceContext(trace_id="ab" * 16, span_id=5000, path="/v1/completions")


def traced(told: RequestRecord) -> RequestRecord:
    return replace(told, request=replace(told.request, trace=CONTEXT))


def intervals(told: RequestRecord) -> list[tuple[str, float, float]]:
    """Give name, begin and end of each span below the request's own, in seconds."""
    return [
        (span.name, (span.start_time or 0) / 1e9, (span.end_time or 0) / 1e9)
        for span in spans_of(traced(told), RESOURCE)[1:]
    ]


def test_a_wait_lies_between_arrival_and_dispatch() -> None:
    told = replace(record(finished_s=910.0), dispatched_s=907.0, queued_s=1.5, ttft_s=3.0)

    assert intervals(told) == [
        ("schedule", 905.0, 905.5),
        ("queue", 905.5, 907.0),
        ("upstream", 907.0, 910.0),
        ("first_token", 907.0, 907.125),
    ]


def test_waits_before_several_dispatches_add_up_to_what_was_waited() -> None:
    failure = FailedDispatch(
        endpoint=NAMES[1], dispatched_s=905.5, failed_s=906.0, cause="turned_away"
    )
    told = replace(
        record(finished_s=910.0), failures=(failure,), attempts=2, dispatched_s=907.0, queued_s=1.25
    )

    spans = intervals(told)

    assert spans == [
        ("schedule", 905.0, 905.0),
        ("queue", 905.0, 905.5),
        ("queue", 906.25, 907.0),
        ("upstream", 905.5, 906.0),
        ("upstream", 907.0, 910.0),
        ("first_token", 907.0, 907.125),
    ]


def test_a_request_refused_in_the_queue_waited_to_its_end() -> None:
    told = replace(
        shed_record(), queued_s=0.75, waited_for="endpoints_full", refused="queue_timeout"
    )

    root, _, queue = spans_of(traced(told), RESOURCE)

    assert intervals(told) == [("schedule", 900.0, 900.25), ("queue", 900.25, 901.0)]
    assert root.status.status_code is StatusCode.ERROR
    assert (root.attributes or {})["error.type"] == "queue_timeout"
    assert (queue.attributes or {})["foretoken.waited_for"] == "endpoints_full"


def test_an_answer_of_the_routers_own_is_one_span() -> None:
    told = replace(
        shed_record(), answered="cache_hit", measurement=Measurement(outcome="completed")
    )

    (root,) = spans_of(traced(told), RESOURCE)

    assert root.name.startswith("text_completion ")
    assert root.status.status_code is StatusCode.UNSET


def test_a_request_that_runs_where_nobody_knows_names_no_server() -> None:
    told = replace(record(), endpoint=None)

    upstream = next(s for s in spans_of(traced(told), RESOURCE) if s.name == "upstream")

    assert upstream.attributes == {"http.response.status_code": 200}


def test_names_of_spans_are_not_made_up_by_clients() -> None:
    nowhere, odd = traced(replace(shed_record(), fleet=None)), record()
    path = replace(CONTEXT, path="/v1/made-up")

    (unplaced, *_) = spans_of(nowhere, RESOURCE)
    (other, *_) = spans_of(replace(odd, request=replace(odd.request, trace=path)), RESOURCE)

    assert (unplaced.name, other.name) == ("text_completion", "POST")
    assert (other.attributes or {})["url.path"] == "/v1/made-up"


def test_ids_differ_and_belong_to_the_trace() -> None:
    spans = spans_of(traced(record()), RESOURCE)

    ids = {span.context.span_id for span in spans if span.context}
    assert len(ids) == len(spans)
    assert {f"{span.context.trace_id:032x}" for span in spans if span.context} == {"ab" * 16}
    assert {
        span.instrumentation_scope.schema_url for span in spans if span.instrumentation_scope
    } == {SCHEMA_URL}
