"""Write chains of prefix block hashes short: what others know already is named, not sent.

A conversation's next prompt continues the last one, and prompts of one application begin
alike, so most of a chain has been told before. A known beginning is named by its last hash,
which stands for all before it as chain hashes do; only what follows is sent. Both ends keep
the same chains by hearing the same messages in the same order. Where that fails (somebody
came later, missed something, or forgot earlier), a beginning cannot be found again: whoever
heard it says so, and all begin anew. Used by :mod:`foretoken.routers.exchange` only.
"""

import struct
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

MOST_BYTES: Final = 2 << 20
"""Of chains told since, to be referred to: some six thousand prompts of a dozen blocks, two
thousand of 64."""
HELD_FACTOR: Final = 2
"""Readers keep so many times what writers refer to: who heard more forgets earlier."""
CHAIN_BYTES: Final = 140
"""What keeping a chain takes besides its hashes: objects, and its end's place in a dictionary."""
HASH_BYTES: Final = 8
STRIDE: Final = 16
"""A chain can be continued from its end, and from every so many blocks."""
MOST_BLOCKS: Final = 1 << 16
"""Longest chain that is believed: 16 MB of prompt."""

_PACKED: Final = struct.Struct("<Q")


class Short(NamedTuple):
    """Hold a chain as it is sent.

    Attributes:
        known: Last hash of the beginning that others know, 0 for none.
        length: Blocks of that beginning.
        rest: The hashes after it, eight bytes each.
    """

    known: int
    length: int
    rest: bytes


class _Told(NamedTuple):
    hashes: bytes  # as they are sent
    at: int  # bytes told until then

    def continues_from(self, end: int, length: int) -> bool:
        """Tell whether its first so many blocks end with that hash."""
        return self.hashes[(length - 1) * HASH_BYTES : length * HASH_BYTES] == _PACKED.pack(end)

    def ends(self) -> Iterator[int]:
        """Give the last hash of every beginning that can be continued."""
        blocks = len(self.hashes) // HASH_BYTES
        for length in (*range(STRIDE, blocks, STRIDE), blocks):
            yield _PACKED.unpack_from(self.hashes, (length - 1) * HASH_BYTES)[0]


class Chains:
    """Keep what was told lately, by either side.

    Args:
        most: Bytes of chains that are referred to at most.

    >>> writer, reader = Chains(), Chains()
    >>> for chain in ((1, 2, 3), (1, 2, 3, 4)):
    ...     short = writer.shorten(chain)
    ...     print(short.length, len(short.rest), reader.whole(*short))
    0 24 (1, 2, 3)
    3 8 (1, 2, 3, 4)
    >>> Chains().whole(*writer.shorten((1, 2, 3, 4, 5))) is None
    True
    """

    def __init__(self, most: int = MOST_BYTES) -> None:
        self._most = most
        self._known: dict[int, _Told] = {}  # by the last hash of a beginning
        self._order: deque[_Told] = deque()
        self._held = 0  # bytes
        self._told = 0  # bytes, ever
        self._anew = 0  # of these, before anything that may be referred to

    def begin_anew(self) -> None:
        """Refer to nothing any more that was told until now."""
        self._anew = self._told + 1

    def shorten(self, chain: Sequence[int]) -> Short:
        """Write a chain that is to be told, and refer to it from now on."""
        hashes = struct.pack(f"<{len(chain)}Q", *chain)
        length = self._beginning(chain)
        self._keep(hashes)
        return Short(chain[length - 1] if length else 0, length, hashes[length * HASH_BYTES :])

    def whole(self, known: int, length: int, rest: bytes) -> tuple[int, ...] | None:
        """Read a chain that was told; ``None`` where its beginning is not known here.

        Raises:
            ValueError: It is none.
        """
        most = MOST_BLOCKS * HASH_BYTES
        if len(rest) % HASH_BYTES or not 0 <= length <= MOST_BLOCKS or len(rest) > most:
            msg = "no chain of hashes"
            raise ValueError(msg)
        hashes = rest
        if length:
            found = self._known.get(known)
            if found is None or not found.continues_from(known, length):
                return None
            hashes = found.hashes[: length * HASH_BYTES] + rest
        self._keep(hashes)
        return struct.unpack(f"<{len(hashes) // HASH_BYTES}Q", hashes)

    def _beginning(self, chain: Sequence[int]) -> int:
        """Give the length of the longest beginning that all others know."""
        oldest = max(self._anew, self._told - self._most)
        for length in range(len(chain), 0, -1):
            end = chain[length - 1]
            found = self._known.get(end)
            if found is not None and found.at >= oldest and found.continues_from(end, length):
                return length
        return 0

    def _keep(self, hashes: bytes) -> None:
        if not hashes:
            return
        size = _size(hashes)
        self._told += size
        told = _Told(hashes, self._told)
        for end in told.ends():
            self._known[end] = told
        self._order.append(told)
        self._held += size
        while self._held > HELD_FACTOR * self._most:
            old = self._order.popleft()
            self._held -= _size(old.hashes)
            for end in old.ends():
                if self._known.get(end) is old:
                    del self._known[end]


def _size(hashes: bytes) -> int:
    """Give the bytes that keeping a chain takes."""
    # Every beginning that can be continued has a place in the dictionary too.
    return len(hashes) * 7 // 4 + CHAIN_BYTES
