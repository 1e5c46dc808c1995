"""HTTP/2 frames and gRPC messages as bytes: taking them apart and putting them together.

Pure; knows nothing of connections and streams. Called by :mod:`proxy.picker.connection`.
Source: RFC 9113 sections 4 and 6; gRPC over HTTP/2 (length-prefixed messages).
"""

import struct
from collections.abc import Mapping
from typing import Final

from proxy.picker.errors import CallFailed, ConnectionViolated

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE = range(9)
CONTINUATION: Final = 9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITIZED: Final = 0x20

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
FLOW_CONTROL_ERROR: Final = 0x3
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
COMPRESSION_ERROR: Final = 0x9
ENHANCE_YOUR_CALM: Final = 0xB

MAX_CONCURRENT_STREAMS: Final = 0x3  # settings
INITIAL_WINDOW_SIZE: Final = 0x4

MAX_FRAME_BYTES: Final = 16_384  # what every peer may send and takes, unless told otherwise
HEAD_BYTES: Final = 9
PREFIX_BYTES: Final = 5  # before every gRPC message: compressed or not, and its length

Frame = tuple[int, int, int, bytes]
"""Type, flags, stream and payload."""

_HEAD: Final = struct.Struct(">HBBBL")
_MESSAGE: Final = struct.Struct(">HBBBLBL")  # both heads of a frame that is one message
_PREFIX: Final = struct.Struct(">BL")
_SETTING: Final = struct.Struct(">HL")
_LONGEST_ID: Final = 0x7FFF_FFFF


def split_frames(data: bytes) -> tuple[list[Frame], bytes]:
    """Take whole frames off the front; give them and the rest.

    Raises:
        ConnectionViolated: One is larger than allowed.

    >>> split_frames(frame(PING, 0, 0, b"12345678") + b"more")
    ([(6, 0, 0, b'12345678')], b'more')
    """
    frames: list[Frame] = []
    start, size = 0, len(data)
    while size - start >= HEAD_BYTES:
        high, low, kind, flags, stream = _HEAD.unpack_from(data, start)
        length = high << 8 | low
        if length > MAX_FRAME_BYTES:
            raise ConnectionViolated(FRAME_SIZE_ERROR, f"a frame of {length} bytes")
        end = start + HEAD_BYTES + length
        if end > size:
            break
        frames.append((kind, flags, stream & _LONGEST_ID, data[start + HEAD_BYTES : end]))
        start = end
    return frames, data[start:] if start else data


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Build one frame."""
    length = len(payload)
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream) + payload


def message_frame(stream: int, message: bytes) -> bytes:
    """Build the frame of one whole message.

    >>> message_frame(1, b"m") == frame(DATA, 0, 1, with_prefix(b"m"))
    True
    """
    length = len(message) + PREFIX_BYTES
    return _MESSAGE.pack(length >> 8, length & 0xFF, DATA, 0, stream, 0, len(message)) + message


def unpadded(flags: int, payload: bytes) -> bytes:
    r"""Give the payload of ``DATA`` or ``HEADERS`` without padding and priority.

    Raises:
        ConnectionViolated: More padding than payload.

    >>> unpadded(PADDED, b"\x02ab\x00\x00")
    b'ab'
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ConnectionViolated(FRAME_SIZE_ERROR, "no room for the length of the padding")
        start, end = 1, end - payload[0]
    if flags & PRIORITIZED:
        start += 5
    if start > end:
        raise ConnectionViolated(PROTOCOL_ERROR, "more padding than payload")
    return payload[start:end]


def settings(values: Mapping[int, int]) -> bytes:
    """Build the payload of ``SETTINGS``."""
    return b"".join(_SETTING.pack(*setting) for setting in values.items())


def read_settings(payload: bytes) -> dict[int, int]:
    """Read the payload of ``SETTINGS``; of one given twice the last counts.

    Raises:
        ConnectionViolated: It ends within one.

    >>> read_settings(settings({INITIAL_WINDOW_SIZE: 9}))
    {4: 9}
    """
    if len(payload) % _SETTING.size:
        raise ConnectionViolated(FRAME_SIZE_ERROR, "half a setting")
    return dict(_SETTING.iter_unpack(payload))


def split_messages(data: bytes, limit: int) -> tuple[list[bytes], bytes]:
    r"""Take whole gRPC messages off the front; give them and the rest.

    Args:
        data: What came of the stream's body and was not taken yet.
        limit: Most bytes of one message.

    Raises:
        CallFailed: One is compressed, or longer than the limit.

    >>> split_messages(with_prefix(b"one") + with_prefix(b"two")[:-1], limit=9)
    ([b'one'], b'\x00\x00\x00\x00\x03tw')
    """
    messages: list[bytes] = []
    start, size = 0, len(data)
    while size - start >= PREFIX_BYTES:
        compressed, length = _PREFIX.unpack_from(data, start)
        if compressed:
            raise CallFailed(12, "compressed messages are not understood")
        if length > limit:
            raise CallFailed(8, f"a message of {length} bytes; at most {limit} are taken")
        end = start + PREFIX_BYTES + length
        if end > size:
            break
        messages.append(data[start + PREFIX_BYTES : end])
        start = end
    return messages, data[start:] if start else data


def awaited_bytes(data: bytes) -> int:
    """Tell how much a message that has begun still lacks; 0 where its length is not known.

    >>> awaited_bytes(with_prefix(b"four")[:-3])
    3
    """
    if len(data) < PREFIX_BYTES:
        return 0
    length: int = _PREFIX.unpack_from(data)[1]
    return PREFIX_BYTES + length - len(data)


def with_prefix(message: bytes) -> bytes:
    """Put the gRPC prefix before a message."""
    return _PREFIX.pack(0, len(message)) + message
