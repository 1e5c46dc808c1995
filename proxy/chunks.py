r"""Chunks of HTTP/1.1 bodies, one at a time, as streams of tokens come and go.

Nearly every read of a stream is one whole chunk of some hundred bytes. Those are taken off
their framing, and put into it, here. All else is left to the parser, and so is whatever is
not written as servers write it. Called by the response parser and the reply.
"""

from typing import Final

_SHORT: Final = 0x1000
"""Chunks below so many bytes have three digits at most: a token's event, logprobs aside."""
_LINES: Final[tuple[bytes, ...]] = tuple(b"%x\r\n" % size for size in range(_SHORT))


def framed(data: bytes) -> bytes:
    r"""Make a chunk of bytes, of which there is at least one.

    >>> framed(b"data: x\n\n")
    b'9\r\ndata: x\n\n\r\n'
    """
    size = len(data)
    line = _LINES[size] if size < _SHORT else b"%x\r\n" % size
    return line + data + b"\r\n"


def chunk_start(data: bytes) -> int:
    r"""Find where the data of the one short chunk begins that bytes are; it ends two before them.

    0 where they are more or less than one chunk, or not written as :func:`framed` would.

    >>> chunk_start(b"3\r\nabc\r\n"), chunk_start(b"0\r\n\r\n"), chunk_start(b"03\r\nabc\r\n")
    (3, 0, 0)
    """
    end = len(data) - 2  # of the chunk's data
    if end < 4:
        return 0
    size = digits = 0
    for digits in range(4):
        digit = data[digits]  # numbers are what compiled code compares fast
        if 0x30 <= digit <= 0x39:
            size = 16 * size + digit - 0x30
        elif 0x61 <= digit <= 0x66:
            size = 16 * size + digit - 0x57
        else:
            break
    start = digits + 2
    whole = (
        size == end - start
        and data[0] != 0x30
        and data[digits] == data[end] == 0x0D
        and data[digits + 1] == data[end + 1] == 0x0A
    )
    return start if whole else 0
