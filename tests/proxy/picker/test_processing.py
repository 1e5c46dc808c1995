"""One request as Envoy tells of it, in every mode, against the real scheduler."""

import random
from typing import Any

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest

from proxy import Tracer
from proxy.picker.questions import BodyMode, header_pairs, served_by
from tests.proxy.picker.told import (
    BUFFERED,
    DONE,
    DUPLEX,
    EVENT,
    FAST,
    NONE,
    PARTIAL,
    SLOW,
    STREAMED,
    USAGE,
    WHOLE,
    Table,
    Told,
    body_of,
    chat,
    common,
    destination,
    headers_set,
    kinds,
)
from tests.scheduler.known_physics import endpoint

MODES = list(BodyMode)
SPLICED = chat(stream=True)[:-1] + b',"stream_options":{"include_usage":true}}'


@pytest.mark.parametrize("response_mode", MODES)
@pytest.mark.parametrize("mode", MODES)
def test_a_request_is_picked_answered_and_released_in_every_mode(
    mode: BodyMode, response_mode: BodyMode
) -> None:
    table = Table()
    told = Told(table.processing(), mode, response_mode)

    answers = told.tell(chat())
    told.processing.ended()

    assert destination(answers) == FAST
    assert headers_set(answers)["x-foretoken-endpoint"] == FAST
    (record,) = table.records
    assert record.measurement.outcome == "completed"
    assert record.endpoint == FAST
    assert record.measurement.output_tokens == (3 if response_mode != NONE else None)
    assert table.scheduler.inflight_requests == 0
    assert table.picker.live_requests == 0


@pytest.mark.parametrize("mode", MODES)
def test_the_endpoint_is_told_its_place_in_the_trace(mode: BodyMode) -> None:
    table = Table(tracer=Tracer(random.Random(7), 1.0))
    told = Told(table.processing(), mode, mode)

    answers = told.tell(chat())
    told.processing.ended()

    (record,) = table.records
    trace = record.request.trace
    assert trace is not None
    assert (trace.method, trace.path) == ("POST", "/v1/chat/completions")
    assert headers_set(answers)["traceparent"] == (
        f"00-{trace.trace_id}-{trace.span_id + 1:016x}-01"
    )


@pytest.mark.parametrize("mode", MODES)
def test_every_message_is_answered_where_envoy_waits_for_it(mode: BodyMode) -> None:
    told = Told(Table().processing(), mode, mode)

    answers = told.tell(chat())

    expected = {
        NONE: ["request_headers", "response_headers"],
        STREAMED: ["request_headers", "request_body", "response_headers", "response_body"],
        BUFFERED: ["request_headers", "request_body", "response_headers", "response_body"],
        PARTIAL: ["request_headers", "request_body", "response_headers", "response_body"],
        DUPLEX: ["request_headers", "request_body", "response_headers", "response_body"],
    }
    assert kinds(answers) == expected[mode]


def test_a_full_duplex_request_is_withheld_until_its_body_is_there() -> None:
    told = Told(Table().processing(), DUPLEX, DUPLEX)
    body = chat(padding="x" * 150_000)

    assert told.request_headers() == []
    assert told.request_body(body[:1000], end=False) == []
    assert told.request_body(body[1000:], end=False) == []
    answers = told.request_body(b"")

    assert kinds(answers)[0] == "request_headers"
    assert destination(answers[:1]) == FAST
    assert body_of(answers) == (body, True)


def test_trailers_end_a_full_duplex_request() -> None:
    told = Told(Table().processing(), DUPLEX, DUPLEX)
    body = chat()
    told.request_headers()
    told.request_body(body, end=False)

    answers = told.request_trailers()

    assert kinds(answers) == ["request_headers", "request_body", "request_trailers"]
    assert body_of(answers) == (body, False)


@pytest.mark.parametrize("mode", [STREAMED, BUFFERED, DUPLEX])
def test_a_request_without_a_body_is_placed_by_its_headers(mode: BodyMode) -> None:
    told = Told(Table().processing(), mode)

    answers = told.request_headers(path="/v1/responses/1", end=True)

    assert kinds(answers) == ["request_headers"]
    assert destination(answers) in {FAST, SLOW}


def test_a_body_that_passes_unseen_counts_by_its_length_and_its_gateways_model() -> None:
    states = [endpoint(FAST, model="other"), endpoint(SLOW)]
    table = Table(states)
    told = Told(table.processing(), NONE)

    answers = told.request_headers(("x-gateway-model-name", "other"), length=4321)

    assert destination(answers) == FAST
    told.processing.ended()
    (record,) = table.records
    assert record.request.model == "other"
    assert record.request.prompt_bytes == 4321


@pytest.mark.parametrize("response_mode", [STREAMED, BUFFERED, DUPLEX])
@pytest.mark.parametrize("mode", [BUFFERED, DUPLEX])
def test_token_counts_are_asked_for_and_kept_from_the_client(
    mode: BodyMode, response_mode: BodyMode
) -> None:
    table = Table()
    told = Told(table.processing(), mode, response_mode)
    told.request_headers(length=10)

    answers = told.request_body(chat(stream=True))

    assert headers_set(answers)["content-length"] == str(len(SPLICED))
    if mode == DUPLEX:
        assert body_of(answers) == (SPLICED, True)
    else:
        assert common(answers[-1]).body_mutation.body == SPLICED
    told.response_headers(stream=True)
    shown = b""
    pieces = [EVENT, EVENT + USAGE + DONE]
    for piece in [b"".join(pieces)] if response_mode == BUFFERED else pieces:
        answers = told.response_body(piece, end=False)
        shown += _shown(answers, piece)
    told.response_body(b"")
    assert shown == EVENT + EVENT + DONE
    (record,) = table.records
    assert record.measurement.output_tokens == 2
    assert record.measurement.prompt_tokens == 7


@pytest.mark.parametrize(
    ("mode", "response_mode"),
    [(BUFFERED, NONE), (STREAMED, STREAMED), (PARTIAL, STREAMED), (DUPLEX, PARTIAL)],
)
def test_a_body_that_cannot_be_changed_both_ways_is_left_alone(
    mode: BodyMode, response_mode: BodyMode
) -> None:
    told = Told(Table().processing(), mode, response_mode)

    answers = told.request_headers(length=10) + told.request_body(chat(stream=True))

    assert "content-length" not in headers_set(answers)
    if mode == DUPLEX:
        assert body_of(answers) == (chat(stream=True), True)
    else:
        assert not any(common(answer).HasField("body_mutation") for answer in answers)


@pytest.mark.parametrize("mode", [BUFFERED, PARTIAL])
def test_a_buffered_response_is_complete_with_its_one_message(mode: BodyMode) -> None:
    table = Table()
    told = Told(table.processing(), BUFFERED, mode)
    told.request_headers()
    told.request_body(chat())
    told.response_headers()

    told.response_body(WHOLE, end=False)  # trailers follow, or what did not fit

    assert table.records[0].measurement.outcome == "completed"


def test_half_a_body_is_placed_and_left_alone() -> None:
    told = Told(Table().processing(), PARTIAL, STREAMED)
    told.request_headers()

    answers = told.request_body(chat(stream=True)[:-5], end=False)

    assert destination(answers) == FAST
    assert not common(answers[0]).HasField("body_mutation")


def test_the_client_hears_what_was_decided() -> None:
    told = Told(Table().processing(), BUFFERED)
    told.request_headers(("x-request-id", "mine"))
    placed = told.request_body(chat())

    heard = headers_set(told.response_headers(stream=True))

    assert headers_set(placed)["x-request-id"] == "mine"
    assert heard["x-request-id"] == "mine"
    assert heard["x-foretoken-endpoint"] == FAST
    assert heard["x-foretoken-reason"] == "predicted"
    assert float(heard["x-foretoken-predicted-ttft-ms"]) > 0
    assert heard["x-accel-buffering"] == "no"


def test_an_id_that_is_in_flight_already_is_made_another() -> None:
    table = Table()
    first, second = (Told(table.processing(), NONE) for _ in range(2))
    first.request_headers(("x-request-id", "mine"))

    answers = second.request_headers(("x-request-id", "mine"))

    assert headers_set(answers)["x-request-id"].startswith("mine-")
    assert table.scheduler.inflight_requests == 2


@pytest.mark.parametrize("subset", [SLOW, [SLOW]])
def test_the_gateways_subset_counts_and_not_the_clients(subset: Any) -> None:
    told = Told(Table().processing(), NONE)

    answers = told.request_headers(("x-gateway-destination-endpoint-subset", FAST), subset=subset)

    assert destination(answers) == SLOW


def test_a_subset_header_counts_where_the_gateway_says_nothing() -> None:
    told = Told(Table().processing(), NONE)

    answers = told.request_headers(("x-gateway-destination-endpoint-subset", f"{SLOW}, nobody:1"))

    assert destination(answers) == SLOW


def test_an_empty_subset_is_refused() -> None:
    table = Table()
    told = Told(table.processing(), NONE)

    (answer,) = told.request_headers(subset="")

    assert answer.immediate_response.status.code == 503
    assert headers_set([answer])["x-llm-d-request-dropped-reason"] == "rejected-no-endpoints"
    assert table.picker.live_requests == 0


def test_fallbacks_follow_in_the_order_of_the_decision() -> None:
    states = [endpoint(FAST), endpoint(SLOW), endpoint("10.0.0.3:8000", up=False)]
    told = Told(Table(states, fallbacks=5).processing(), NONE)

    assert destination(told.request_headers(length=4000)) == f"{FAST},{SLOW}"


def test_what_a_fallback_served_counts_there_and_the_pick_is_suspect() -> None:
    table = Table(fallbacks=1)
    told = Told(table.processing(), BUFFERED, STREAMED)
    told.request_headers()
    told.request_body(chat())

    heard = headers_set(told.response_headers(served=SLOW))
    told.response_body(WHOLE)

    assert heard["x-foretoken-endpoint"] == SLOW
    (record,) = table.records
    assert record.endpoint == SLOW
    assert record.attempts == 1  # the second one was Envoy's
    assert table.scheduler.suspicion(FAST, 0.0) == "unreachable"
    assert table.scheduler.inflight_requests == 0


def test_a_server_nobody_knows_is_not_held_against_the_pick() -> None:
    table = Table()
    told = Told(table.processing(), BUFFERED, STREAMED)
    told.request_headers()
    told.request_body(chat())

    told.response_headers(served="10.9.9.9:8000")
    told.response_body(WHOLE)

    assert table.scheduler.suspicion(FAST, 0.0) is None
    assert table.physics.learned == []
    assert table.scheduler.inflight_requests == 0


@pytest.mark.parametrize("how", ["header", "metadata"])
def test_a_data_plane_may_say_in_other_ways_who_served(how: str) -> None:
    question = ProcessingRequest()
    name = "x-gateway-destination-endpoint-served"
    if how == "header":
        question.response_headers.headers.headers.add(key=name, raw_value=SLOW.encode())
    else:
        question.metadata_context.filter_metadata["envoy.lb"][name] = SLOW

    assert served_by(question, header_pairs(question.response_headers)) == SLOW


def test_an_answer_of_envoys_own_counts_against_the_pick() -> None:
    table = Table()
    told = Told(table.processing(), NONE)
    told.request_headers(length=4000)

    told.response_headers(status=503, served=None)
    told.processing.ended()

    (record,) = table.records
    assert record.measurement.outcome == "upstream_error"
    assert record.endpoint == FAST
    assert table.scheduler.suspicion(FAST, 0.0) == "failing"


def _shown(answers: list[Any], piece: bytes) -> bytes:
    """Give what of a piece of the response the client gets to see."""
    shown = b""
    for answer in answers:
        mutation = common(answer).body_mutation
        match mutation.WhichOneof("mutation"):
            case "streamed_response":
                shown += mutation.streamed_response.body
            case "body":
                shown += mutation.body
            case None:
                shown += piece
    return shown
