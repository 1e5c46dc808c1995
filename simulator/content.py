"""What prompts consist of, without text, and the keys their KV blocks are found by.

A prompt is a tuple of segments. A segment is the beginning of some content: all
segments of one content id hold the same tokens as far as they go, and segments of
different ids agree in nothing. Decides the keys only: two prompts share block keys
exactly as far as their leading content agrees. Called by workloads, which write
prompts, and by whoever sends them to an engine or a scheduler.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

import xxhash

Segment = tuple[int, int]
"""Content id, any signed 64-bit number, and tokens of it, from its first one on."""

LONGEST_PROMPT_TOKENS: Final = (1 << 24) - 1
"""Tokens of one prompt that keys can tell apart: its position is their low 24 bits."""

_POSITION: Final = LONGEST_PROMPT_TOKENS
_PLACE = Struct("<QQq").pack  # path before, where the segment begins, content id


def segment_tokens(segments: Iterable[Segment]) -> int:
    """Count the tokens of a prompt.

    >>> segment_tokens([(7, 1000), (-3, 24)])
    1024
    """
    return sum(tokens for _, tokens in segments)


def block_hashes(segments: Iterable[Segment], block_tokens: int) -> list[int]:
    """Give the key of every full block of a prompt, in order.

    A key stands for all tokens up to the end of its block: the hash of the path to the
    segment in which the block ends, plus the block's end. A segment thus costs one hash
    and one range, however long it is. Keys are below 2**64 and the same in every process.

    Args:
        segments: The prompt; segments without tokens count for nothing.
        block_tokens: Tokens in a block, at least 1. Keys of different block sizes must
            not be mixed.

    Raises:
        ValueError: The prompt is longer than ``LONGEST_PROMPT_TOKENS``.

    >>> system, mine, yours = (1, 40), (2, 24), (3, 24)
    >>> first, second = block_hashes([system, mine], 16), block_hashes([system, yours], 16)
    >>> len(first), [a == b for a, b in zip(first, second)]
    (4, [True, True, False, False])
    """
    keys: list[int] = []
    path = begin = 0
    end_of_block = block_tokens
    for content_id, tokens in segments:
        if tokens <= 0:
            continue
        path = xxhash.xxh3_64_intdigest(_PLACE(path, begin, content_id)) & ~_POSITION
        begin += tokens
        if begin >= end_of_block:
            keys.extend(range(path + end_of_block, path + begin + 1, block_tokens))
            end_of_block = begin - begin % block_tokens + block_tokens
    if begin > LONGEST_PROMPT_TOKENS:
        raise ValueError(f"a prompt of {begin} tokens; keys reach {LONGEST_PROMPT_TOKENS}")
    return keys
