"""Every shape of answer, read with Envoy's own definitions."""

from typing import Any, get_args

import pytest
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingResponse
from hypothesis import given
from hypothesis import strategies as st

from proxy.errors import BodyTooLarge, ErrorResponse, to_response
from proxy.picker import answers
from proxy.picker.answers import Part

PARTS = get_args(Part)


def _read(data: bytes) -> Any:
    return ProcessingResponse.FromString(data)


@pytest.mark.parametrize("part", PARTS)
def test_a_part_goes_on_with_headers_set_added_and_removed(part: Part) -> None:
    mutation = (
        answers.set_header(b"a", b"1")
        + answers.set_header(b"b", b"2", replace=False)
        + answers.remove_header(b"c")
    )

    answer = _read(answers.go_on(part, headers=mutation, reroute=True))

    assert answer.WhichOneof("response") == part
    common = getattr(answer, part).response
    assert common.clear_route_cache
    assert not common.HasField("body_mutation")
    set_headers = common.header_mutation.set_headers
    assert [(each.header.key, each.header.raw_value) for each in set_headers] == [
        ("a", b"1"),
        ("b", b"2"),
    ]
    assert [each.append_action for each in set_headers] == [
        HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        HeaderValueOption.ADD_IF_ABSENT,
    ]
    assert list(common.header_mutation.remove_headers) == ["c"]


@pytest.mark.parametrize("part", PARTS)
def test_an_answer_that_changes_nothing_is_of_its_part_and_empty(part: Part) -> None:
    answer = _read(answers.GO_ON[part])

    assert answer.WhichOneof("response") == part
    assert getattr(answer, part).response.ByteSize() == 0


def test_trailers_go_on() -> None:
    assert _read(answers.REQUEST_TRAILERS_GO_ON).WhichOneof("response") == "request_trailers"
    assert _read(answers.RESPONSE_TRAILERS_GO_ON).WhichOneof("response") == "response_trailers"


def test_a_body_is_replaced_or_taken_away() -> None:
    replaced = _read(answers.go_on("request_body", body=b"x" * 300))
    cleared = _read(answers.go_on("response_body", body=b""))

    assert replaced.request_body.response.body_mutation.body == b"x" * 300
    assert cleared.response_body.response.body_mutation.clear_body


@given(body=st.integers(0, 300_000).map(lambda size: b"x" * size), last=st.booleans())
def test_a_streamed_body_comes_in_pieces_below_64_kib_and_ends_once(
    body: bytes, *, last: bool
) -> None:
    found = [_read(piece) for piece in answers.streamed("response_body", body, last=last)]

    pieces = [each.response_body.response.body_mutation.streamed_response for each in found]
    assert b"".join(piece.body for piece in pieces) == body
    assert [piece.end_of_stream for piece in pieces] == [False] * (len(pieces) - 1) + [last]
    assert max(len(piece.body) for piece in pieces) < 65_536


def test_the_destination_is_in_the_metadata_of_the_load_balancer() -> None:
    header, metadata = answers.destination(b"a:1,b:2")
    answer = _read(answers.go_on("request_headers", headers=header) + metadata)

    assert answer.WhichOneof("response") == "request_headers"
    inner = answer.dynamic_metadata.fields["envoy.lb"].struct_value.fields
    assert inner["x-gateway-destination-endpoint"].string_value == "a:1,b:2"
    (option,) = answer.request_headers.response.header_mutation.set_headers
    assert option.header.key == "x-gateway-destination-endpoint"
    assert option.header.raw_value == b"a:1,b:2"


@given(name=st.binary(min_size=1, max_size=200), value=st.binary(max_size=400), keep=st.booleans())
def test_a_header_of_any_length_is_set(name: bytes, value: bytes, *, keep: bool) -> None:
    name = name.hex().encode()

    mutation = answers.set_header(name, value, replace=not keep)

    answer = _read(answers.go_on("response_headers", headers=mutation))
    (option,) = answer.response_headers.response.header_mutation.set_headers
    assert (option.header.key.encode(), option.header.raw_value) == (name, value)
    assert option.append_action == (1 if keep else 2)


@given(seconds=st.floats(0.001, 10_000))
def test_more_time_is_a_duration(seconds: float) -> None:
    answer = _read(answers.more_time(seconds))

    duration = answer.override_message_timeout
    assert duration.seconds + duration.nanos / 1e9 == pytest.approx(seconds, abs=1e-8)


@pytest.mark.parametrize(
    "error",
    [
        to_response(BodyTooLarge(10)),
        ErrorResponse(
            status=429, message="full", type="rate_limit_error", headers=((b"retry-after", b"3"),)
        ),
    ],
)
def test_a_refusal_carries_status_headers_and_an_openai_error(error: ErrorResponse) -> None:
    answer = _read(answers.refusal(error, "r-1"))

    immediate = answer.immediate_response
    assert immediate.status.code == error.status
    assert immediate.body == error.body
    told = {each.header.key: each.header.raw_value for each in immediate.headers.set_headers}
    assert told["content-type"] == b"application/json"
    assert told["x-request-id"] == b"r-1"
    assert {name.decode(): value for name, value in error.headers}.items() <= told.items()
    assert immediate.details.startswith("foretoken_")


@given(number=st.integers(0, 2**63))
def test_numbers_are_read_back(number: int) -> None:
    data = answers.varint(number)

    assert sum((byte & 0x7F) << 7 * index for index, byte in enumerate(data)) == number
    assert [byte >> 7 for byte in data] == [1] * (len(data) - 1) + [0]
