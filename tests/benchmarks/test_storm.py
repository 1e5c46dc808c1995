"""The pure parts of the storm: how an attempt ended, what explains it, what is compared."""

import json

import pytest

from benchmarks.storm.accounts import FITTING, unexplained
from benchmarks.storm.asking import Response, judge
from benchmarks.storm.fault import Injection
from benchmarks.storm.ledger import ENDS, Attempt, End, Entry
from benchmarks.storm.predictions import Judged, judged
from benchmarks.storm.storm import FAULTS

HEAD = b"HTTP/1.1 200 OK\r\nx-foretoken-endpoint: one\r\n"
STREAM = HEAD + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
ERROR = json.dumps({"error": {"message": "m", "type": "t", "code": "no_endpoint"}}).encode()


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


def heard(data: bytes) -> Response:
    response = Response()
    response.feed(data)
    return response


def whole(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


@pytest.mark.parametrize(
    ("data", "end", "why"),
    [
        (whole(b"200 OK", b"{}"), "answered", None),
        (whole(b"503 Service Unavailable", ERROR), "refused", "no_endpoint"),
        (whole(b"503 Service Unavailable", b"oops"), "cut", "no reason given"),
        (STREAM + chunked(b"data: {}\n\n", b"data: [DONE]\n\n", b""), "answered", None),
        (STREAM + chunked(b"data: {}\n\n", b""), "cut", "no end of stream"),
        (STREAM + chunked(b"data: {}\n\n"), "cut", "closed"),
        (STREAM + chunked(b"data: {}\n\n", b"data: " + ERROR + b"\n\n"), "cut", "no_endpoint"),
        (STREAM + chunked(b"data: " + ERROR + b"\n\n", b"data: [DONE]\n\n", b""), "cut", "no_end"),
        (HEAD + b"content-length: 10\r\n\r\nhalf", "cut", "closed"),
        (b"", "nothing", "closed"),
        (b"HTTP/1.1 200 OK\r\n", "nothing", "closed"),
    ],
)
def test_bytes_say_how_an_attempt_ended(data: bytes, end: End, why: str | None) -> None:
    came = judge(heard(data), None)

    assert came.end == end
    assert came.why is None if why is None else (came.why or "").startswith(why)


def test_a_client_that_leaves_has_left_whatever_came() -> None:
    assert judge(heard(STREAM), "left").end == "left"
    assert judge(heard(b""), "left").end == "left"


def attempt(end: End, why: str | None = "w", endpoint: str | None = "one") -> Attempt:
    return Attempt("storm-1-0", 1, 100.0, 104.0, end, why, None, endpoint)


def injection(kind: str, whom: str, began_s: float = 102.0) -> Injection:
    return Injection(kind=kind, began_s=began_s, whom=whom, ended_s=began_s + 5.0)


def test_a_cut_is_explained_by_what_happened_to_its_endpoint_meanwhile_and_by_nothing_else() -> (
    None
):
    cut = attempt("cut")

    assert unexplained(cut, "cut", [injection("endpoint killed", "one")]) is None
    assert unexplained(cut, "cut", [injection("resets mid-body", "one")]) is None
    assert unexplained(cut, "cut", [injection("endpoint killed", "two")])
    assert unexplained(cut, "cut", [injection("endpoint killed", "one", began_s=200.0)])
    assert unexplained(cut, "cut", [injection("endpoint stopped", "one")])


def test_silence_is_explained_only_by_the_end_of_that_router() -> None:
    nothing = attempt("nothing", endpoint=None)

    assert unexplained(nothing, None, [injection("router terminated", "router-1")]) is None
    assert unexplained(nothing, None, [injection("router terminated", "router-0")])
    assert unexplained(nothing, None, [injection("endpoint killed", "one")])


def test_answers_and_refusals_with_a_reason_need_no_explanation() -> None:
    assert unexplained(attempt("answered", None), "completed", []) is None
    assert unexplained(attempt("refused", "no_endpoint"), "shed", []) is None
    assert unexplained(attempt("refused", None), "shed", [])


def test_a_request_ended_as_its_last_attempt_did() -> None:
    entry = Entry(number=1, kind="k", attempts=[attempt("nothing"), attempt("answered", None)])

    assert entry.end == "answered"


def test_every_end_is_held_against_what_routers_say() -> None:
    assert FITTING.keys() == set(ENDS)


def test_faults_have_names_of_their_own() -> None:
    assert len({fault.kind for fault in FAULTS}) == len(FAULTS)


def finished(number: int, *, said: float, seen: float) -> dict[str, object]:
    return {
        "request_id": str(number),
        "endpoint": "one",
        "prompt_tokens": 100 + number % 7,
        "cached_tokens": number % 5,
        "predicted_tpot_s": said,
        "tpot_s": seen,
    }


def test_predictions_are_judged_by_span_beside_a_fit_in_hindsight() -> None:
    lines = [finished(n, said=0.01, seen=0.01) for n in range(50)]
    lines += [finished(n, said=0.02, seen=0.01) for n in range(50, 100)]

    found = judged(lines, {str(n): float(n) for n in range(100)}, [(0.0, 50.0), (50.0, 100.0)])

    assert found["tpot"].said == pytest.approx((0.0, 0.693), abs=1e-3)
    assert found["tpot"].hindsight == pytest.approx((0.0, 0.0), abs=1e-9)
    assert found["ttft"].said == (None, None)


def test_a_machine_that_became_noisier_is_not_held_against_predictions() -> None:
    assert Judged(said=(0.1, 0.2), hindsight=(0.1, 0.1)).grown == pytest.approx(2.0)
    assert Judged(said=(0.1, 0.2), hindsight=(0.1, 0.2)).grown == pytest.approx(1.0)
    assert Judged(said=(0.1, 0.2), hindsight=(0.2, 0.1)).grown == pytest.approx(2.0)
    assert Judged(said=(None, 0.2), hindsight=(0.1, 0.1)).grown is None
