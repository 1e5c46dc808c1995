"""Which headers are read, and which pass."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from predictor.types import NO_OBJECTIVE
from proxy.errors import BadHeader, BadRequest
from proxy.headers import (
    objective_of,
    request_id_of,
    request_lines,
    response_lines,
    subset_of,
    trace_id_of,
    vllm_priority_of,
)


def test_objectives_are_optional_and_independent() -> None:
    assert objective_of({}) is NO_OBJECTIVE
    assert objective_of({b"x-slo-tpot-ms": b"25.5"}).tpot_s == pytest.approx(0.0255)
    assert objective_of({b"x-llm-d-slo-ttft-ms": b"300"}).ttft_s == pytest.approx(0.3)


@given(value=st.floats() | st.text(st.characters(max_codepoint=255), max_size=12))
@example(value=5e-324)  # positive, and nothing at all in seconds
def test_an_objective_is_a_positive_number_or_refused(value: float | str) -> None:
    text = str(value)
    headers = {b"x-slo-ttft-ms": text.encode("latin-1")}
    try:
        number = float(text)
    except ValueError:
        number = math.nan

    if 0 < number / 1e3 < math.inf:
        assert objective_of(headers).ttft_s == number / 1e3
    else:
        with pytest.raises(BadHeader) as refused:
            objective_of(headers)
        assert (refused.value.header, refused.value.value) == ("x-slo-ttft-ms", text)


def test_a_malformed_objective_is_refused_beside_a_good_one() -> None:
    headers = {b"x-slo-ttft-ms": b"250", b"x-llm-d-slo-ttft-ms": b"soon"}

    with pytest.raises(BadHeader, match="x-llm-d-slo-ttft-ms"):
        objective_of(headers)


@pytest.mark.parametrize(
    ("value", "kept"),
    [(b"abc-1", "abc-1"), (b"", None), (b"x" * 200, None), (b"a\tb", None), (b"\xff", None)],
)
def test_an_id_that_cannot_be_logged_is_not_taken(value: bytes, kept: str | None) -> None:
    assert request_id_of({b"x-request-id": value}) == kept


def test_the_subset_may_be_empty_but_is_none_only_where_it_is_missing() -> None:
    name = b"x-gateway-destination-endpoint-subset"

    assert subset_of({}) is None
    assert subset_of({name: b""}) == frozenset()
    assert subset_of({name: b" a:1 ,b:2,"}) == {"a:1", "b:2"}


@pytest.mark.parametrize(("value", "priority"), [(b"-3", -3), (b"x", None), (b"", None)])
def test_a_priority_that_is_none_is_the_endpoints_to_refuse(
    value: bytes, priority: int | None
) -> None:
    assert vllm_priority_of({b"x-vllm-priority": value}) == priority


def test_every_connection_header_names_what_ends_here() -> None:
    headers = [(b"connection", b"x-a"), (b"x-a", b"1"), (b"connection", b"x-b"), (b"x-b", b"2")]

    lines = request_lines(headers, dict(headers), request_id="r")

    assert lines == b"x-request-id: r\r\n"
    assert response_lines(headers) == b""


@pytest.mark.parametrize("value", [b"a\r\n b", b"a\nb", b"a\rb"])
def test_a_value_that_spans_lines_is_refused(value: bytes) -> None:
    headers = [(b"x-a", value)]

    with pytest.raises(BadRequest):
        request_lines(headers, dict(headers), request_id="r")


NAMES = st.sampled_from([b"x-a", b"x-b", b"accept", b"authorization"])


@given(
    headers=st.lists(
        st.tuples(
            NAMES, st.binary(max_size=8).filter(lambda value: not {10, 13}.intersection(value))
        )
    )
)
def test_other_headers_pass_in_order_with_their_duplicates(
    headers: list[tuple[bytes, bytes]],
) -> None:
    lines = request_lines(headers, dict(headers), request_id="r")

    sent = [tuple(line.split(b": ", 1)) for line in lines.split(b"\r\n")[:-2]]
    assert sent == headers
    assert response_lines(headers) + b"x-request-id: r\r\n" == lines


TRACE = b"0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize(
    ("value", "known"),
    [
        pytest.param(b"00-%b-b7ad6b7169203331-01" % TRACE, True, id="as it should be"),
        pytest.param(b"cc-%b-b7ad6b7169203331-01-more" % TRACE, True, id="a later version"),
        pytest.param(b"00-%b-b7ad6b7169203331-01extra" % TRACE, False, id="trailing text"),
        pytest.param(b"ff-%b-b7ad6b7169203331-01" % TRACE, False, id="no version"),
        pytest.param(b"00-%b-b7ad6b7169203331-01" % TRACE.upper(), False, id="upper case"),
        pytest.param(b"00-%b-b7ad6b7169203331-01" % (b"0" * 32), False, id="no trace"),
        pytest.param(b'00-"} 1\n', False, id="hostile"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_a_trace_is_known_by_a_well_formed_header_alone(value: bytes, known: bool) -> None:
    found = trace_id_of({b"traceparent": value})

    assert found == (TRACE.decode() if known else None)
