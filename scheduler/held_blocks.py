"""Which endpoints hold which blocks in one tier, least recently used first.

An endpoint is a bit, its row number in the endpoint table: one integer per block says
who holds it, so that following a prompt through a hundred endpoints is one ``and`` a
block. Called by the prefix index.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from predictor.types import FloatArray

_BYTE: Final = 8


class HeldBlocks:
    """Remember the blocks each endpoint holds, each within its own capacity.

    Attributes:
        holders: By block, the endpoints that hold it: bit ``row`` of an integer.

    >>> tier = HeldBlocks()
    >>> tier.use(1, (7, 8, 9), capacity=2)
    >>> tier.holders
    {8: 2, 7: 2}
    """

    __slots__ = ("_held", "holders")

    def __init__(self) -> None:
        self.holders: dict[int, int] = {}
        self._held: dict[int, OrderedDict[int, None]] = {}

    def __contains__(self, row: int) -> bool:
        return row in self._held

    def __len__(self) -> int:
        """Count the endpoints that hold anything."""
        return len(self._held)

    def use(self, row: int, hashes: Sequence[int], *, capacity: int) -> None:
        """Note that an endpoint has used these blocks, and forget what it had to give up.

        The last blocks of a prompt go first: without its beginning a prefix is worth nothing.
        """
        held = self._held.get(row)
        if held is None:
            held = self._held[row] = OrderedDict()
        holders, bit = self.holders, 1 << row
        for block in reversed(hashes):
            if block in held:
                held.move_to_end(block)
            else:
                held[block] = None
                holders[block] = holders.get(block, 0) | bit
        self._forget(row, capacity)

    def shrink(self, capacity: int) -> None:
        """Forget what endpoints hold beyond so many blocks each."""
        for row in self._held:
            self._forget(row, capacity)

    def clear(self, row: int) -> None:
        """Forget all that an endpoint held."""
        for block in self._held.pop(row, ()):
            self._release(block, 1 << row)

    def _forget(self, row: int, capacity: int) -> None:
        held, bit = self._held[row], 1 << row
        while len(held) > capacity:
            block, _ = held.popitem(last=False)
            self._release(block, bit)

    def _release(self, block: int, bit: int) -> None:
        left = self.holders[block] & ~bit
        if left:
            self.holders[block] = left
        else:
            del self.holders[block]


class Run:
    """Count for how many blocks each endpoint went along, from masks of who still does.

    >>> run = Run()
    >>> for mask in (0b11, 0b11, 0b01):
    ...     run.add(mask)
    >>> run.counts(8)[:2]
    array([3., 2.])
    """

    __slots__ = ("_lengths", "_masks")

    def __init__(self) -> None:
        self._masks: list[int] = []
        self._lengths: list[float] = []

    def add(self, mask: int, blocks: int = 1) -> None:
        """Note that these endpoints go along for some more blocks."""
        if not mask or not blocks:
            return
        if self._masks and self._masks[-1] == mask:
            self._lengths[-1] += blocks
        else:
            self._masks.append(mask)
            self._lengths.append(float(blocks))

    def counts(self, capacity: int) -> FloatArray:
        """Give the blocks by row number, ``(capacity,)``; ``capacity`` is a multiple of 8."""
        if not self._masks:
            return np.zeros(capacity)
        width = capacity // _BYTE
        packed = b"".join([mask.to_bytes(width, "little") for mask in self._masks])
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
        counts: FloatArray
        if len(self._masks) == 1:
            counts = np.multiply(bits, self._lengths[0])
        else:
            counts = np.array(self._lengths) @ bits.reshape(-1, capacity)
        return counts
