"""Which endpoints hold copies of which blocks, in one tier and group, as they announce it.

An endpoint is a bit, its row number, as in :mod:`scheduler.held_blocks`; here nothing is
forgotten but what is said to be gone. Two requests that compute the same block at once
leave two copies of it, and each is announced and removed by itself. Called by the exact
index.
"""


class AnnouncedBlocks:
    """Count copies of blocks by endpoint.

    Attributes:
        holders: By block, the endpoints with at least one copy: bit ``row`` of an integer.

    >>> blocks = AnnouncedBlocks()
    >>> blocks.add(1, 7), blocks.add(1, 7), blocks.add(0, 7)
    (None, None, None)
    >>> blocks.remove(1, 7), blocks.holders[7], blocks.remove(1, 7), blocks.holders[7]
    (True, 3, True, 1)
    >>> blocks.remove(1, 7)
    False
    """

    __slots__ = ("_copies", "holders")

    def __init__(self) -> None:
        self.holders: dict[int, int] = {}
        self._copies: dict[int, dict[int, int]] = {}  # by row, then block

    def __bool__(self) -> bool:
        return bool(self.holders)

    def add(self, row: int, block: int) -> None:
        """Take in one more copy."""
        held = self._copies.get(row)
        if held is None:
            held = self._copies[row] = {}
        copies = held.get(block, 0)
        held[block] = copies + 1
        if not copies:
            self.holders[block] = self.holders.get(block, 0) | 1 << row

    def remove(self, row: int, block: int) -> bool:
        """Take out one copy; false where there was none."""
        held = self._copies.get(row, {})
        copies = held.get(block, 0)
        if copies > 1:
            held[block] = copies - 1
        elif copies:
            del held[block]
            self._let_go(row, block)
        return copies > 0

    def drop(self, row: int, block: int) -> None:
        """Take out all copies of a block at an endpoint, should there be any."""
        if self._copies.get(row, {}).pop(block, 0):
            self._let_go(row, block)

    def clear(self, row: int) -> int:
        """Take out all copies of an endpoint; give how many blocks it held."""
        held = self._copies.pop(row, {})
        for block in held:
            self._let_go(row, block)
        return len(held)

    def _let_go(self, row: int, block: int) -> None:
        left = self.holders[block] ^ 1 << row
        if left:
            self.holders[block] = left
        else:
            del self.holders[block]
