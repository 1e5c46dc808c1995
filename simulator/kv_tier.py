"""KV cache beyond the GPU: blocks kept in CPU memory or on storage endpoints share.

Decides which block a tier forgets: the least recently used one, and of one request's
blocks the last first, as a prefix without its beginning is worth nothing. A tier of an endpoint's
own is its CPU memory; one given to several engines is shared storage, where a block one
of them computed is there for all. Called by the engine.

Source: vLLM V1 ``kv_offload`` (store what is computed, look up behind the GPU's match,
load before the request is scheduled); LMCache and Mooncake for shared storage.
"""

from collections import OrderedDict
from collections.abc import Sequence


class KvTier:
    """Remember the hashes of stored blocks, the least recently used first.

    Attributes:
        load_s_per_token: Seconds to bring one token's KV back to the GPU.

    >>> tier = KvTier(capacity_blocks=2, load_s_per_token=1e-5)
    >>> tier.store((1, 2, 3))
    >>> tier.match((1, 2, 3)), tier.match((2, 3))
    (2, 1)
    """

    __slots__ = ("_blocks", "_capacity", "load_s_per_token")

    def __init__(self, *, capacity_blocks: int, load_s_per_token: float) -> None:
        self.load_s_per_token = load_s_per_token
        self._capacity = capacity_blocks
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def store(self, hashes: Sequence[int]) -> None:
        """Keep blocks; those there already count as used."""
        blocks = self._blocks
        for block in reversed(hashes):
            blocks[block] = None
            blocks.move_to_end(block)
        while len(blocks) > self._capacity:
            blocks.popitem(last=False)

    def use(self, hashes: Sequence[int]) -> None:
        """Let blocks count as used, as far as they are there: their request has ended."""
        for block in reversed(hashes):
            if block in self._blocks:
                self._blocks.move_to_end(block)

    def clear(self) -> None:
        """Forget all."""
        self._blocks.clear()

    def match(self, hashes: Sequence[int]) -> int:
        """Count the leading blocks that are stored."""
        for count, block in enumerate(hashes):
            if block not in self._blocks:
                return count
        return len(hashes)
