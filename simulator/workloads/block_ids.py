"""From the block ids of recorded prompts to segments.

Decides content ids: a run of ascending block ids becomes one segment named by its first
id, which agrees with other prompts exactly as far as the blocks did, for runs are cut
where ids jump. What a trace says nothing about gets ids below zero, of its own.
"""

from collections.abc import Iterable, Sequence

import xxhash

from simulator.content import Segment


def to_runs(block_ids: Iterable[int]) -> list[tuple[int, int]]:
    """Join ascending ids.

    Returns:
        ``(first id, blocks)`` of each run.

    >>> to_runs([0, 1, 2, 9, 10])
    [(0, 3), (9, 2)]
    """
    runs: list[tuple[int, int]] = []
    first = count = 0
    for block in block_ids:
        if count and block == first + count:
            count += 1
            continue
        if count:
            runs.append((first, count))
        first, count = block, 1
    if count:
        runs.append((first, count))
    return runs


def to_segments(
    runs: Sequence[tuple[int, int]], block_tokens: int, prompt_tokens: int, tail_id: int
) -> tuple[Segment, ...]:
    """Cut runs of blocks to the length of the prompt.

    Args:
        runs: ``(content id, blocks)``.
        block_tokens: Tokens in a block.
        prompt_tokens: Length of the prompt, at least 1.
        tail_id: Content of what the blocks do not cover.

    >>> to_segments([(5, 2), (9, 1)], 16, 40, tail_id=-1)
    ((5, 32), (9, 8))
    >>> to_segments([(5, 2)], 16, 40, tail_id=-1)
    ((5, 32), (-1, 8))
    """
    segments: list[Segment] = []
    left = prompt_tokens
    for content_id, blocks in runs:
        tokens = min(blocks * block_tokens, left)
        if tokens:
            segments.append((content_id, tokens))
            left -= tokens
    if left:
        segments.append((tail_id, left))
    return tuple(segments)


def own_ids(number: int) -> tuple[int, int]:
    """Name what is only request ``number``'s: the rest of its prompt, and its answer.

    >>> own_ids(0), own_ids(1)
    ((-1, -2), (-3, -4))
    """
    return -2 * number - 1, -2 * number - 2


def named_id(*parts: object) -> int:
    """Name content by what describes it; a positive number that is the same everywhere.

    >>> named_id("tools", 9292) == named_id("tools", 9292) != named_id("tools", 9293)
    True
    """
    text = "\x1f".join(str(part) for part in parts)
    return (1 << 62) | (xxhash.xxh3_64_intdigest(text.encode(errors="replace")) >> 2)
