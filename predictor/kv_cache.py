"""What endpoints announce of their KV caches, and the hash chain that names a prefix.

Engines name blocks by hashes of their own, whose algorithm, seed and extra keys differ by
version and setting. So a prefix is named by what is in it: its tokens, the adapter and the
cache salt. Both sides of a match use :func:`chain`: announcements, which carry the tokens,
and prompts once they are tokenized.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from xxhash import xxh3_64_intdigest

TOKEN_BYTES: Final = 4  # a token id is a little-endian 32-bit number

BlockHash = int | bytes
"""How the engine itself names a block: unique for its content, opaque to us."""

TokenBlocks = Mapping[int, tuple[int, ...]]
"""A prompt's chain of full blocks by the tokens per block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksStored:
    """Announce blocks that an endpoint now holds, each the continuation of the one before.

    Attributes:
        hashes: The engine's names of them.
        parent: Its name of the block before the first one, ``None`` at the beginning.
        tokens: Token ids of all of them, :data:`TOKEN_BYTES` each.
        block_tokens: Tokens per block.
        adapter: LoRA adapter, ``None`` for the base model.
        salt: Cache salt; told with the first block of a prompt only.
        marks: What else tells a block from one of the same tokens (images, embeddings), by
            its index.
        tier: Where, an index of ``features.TIERS``.
        group: Which of the layers that share a cache layout.
        window_tokens: Attention reaches this far back, ``None`` for all the way.
        prefix: Whether a prefix can be found in this group at all, as far as we can tell.
    """

    hashes: Sequence[BlockHash]
    parent: BlockHash | None
    tokens: bytes
    block_tokens: int
    adapter: str | None = None
    salt: str | None = None
    marks: Mapping[int, bytes] = field(default_factory=dict)
    tier: int = 0
    group: int = 0
    window_tokens: int | None = None
    prefix: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocksRemoved:
    """Announce that one copy of each of these blocks is gone; fields as in `BlocksStored`."""

    hashes: Sequence[BlockHash]
    tier: int = 0
    group: int = 0


@dataclass(frozen=True, slots=True)
class BlocksCleared:
    """Announce that the endpoint holds nothing any more."""


KvEvent = BlocksStored | BlocksRemoved | BlocksCleared


def root(adapter: str | None, salt: str | None) -> int:
    """Give what the chain of a prompt starts from."""
    return xxh3_64_intdigest(f"{adapter or ''}\0{salt or ''}".encode())


def chain(tokens: bytes, block_tokens: int, parent: int) -> tuple[int, ...]:
    """Name every full block of tokens by what is in it and all before it.

    Args:
        tokens: Ids, :data:`TOKEN_BYTES` each.
        block_tokens: Tokens per block.
        parent: Name of the block before, :func:`root` for none.

    >>> start = root(None, None)
    >>> whole = chain(bytes(32 * 4), 16, start)
    >>> len(whole), chain(bytes(16 * 4), 16, whole[0]) == whole[1:]
    (2, True)
    >>> chain(bytes(32 * 4), 16, root("adapter", None)) == whole
    False
    """
    width = block_tokens * TOKEN_BYTES
    names = []
    for start in range(0, len(tokens) - width + 1, width):
        parent = xxh3_64_intdigest(tokens[start : start + width], parent)
        names.append(parent)
    return tuple(names)
