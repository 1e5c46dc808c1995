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

    __slots__ = ("_spare", "holders")

    def __init__(self) -> None:
        self.holders: dict[int, int] = {}
        self._spare: dict[tuple[int, int], int] = {}  # copies beyond the first

    def __bool__(self) -> bool:
        return bool(self.holders)

    def add(self, row: int, block: int) -> None:
        """Take in one more copy."""
        before = self.holders.get(block, 0)
        if before >> row & 1:
            self._spare[row, block] = self._spare.get((row, block), 0) + 1
        else:
            self.holders[block] = before | 1 << row

    def remove(self, row: int, block: int) -> bool:
        """Take out one copy; false where there was none."""
        before = self.holders.get(block, 0)
        if not before >> row & 1:
            return False
        spare = self._spare.pop((row, block), 0)
        if spare > 1:
            self._spare[row, block] = spare - 1
        elif not spare:
            self._let_go(block, before ^ 1 << row)
        return True

    def drop(self, row: int, block: int) -> None:
        """Take out all copies of a block at an endpoint, should there be any."""
        before = self.holders.get(block, 0)
        if before >> row & 1:
            self._spare.pop((row, block), None)
            self._let_go(block, before ^ 1 << row)

    def clear(self, row: int) -> None:
        """Take out all copies of an endpoint; looks at every block there is."""
        bit = 1 << row
        for block, mask in [item for item in self.holders.items() if item[1] & bit]:
            self._let_go(block, mask ^ bit)
        for key in [key for key in self._spare if key[0] == row]:
            del self._spare[key]

    def _let_go(self, block: int, left: int) -> None:
        if left:
            self.holders[block] = left
        else:
            del self.holders[block]
