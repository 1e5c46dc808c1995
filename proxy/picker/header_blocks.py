"""Header blocks of gRPC calls: which method is called, and what an answer begins and ends with.

Envoy's calls of one connection differ in nothing: once its compression has settled, every
block is the same bytes and leaves the tables as they are, so what it means is remembered.
"""

from typing import Final

import hpack

from proxy.picker.errors import ConnectionViolated
from proxy.picker.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM

MAX_BLOCK_BYTES: Final = 65_536
_REMEMBERED: Final = 64  # blocks; a connection has one or two
_INDEXED: Final = 0x80
_MORE: Final = 0xFF  # an index that goes on in the next byte


class HeaderBlocks:
    r"""Decode the header blocks of one connection, in their order; whoever skips one loses them.

    >>> HeaderBlocks().path(b"\x83\x04\x02/x")
    '/x'
    """

    def __init__(self) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=MAX_BLOCK_BYTES)
        self._known: dict[bytes, str] = {}

    def path(self, block: bytes) -> str:
        """Give the path a block asks for, empty where it names none.

        Raises:
            ConnectionViolated: It cannot be decoded: nothing after it can.
        """
        known = self._known.get(block)
        if known is not None:
            return known
        path = self._decode(block)
        if _leaves_tables(block):
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[block] = path
        else:
            self._known.clear()  # an index may mean another header from here on
        return path

    def _decode(self, block: bytes) -> str:
        try:
            headers = self._decoder.decode(block, raw=True)
        except hpack.OversizedHeaderListError as error:
            raise ConnectionViolated(ENHANCE_YOUR_CALM, str(error)) from error
        except hpack.HPACKError as error:
            raise ConnectionViolated(COMPRESSION_ERROR, str(error)) from error
        paths = (value for name, value in headers if name == b":path")
        return bytes(next(paths, b"")).decode("latin-1")


def _leaves_tables(block: bytes) -> bool:
    """Tell whether a block is references alone, one byte each."""
    return min(block, default=0) >= _INDEXED and _MORE not in block


def _literal(name: bytes, value: bytes) -> bytes:
    """Encode a header that is not to be remembered; name and value below 127 bytes."""
    return b"\x00%c%b%c%b" % (len(name), name, len(value), value)


_OK: Final = b"\x88"  # :status 200, of the static table
HEAD: Final = _OK + _literal(b"content-type", b"application/grpc")
"""What every answer begins with."""
END_OK: Final = _literal(b"grpc-status", b"0")
"""What an answer that went well ends with."""


def trailers(status: int, message: str) -> bytes:
    """Encode what an answer ends with that did not go well.

    >>> trailers(12, "what?").endswith(b"what?")
    True
    """
    text = "".join(one if one.isascii() and one.isprintable() else "?" for one in message[:100])
    told = text.replace("%", "?").encode()  # a percent sign would begin an escape
    return _literal(b"grpc-status", b"%d" % status) + _literal(b"grpc-message", told)
