"""Remember which endpoint was sent which prompt prefix.

Approximate: it knows what was sent, not what is still cached, so each endpoint
forgets least recently used blocks at its own capacity, and how far a match can
be trusted is learned from the ``cached_tokens`` endpoints report. Called by the
scheduler only.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from predictor.types import EndpointState, FloatArray

# Weight of one report in the learned effectiveness, which starts at 1 ("what was sent
# is cached"): twenty reports make most of it.
REPORT_WEIGHT: Final = 0.05
# A match shorter than this says nothing about effectiveness: block rounding decides.
LEAST_MATCH_TOKENS: Final = 64


class PrefixIndex:
    """Map chained block hashes to the endpoints that hold them.

    A chain hash covers everything before it, so a block counts only as the
    continuation of a match: the walk stops where no endpoint is left.

    Attributes:
        default_capacity_blocks: Bound of an endpoint that has not told its capacity.

    >>> index = PrefixIndex(default_capacity_blocks=4)
    >>> index.insert("a:1", (1, 2, 3))
    >>> index.insert("b:1", (1,))
    >>> index.matched_blocks((1, 2, 9), ("a:1", "b:1", "c:1")).tolist()
    [2.0, 1.0, 0.0]
    """

    def __init__(self, *, default_capacity_blocks: int) -> None:
        self.default_capacity_blocks = default_capacity_blocks
        self._holders: dict[int, set[str]] = {}
        self._blocks: dict[str, OrderedDict[int, None]] = {}
        self._capacity: dict[str, int] = {}
        self._effectiveness: dict[str, float] = {}

    def set_capacity(self, endpoint: str, blocks: int) -> None:
        """Bound what one endpoint is believed to hold, in blocks."""
        self._capacity[endpoint] = max(blocks, 1)

    def insert(self, endpoint: str, hashes: Sequence[int]) -> None:
        """Note that a prompt with these blocks went to the endpoint."""
        held = self._blocks.setdefault(endpoint, OrderedDict())
        # Children before parents, so that the least recently used end drops leaves first.
        for block in reversed(hashes):
            if block in held:
                held.move_to_end(block)
            else:
                held[block] = None
                self._holders.setdefault(block, set()).add(endpoint)
        capacity = self._capacity.get(endpoint, self.default_capacity_blocks)
        while len(held) > capacity:
            block, _ = held.popitem(last=False)
            self._release(block, endpoint)

    def matched_blocks(self, hashes: Sequence[int], endpoints: Sequence[str]) -> FloatArray:
        """Count the leading blocks each endpoint holds, shape ``(n,)``."""
        left = {name: position for position, name in enumerate(endpoints)}
        matched = np.zeros(len(endpoints))
        depth = 0
        for block in hashes:
            holders = self._holders.get(block)
            if holders is None:
                break
            gone = left.keys() - holders
            for name in gone:
                matched[left.pop(name)] = depth
            depth += 1
            if not left:
                return matched
        for position in left.values():
            matched[position] = depth
        return matched

    def effectiveness(self, endpoint: str) -> float:
        """Give the share of matched tokens the endpoint really finds, 0 to 1."""
        return self._effectiveness.get(endpoint, 1.0)

    def report(self, endpoint: str, *, matched_tokens: float, cached_tokens: int) -> None:
        """Learn from what the endpoint says it found of a match."""
        if matched_tokens < LEAST_MATCH_TOKENS:
            return
        share = min(cached_tokens / matched_tokens, 1.0)
        before = self.effectiveness(endpoint)
        self._effectiveness[endpoint] = before + REPORT_WEIGHT * (share - before)

    def clear(self, endpoint: str) -> None:
        """Forget all an endpoint held: it restarted, or left."""
        for block in self._blocks.pop(endpoint, ()):
            self._release(block, endpoint)
        self._effectiveness.pop(endpoint, None)
        self._capacity.pop(endpoint, None)

    def _release(self, block: int, endpoint: str) -> None:
        holders = self._holders[block]
        holders.discard(endpoint)
        if not holders:
            del self._holders[block]


def has_restarted(before: EndpointState, now: EndpointState) -> bool:
    """Tell whether an endpoint's counter began anew; where unknown, whether it was away."""
    old, new = before.prefix_queries_total, now.prefix_queries_total
    return not before.up if old is None or new is None else new < old
