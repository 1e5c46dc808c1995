r"""Chunks of HTTP/1.1 bodies, one at a time, as streams of tokens come and go.

Nearly every read of a stream is one whole chunk of some hundred bytes. Those are taken off
their framing, and put into it, by a look into a table; all else is left to the parser, and
so is whatever is not written as servers write it. Called by the response parser and the
reply.
"""

from typing import Final

_SHORT: Final = 2048
"""Chunks below so many bytes are in the tables: a token's event, logprobs aside."""
_LINES: Final[tuple[bytes, ...]] = tuple(b"%x\r\n" % size for size in range(_SHORT))
_SIZES: Final[dict[bytes, int]] = {line: size for size, line in enumerate(_LINES) if size}
_LONGEST_LINE: Final = len(_LINES[-1])


def framed(data: bytes) -> bytes:
    r"""Make a chunk of bytes, of which there is at least one.

    >>> framed(b"data: x\n\n")
    b'9\r\ndata: x\n\n\r\n'
    """
    size = len(data)
    line = _LINES[size] if size < _SHORT else b"%x\r\n" % size
    return line + data + b"\r\n"


def only_chunk(data: bytes) -> bytes | None:
    r"""Give what is in the one short chunk that bytes are, ``None`` where they are more or less.

    >>> only_chunk(b"3\r\nabc\r\n"), only_chunk(b"0\r\n\r\n"), only_chunk(b"03\r\nabc\r\n")
    (b'abc', None, None)
    """
    start = data.find(b"\n", 0, _LONGEST_LINE) + 1
    size = _SIZES.get(data[:start])
    if size is None or len(data) != start + size + 2 or not data.endswith(b"\r\n"):
        return None
    return data[start : start + size]
