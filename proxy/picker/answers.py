"""What the picker answers to Envoy, encoded: protobuf ``ProcessingResponse`` messages.

Written by hand, because a picker answers every request with two or three of the same few
shapes, and a dozen bytes around a header are built ten times as fast as by way of objects.
Pure; called by :mod:`proxy.picker.processing`. The tests read every shape with Envoy's own
definitions. Source: envoy/service/ext_proc/v3/external_processor.proto and what it imports.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal

from proxy.errors import ErrorResponse
from proxy.headers import RawHeaders

Part = Literal["request_headers", "response_headers", "request_body", "response_body"]

DESTINATION: Final = b"x-gateway-destination-endpoint"
METADATA_NAMESPACE: Final = b"envoy.lb"
CHUNK_BYTES: Final = 62 * 1024  # of a streamed body: Envoy takes no 64 KiB at once

# Field numbers of ProcessingResponse.
_PARTS: Final[dict[Part, int]] = {
    "request_headers": 1,
    "response_headers": 2,
    "request_body": 3,
    "response_body": 4,
}
_REQUEST_TRAILERS, _RESPONSE_TRAILERS, _IMMEDIATE, _METADATA, _TIMEOUT = 5, 6, 7, 8, 10
_OVERWRITE: Final = b"\x18\x02"  # append_action: OVERWRITE_IF_EXISTS_OR_ADD
_IF_ABSENT: Final = b"\x18\x01"  # append_action: ADD_IF_ABSENT


def varint(number: int) -> bytes:
    r"""Encode a number as protobuf does.

    >>> varint(300)
    b'\xac\x02'
    """
    if number < 0x80:
        return number.to_bytes(1, "little")
    digits = bytearray()
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def field(number: int, content: bytes) -> bytes:
    """Encode a field of bytes, text or a message; ``number`` is at most 15."""
    size = len(content)
    if size < 0x80:
        return b"%c%c%b" % (number << 3 | 2, size, content)
    return b"%c%b%b" % (number << 3 | 2, varint(size), content)


def set_header(name: bytes, value: bytes, *, replace: bool = True) -> bytes:
    """Encode that a header is set; one that is there stays unless it is to be replaced."""
    size = len(name) + len(value) + 4
    if size < 0x7C:  # every length is one byte: all at once
        action = _OVERWRITE if replace else _IF_ABSENT
        lengths = (size + 4, size, len(name), name, len(value), value)
        return b"\x0a%c\x0a%c\x0a%c%b\x1a%c%b" % lengths + action
    header = field(1, field(1, name) + field(3, value))
    return field(1, header + (_OVERWRITE if replace else _IF_ABSENT))


def set_headers(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Encode that headers are set."""
    return b"".join(set_header(name, value) for name, value in headers)


def remove_header(name: bytes) -> bytes:
    """Encode that a header is removed."""
    return field(2, name)


def go_on(
    part: Part, *, headers: bytes = b"", body: bytes | None = None, reroute: bool = False
) -> bytes:
    """Answer that a part passes.

    Args:
        part: Which one.
        headers: What becomes of headers, joined.
        body: What takes the body's place, ``None`` to leave it.
        reroute: Whether the route is to be chosen anew, by the headers as they are then.
    """
    common = b""
    if headers:
        common += field(2, headers)
    if body is not None:
        common += field(3, field(1, body) if body else b"\x10\x01")
    if reroute:
        common += b"\x28\x01"
    return field(_PARTS[part], field(1, common))


GO_ON: Final[dict[Part, bytes]] = {part: go_on(part) for part in _PARTS}
"""Answers that change nothing."""
REQUEST_TRAILERS_GO_ON: Final = field(_REQUEST_TRAILERS, b"")
RESPONSE_TRAILERS_GO_ON: Final = field(_RESPONSE_TRAILERS, b"")


def streamed(
    part: Literal["request_body", "response_body"], body: bytes, *, last: bool
) -> list[bytes]:
    """Give a body, or a piece of it, back in pieces that Envoy takes.

    >>> [len(answer) for answer in streamed("request_body", b"x" * 70_000, last=True)]
    [63508, 6529]
    """
    number, end = _PARTS[part], len(body)
    if end <= CHUNK_BYTES:
        return [_streamed(number, body, last=last)]
    return [
        _streamed(
            number, body[start : start + CHUNK_BYTES], last=last and start + CHUNK_BYTES >= end
        )
        for start in range(0, end, CHUNK_BYTES)
    ]


def _streamed(number: int, body: bytes, *, last: bool) -> bytes:
    piece = field(1, body) + (b"\x10\x01" if last else b"")
    return field(number, field(1, field(3, field(3, piece))))


@lru_cache(maxsize=1024)  # there are as many as endpoints, and orders of them
def destination(endpoints: bytes) -> tuple[bytes, bytes]:
    """Encode where a request goes: as a header, and as metadata to be joined to an answer."""
    inner = field(1, field(1, DESTINATION) + field(2, field(3, endpoints)))
    space = field(1, field(1, METADATA_NAMESPACE) + field(2, field(5, inner)))
    return set_header(DESTINATION, endpoints), field(_METADATA, space)


def more_time(seconds: float) -> bytes:
    """Ask for time before the answer; Envoy grants up to its ``max_message_timeout``."""
    nanos = int(seconds * 1e9)
    duration = b"\x08%b\x10%b" % (varint(nanos // 10**9), varint(nanos % 10**9))
    return field(_TIMEOUT, duration)


def refusal(error: ErrorResponse, request_id: str) -> bytes:
    """Answer in the endpoint's place: the client gets this error."""
    headers: RawHeaders = [
        (b"content-type", b"application/json"),
        *error.headers,
        (b"x-request-id", request_id.encode("latin-1")),
    ]
    status = field(1, b"\x08" + varint(error.status))
    details = field(5, b"foretoken_" + (error.code or error.type).encode())
    return field(
        _IMMEDIATE, status + field(2, set_headers(headers)) + field(3, error.body) + details
    )
