"""How far each endpoint goes along with a chain of blocks, when asked as few blocks as can be.

Whoever stops holding a chain does not hold it again further on, so between two blocks that
the same endpoints hold lie only blocks that they all hold. Called by the exact index.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from scheduler.held_blocks import Run

# Past so many endpoints, which may all stop somewhere else, every sixteenth block is looked
# at first: many at once cost a third of one at a time. Measured at 100,000 tokens.
MANY: Final = 32
STRIDE: Final = 16


@dataclass(frozen=True, slots=True)
class Holders:
    """Tell who holds the blocks of a chain, as bits.

    Attributes:
        one: Asked by index.
        every: Asked for a range of indexes at once.
    """

    one: Callable[[int], int]
    every: Callable[[range], Iterable[int]]


def holders(one: Callable[[int], int]) -> Holders:
    """Ask for many as for one.

    >>> list(holders(lambda index: index).every(range(2)))
    [0, 1]
    """
    return Holders(one, lambda indexes: map(one, indexes))


def runs(held: Holders, length: int, want: int) -> Run:
    """Count for how many leading blocks each goes along.

    Args:
        held: Asked for a few indexes per endpoint that stops somewhere else.
        length: Blocks of the chain.
        want: Whom to look at, as bits.

    >>> held = holders(lambda index: 0b11 if index < 3 else 0b10)
    >>> runs(held, 8, 0b111).counts(8)[:3].tolist()
    [3.0, 8.0, 0.0]
    """
    run = Run()
    if not length:
        return run
    begun, low, first = 0, 0, held.one(0) & want
    if first.bit_count() > MANY:
        marks = range(STRIDE, length, STRIDE)
        before = -1
        for mark, holding in zip(marks, held.every(marks), strict=True):
            if holding != before:  # nine in ten are held by the same as the one before
                before = holding
                mask = holding & first
                if mask != first:
                    begun = _between(run, held.one, begun, (low, first), (mark, mask))
                    first = mask
                    if not first:
                        return run
            low = mark
    _between(run, held.one, begun, (low, first), (length, 0))
    return run


def _between(
    run: Run,
    held: Callable[[int], int],
    begun: int,
    low: tuple[int, int],
    high: tuple[int, int],
) -> int:
    """Count along the blocks up to an index: bisect for each next one that somebody lacks.

    Args:
        run: Takes the counts.
        held: Who holds the block at an index.
        begun: Blocks before this one are counted.
        low: An index from there on, and who holds all up to it.
        high: A later one, and who of them holds it.

    Returns:
        Up to which block all is counted: those behind it, all of ``high`` hold.
    """
    (index, first), (end, last) = low, high
    while first != last:
        near, far, left = index, end, last
        while far - near > 1:
            middle = (near + far) >> 1
            mask = held(middle) & first
            if mask == first:
                near = middle
            else:
                far, left = middle, mask
        run.add(first, far - begun)
        begun = index = far
        first = left
    return begun


def with_tails(depth: int, row: int, tails: Sequence[tuple[int, Holders]]) -> int:
    """Shorten a prefix until every window finds the last blocks it reads.

    Args:
        depth: Blocks all full-attention layers hold.
        row: The endpoint.
        tails: Blocks a window reaches back, and who holds them.

    >>> with_tails(5, 0, [(2, holders(lambda index: index != 3))])
    3
    """
    while depth:
        missing = max(_missing(depth, row, reach, held) for reach, held in tails)
        if missing < 0:
            return depth
        depth = missing
    return 0


def behind(depth: int, row: int, tiers: Sequence[Holders], length: int) -> list[int]:
    """Go on behind a prefix in the tiers further away; give the blocks found by tier.

    >>> behind(1, 0, [holders(lambda index: index < 3), holders(lambda index: index < 7)], 6)
    [2, 3]
    """
    counts = []
    for held in tiers:
        first = depth
        while depth < length and held.one(depth) >> row & 1:
            depth += 1
        counts.append(depth - first)
    return counts


def _missing(depth: int, row: int, reach: int, held: Holders) -> int:
    """Find the last block of a window that is not held, -1 for none."""
    for index in range(depth - 1, max(depth - reach, 0) - 1, -1):
        if not held.one(index) >> row & 1:
            return index
    return -1
