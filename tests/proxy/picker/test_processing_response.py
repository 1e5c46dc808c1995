"""What the picker learns from a response, and how a call ends, waits or is refused."""

import json

import pytest

from predictor.types import EndpointState
from proxy import ProxySettings
from proxy.picker.questions import BodyMode
from scheduler import SchedulerSettings, TierSettings
from tests.proxy.picker.told import (
    BUFFERED,
    DONE,
    DUPLEX,
    EVENT,
    FAST,
    NONE,
    SLOW,
    STREAMED,
    WHOLE,
    Table,
    Told,
    body_of,
    chat,
    destination,
    headers_set,
    read,
)
from tests.scheduler.known_physics import endpoint

MODES = list(BodyMode)


def test_first_token_and_pace_are_learned_from_the_chunks() -> None:
    table = Table()
    told = Told(table.processing(), BUFFERED, STREAMED)
    told.request_headers()
    told.request_body(chat(stream=True))
    table.clock.now = 0.5
    told.response_headers(stream=True)
    table.clock.now = 1.0
    told.response_body(EVENT, end=False)
    table.clock.now = 3.0
    told.response_body(EVENT + DONE, end=False)
    told.response_body(b"")

    (record,) = table.records
    assert record.upstream_ttft_s == pytest.approx(1.0)
    assert record.tpot_s == pytest.approx(2.0)
    assert table.physics.learned[0].upstream_ttft_s == pytest.approx(1.0)


def test_a_stream_that_tells_of_a_failure_was_cut() -> None:
    table = Table()
    told = Told(table.processing(), BUFFERED, STREAMED)

    told.request_headers()
    told.request_body(chat(stream=True))
    told.response_headers(stream=True)
    told.response_body(EVENT + b'data: {"error": {"message": "dead", "code": 500}}\n\n')

    assert table.records[0].measurement.outcome == "cut"


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
@pytest.mark.parametrize("mode", [BUFFERED, DUPLEX])
def test_whoever_goes_before_the_end_is_released_once(mode: BodyMode, steps: int) -> None:
    table = Table()
    told = Told(table.processing(), mode, STREAMED)
    script = [
        told.request_headers,
        lambda: told.request_body(chat(stream=True)),
        lambda: told.response_headers(stream=True),
        lambda: told.response_body(EVENT, end=False),
    ]
    for step in script[:steps]:
        step()

    told.processing.ended()
    told.processing.ended()

    assert table.scheduler.inflight_requests == 0
    assert [record.measurement.outcome for record in table.records] == ["client_gone"][: steps - 1]


def test_a_stream_that_said_it_was_done_is_complete_without_its_last_message() -> None:
    table = Table()
    told = Told(table.processing(), BUFFERED, STREAMED)
    told.request_headers()
    told.request_body(chat(stream=True))
    told.response_headers(stream=True)
    told.response_body(EVENT + DONE, end=False)

    told.processing.ended()

    assert table.records[0].measurement.outcome == "completed"


def test_a_model_nobody_serves_is_refused_and_counted() -> None:
    table = Table()
    told = Told(table.processing(), BUFFERED)
    told.request_headers(("x-request-id", "mine"))

    (answer,) = told.request_body(b'{"model": "unheard-of"}')

    assert answer.immediate_response.status.code == 404
    assert json.loads(answer.immediate_response.body)["error"]["code"] == "model_not_found"
    assert headers_set([answer])["x-request-id"] == "mine"
    assert told.processing.phase == "refused"
    count = table.registry.get_sample_value(
        "foretoken_rejected_requests_total", {"reason": "model_not_found"}
    )
    assert count == 1


@pytest.mark.parametrize("mode", [BUFFERED, DUPLEX, NONE])
def test_a_malformed_objective_is_refused_in_openais_form(mode: BodyMode) -> None:
    told = Told(Table().processing(), mode)

    answers = told.request_headers(("x-slo-ttft-ms", "soon"))
    if mode != NONE:
        answers += told.request_body(chat())

    assert answers[-1].immediate_response.status.code == 400
    error = json.loads(answers[-1].immediate_response.body)["error"]
    assert error["param"] == "x-slo-ttft-ms"


@pytest.mark.parametrize("mode", [BUFFERED, DUPLEX])
def test_a_body_that_is_too_large_is_refused_and_forgotten(mode: BodyMode) -> None:
    table = Table(settings=ProxySettings(max_body_bytes=2000))
    told = Told(table.processing(), mode)
    told.request_headers()

    answers = told.request_body(b"x" * 1500, end=False) if mode == DUPLEX else []
    answers += told.request_body(b"x" * 2500)

    assert answers[-1].immediate_response.status.code == 413
    assert told.processing.upload.body == b""


@pytest.mark.parametrize("mode", [BUFFERED, DUPLEX])
def test_a_body_nested_without_end_is_refused(mode: BodyMode) -> None:
    told = Told(Table().processing(), mode)
    told.request_headers()

    answers = told.request_body(b'{"model":"m","messages":' + b"[" * 5000)

    assert answers[-1].immediate_response.status.code == 400
    assert b"body_too_deep" in answers[-1].immediate_response.body


@pytest.mark.parametrize("mode", MODES)
def test_a_request_that_is_shed_hears_when_to_come_again(mode: BodyMode) -> None:
    scheduling = SchedulerSettings(
        tiers={"batch": TierSettings(ttft_s=1e-6, sheddable=True)}, default_tier="batch"
    )
    table = Table(scheduling=scheduling)
    told = Told(table.processing(), mode)

    answers = told.request_headers(("x-slo-tier", "batch"), length=5)
    if mode not in {NONE, STREAMED}:
        answers += told.request_body(chat())

    assert answers[-1].immediate_response.status.code == 429
    heard = headers_set(answers[-1:])
    assert heard["x-llm-d-request-dropped-reason"] == "rejected-saturated"
    assert int(heard["retry-after"]) >= 1
    assert [record.measurement.outcome for record in table.records] == ["shed"]
    told.processing.ended()
    assert len(table.records) == 1


def _all_down() -> list[EndpointState]:
    return [endpoint(FAST, up=False), endpoint(SLOW, up=False)]


@pytest.mark.parametrize("mode", [NONE, BUFFERED, DUPLEX])
def test_a_request_that_must_wait_is_withheld_and_then_picked(mode: BodyMode) -> None:
    table = Table(_all_down())
    told = Told(table.processing(), mode)

    answers = told.request_headers(length=5)
    if mode != NONE:
        answers += told.request_body(chat())

    assert told.processing.phase == "waiting"
    assert destination(answers) is None
    asked = [answer for answer in answers if answer.HasField("override_message_timeout")]
    assert len(asked) == (0 if mode == DUPLEX else 1)
    table.scheduler.update([endpoint(FAST)])
    (action,) = table.scheduler.tick(0.1)
    assert destination(read(told.processing.deliver(action))) == FAST


def test_whoever_goes_while_waiting_leaves_the_queue() -> None:
    table = Table(_all_down())
    told = Told(table.processing(), NONE)
    told.request_headers()

    told.processing.ended()

    assert table.scheduler.waiting_requests == 0
    assert table.records[0].measurement.outcome == "client_gone"


def test_who_only_watches_is_answered_nothing_and_teaches_where_envoy_sent_it() -> None:
    table = Table()
    told = Told(table.processing(), STREAMED, STREAMED, observing=True)

    answers = told.request_headers() + told.request_body(chat(stream=True))
    table.clock.now = 0.5
    answers += told.response_headers(served=SLOW, stream=True)
    answers += told.response_body(EVENT, end=False)
    table.clock.now = 1.0
    answers += told.response_body(EVENT + DONE)

    assert answers == []
    (record,) = table.records
    assert record.endpoint == SLOW
    assert table.physics.learned[-1].endpoint == SLOW
    assert table.scheduler.suspicion(FAST, 1.0) is None
    assert table.scheduler.inflight_requests == 0


def test_who_only_watches_teaches_nothing_where_nobody_says_who_served() -> None:
    table = Table()
    told = Told(table.processing(), STREAMED, STREAMED, observing=True)

    told.request_headers()
    told.request_body(chat())
    told.response_headers(served=None)
    told.response_body(WHOLE)

    (record,) = table.records
    assert record.observation is None
    assert record.decision is not None
    assert record.decision.predictions is None
    assert table.physics.learned == []
    assert table.scheduler.inflight_requests == 0


def test_who_only_watches_does_not_wait() -> None:
    table = Table(_all_down())
    told = Told(table.processing(), STREAMED, STREAMED, observing=True)

    told.request_headers()
    told.request_body(chat())
    told.response_headers()
    told.response_body(WHOLE)

    assert table.scheduler.waiting_requests == 0


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/metrics?x=1"])
def test_other_paths_pass_to_any_endpoint_and_count_nowhere(path: str) -> None:
    table = Table()
    told = Told(table.processing(), DUPLEX, DUPLEX)

    answers = told.request_headers(path=path, end=True)
    answers += told.response_headers()
    answers += told.response_body(b"fine")

    assert destination(answers) in {FAST, SLOW}
    assert body_of(answers, "response_body") == (b"fine", True)
    assert table.scheduler.inflight_requests == 0
    assert table.records == []


def test_a_path_that_cannot_be_placed_passes_without_the_clients_own_destination() -> None:
    states = [endpoint(FAST, model="one"), endpoint(SLOW, model="two")]
    told = Told(Table(states).processing(), NONE)

    (answer,) = told.request_headers(
        ("x-gateway-destination-endpoint", "169.254.0.1:80"), path="/health"
    )

    assert destination([answer]) is None
    removed = answer.request_headers.response.header_mutation.remove_headers
    assert list(removed) == ["x-gateway-destination-endpoint"]


def test_a_stream_whose_body_envoy_does_not_tell_is_held_as_long_as_it_was_predicted() -> None:
    table = Table()
    held: list[float] = []
    table.picker.hold = lambda _, until_s: held.append(until_s)  # type: ignore[method-assign]
    told = Told(table.processing(), NONE)
    told.request_headers(length=4000)
    told.response_headers(stream=True)

    told.processing.ended()

    assert told.processing.phase == "held"
    assert held[0] > 0
    assert table.scheduler.inflight_requests == 1
    told.processing.let_go()
    told.processing.let_go()
    assert table.scheduler.inflight_requests == 0
    assert len(table.records) == 1
