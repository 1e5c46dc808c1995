"""The KV cache of an engine whose future is played forward: what fits, what is found.

Decides by counts, without the pool of blocks: a request takes as many as its tokens need
and gives them back when it ends. Content counts as cached if it is at the beginning, or
once a request ahead computes it. Called by :mod:`simulator.projection` only.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

from simulator.engine_state import EngineState
from simulator.sequence import Sequence

End = tuple[int, int, str, int]
"""A request that decodes: (step that generates its last token, number, id, tokens then)."""


class ProjectedKv:
    """Count blocks and remember content.

    Args:
        state: The engine at the beginning.
        queued: Requests that are not in the batch, those still to come among them.
        ends: Requests that decode.
    """

    __slots__ = (
        "_blocks",
        "_computed",
        "_found",
        "_held",
        "_kv",
        "_missing",
        "_roomy",
        "_share",
        "_size",
        "_wanted",
    )

    def __init__(self, state: EngineState, queued: list[Sequence], ends: list[End]) -> None:
        self._kv = state.kv
        self._size = state.block_size
        self._blocks = state.kv_blocks
        begun = [one for one, _ in state.prefilling]
        holders = [*begun, *(one for one in queued if one.admitted)]
        self._held = sum(map(self._needed, holders))  # by those that do not decode yet
        most = sum(tokens for _, _, _, tokens in ends) + sum(map(_tokens, begun + queued))
        self._roomy = most // self._size + len(ends) + len(begun) + len(queued) <= self._blocks
        self._share = 1.0 if self._roomy else self._held_apart(state, holders, ends)
        self._found = {one.rank: self._match(one) for one in queued}
        # The first block of each that is not cached: those who share more lack the same one.
        self._missing = {one.rank: self._next_block(one, self._found[one.rank]) for one in queued}
        self._missing |= {one.rank: self._next_block(one, one.holding.published) for one in begun}
        self._wanted = Counter(self._missing.values())
        self._computed: set[int] = set()

    def admit(self, one: Sequence, ends: list[End], steps: int, context: int) -> bool:
        """Give a request its blocks and what is cached of it; false where they do not fit.

        Args:
            one: The request.
            ends: Those that decode.
            steps: Steps done.
            context: Tokens those that decode hold in the coming step.
        """
        if not self._fits(self._needed(one), ends, steps, context):
            return False
        self._held += self._needed(one)
        found = min(self._found[one.rank], (one.tokens - 1) // self._size)
        if self._missing[one.rank] in self._computed:
            hashes, known = one.request.block_hashes, self._computed
            most = min((one.tokens - 1) // self._size, len(hashes))
            found = bisect_left(hashes, 1, lo=found, hi=most, key=lambda block: block not in known)
        one.admitted, one.computed = True, found * self._size
        return True

    def load(self, one: Sequence) -> float | None:
        """Count as computed what the tiers have of a request; the seconds to load it, if any."""
        blocks, load_s = self._kv.behind(one)
        if not blocks:
            return None
        one.loaded = True
        one.computed += blocks * self._size
        return load_s

    def publish(self, one: Sequence) -> None:
        """Let those behind a request find what is computed of it, or loaded."""
        missing = self._missing[one.rank]
        if missing is not None and self._wanted[missing] > 1:
            first = self._found.get(one.rank, one.holding.published)
            self._computed.update(one.request.block_hashes[first : one.tokens // self._size])

    def begin_to_decode(self, one: Sequence) -> None:
        """Count the blocks of a request with those that decode from here on."""
        self._held -= self._needed(one)

    def ignore_limit(self) -> None:
        """Let everything fit: counts that keep a request out of an empty cache are off."""
        self._roomy = True

    def _fits(self, blocks: int, ends: list[End], steps: int, context: int) -> bool:
        if self._roomy:
            return True
        room = self._blocks / self._share - self._held - blocks
        least = context // self._size
        if least + len(ends) <= room:
            return True
        return least <= room and self._decoding(ends, steps) <= room

    def _decoding(self, ends: list[End], steps: int) -> int:
        """Count the blocks of those that decode, in the step after as many are done."""
        size = self._size
        return sum(-((last - steps - tokens) // size) for last, _, _, tokens in ends)

    def _held_apart(
        self, state: EngineState, holders: Iterable[Sequence], ends: list[End]
    ) -> float:
        """Relate the blocks that requests hold to what these count one by one, at most 1."""
        # Without a step under way those that decode have no block for it yet.
        steps = state.decoded_steps - (state.step_s is None)
        counted = self._decoding(ends, steps) + sum(one.holding.blocks for one in holders)
        held = self._blocks - state.kv.cache.free
        return min(held / counted, 1.0) if held and counted else 1.0

    def _match(self, one: Sequence) -> int:
        return self._kv.cache.match(one.request.block_hashes, one.tokens // self._size)

    def _next_block(self, one: Sequence, found: int) -> int | None:
        hashes = one.request.block_hashes
        return hashes[found] if found < min(one.tokens // self._size, len(hashes)) else None

    def _needed(self, one: Sequence) -> int:
        return -(-one.tokens // self._size)


def _tokens(one: Sequence) -> int:
    return one.request.prompt_tokens + one.request.output_tokens
