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
from collections.abc import Sequence
from typing import Final, NamedTuple

MOST_HASHES: Final = 200_000
"""Told since, to be referred to: prompts of some thousand conversations."""
HELD_FACTOR: Final = 2
"""Readers keep so many times what writers refer to, 20 MB: who heard more forgets earlier."""
STRIDE: Final = 16
"""A chain can be continued from its end, and from every so many blocks."""
MOST_BLOCKS: Final = 1 << 16
"""Longest chain that is believed: 16 MB of prompt."""


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


class _Known(NamedTuple):
    chain: tuple[int, ...]
    length: int
    at: int  # hashes told before it


class Chains:
    """Keep what was told lately, by either side.

    Args:
        most: Hashes that are referred to at most.

    >>> writer, reader = Chains(), Chains()
    >>> for chain in ((1, 2, 3), (1, 2, 3, 4)):
    ...     short = writer.shorten(chain)
    ...     print(short.length, len(short.rest), reader.whole(*short))
    0 24 (1, 2, 3)
    3 8 (1, 2, 3, 4)
    >>> Chains().whole(*writer.shorten((1, 2, 3, 4, 5))) is None
    True
    """

    def __init__(self, most: int = MOST_HASHES) -> None:
        self._most = most
        self._known: dict[int, _Known] = {}  # by the last hash of a beginning
        self._order: deque[tuple[tuple[int, ...], tuple[int, ...]]] = deque()
        self._held = 0
        self._told = 0  # hashes, ever
        self._anew = 0  # of these, before anything that may be referred to

    def begin_anew(self) -> None:
        """Refer to nothing any more that was told until now."""
        self._anew = self._told + 1

    def shorten(self, chain: Sequence[int]) -> Short:
        """Write a chain that is to be told, and refer to it from now on."""
        whole = tuple(chain)
        known = self._beginning(whole)
        length = 0 if known is None else known
        self._keep(whole)
        rest = struct.pack(f"<{len(whole) - length}Q", *whole[length:])
        return Short(whole[length - 1] if length else 0, length, rest)

    def whole(self, known: int, length: int, rest: bytes) -> tuple[int, ...] | None:
        """Read a chain that was told; ``None`` where its beginning is not known here.

        Raises:
            ValueError: It is none.
        """
        if len(rest) % 8 or not 0 <= length <= MOST_BLOCKS or len(rest) > MOST_BLOCKS * 8:
            msg = "no chain of hashes"
            raise ValueError(msg)
        beginning: tuple[int, ...] = ()
        if length:
            found = self._known.get(known)
            if found is None or found.length != length:
                return None
            beginning = found.chain[:length]
        chain = beginning + struct.unpack(f"<{len(rest) // 8}Q", rest)
        self._keep(chain)
        return chain

    def _beginning(self, chain: tuple[int, ...]) -> int | None:
        """Give the length of the longest beginning that all others know."""
        known, oldest = self._known, max(self._anew, self._told - self._most)
        for length in range(len(chain), 0, -1):
            found = known.get(chain[length - 1])
            if found is not None and found.length == length and found.at >= oldest:
                return length
        return None

    def _keep(self, chain: tuple[int, ...]) -> None:
        if not chain:
            return
        lengths = (*range(STRIDE, len(chain), STRIDE), len(chain))
        ends = tuple(chain[length - 1] for length in lengths)
        self._told += len(chain)
        for end, length in zip(ends, lengths, strict=True):
            self._known[end] = _Known(chain, length, self._told)
        self._order.append((chain, ends))
        self._held += len(chain)
        while self._held > HELD_FACTOR * self._most:
            old, ends = self._order.popleft()
            self._held -= len(old)
            for end in ends:
                if (held := self._known.get(end)) is not None and held.chain is old:
                    del self._known[end]
