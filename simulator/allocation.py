"""KV blocks for requests: which are found, taken, published and given back.

Decides what a request finds cached before it runs, on the GPU and in the tiers behind
it, and offers what it computes to both. Prompt blocks can be found from the step that
computes them, generated ones once their request has left. Called by the
engine; projections ask it what the tiers have.

Source: vLLM V1 ``kv_cache_manager.py``; for tiers, ``kv_offload``.
"""

from simulator.kv_cache import KvCache
from simulator.kv_tier import KvTier
from simulator.sequence import Sequence
from simulator.settings import EngineSettings


class Allocation:
    """Hand out the KV blocks of one endpoint to its requests.

    Args:
        settings: Block size, and the endpoint's own tier in CPU memory.
        blocks: Blocks on the GPU.
        shared_tier: Storage that several endpoints share, asked behind the own tier.
    """

    __slots__ = ("_block_size", "_own_tier", "_tiers", "cache")

    def __init__(
        self, settings: EngineSettings, *, blocks: int, shared_tier: KvTier | None
    ) -> None:
        self.cache = KvCache(blocks)
        self._block_size = settings.block_size
        self._own_tier = KvTier(
            capacity_blocks=(settings.cpu_tier_tokens or 0) // settings.block_size,
            load_s_per_token=settings.cpu_load_s_per_token,
        )
        self._tiers = [] if settings.cpu_tier_tokens is None else [self._own_tier]
        self._tiers += [] if shared_tier is None else [shared_tier]

    def lose(self) -> None:
        """Forget all but what is on shared storage."""
        watcher = self.cache.watcher
        self.cache = KvCache(self.cache.capacity)
        self.cache.watcher = watcher
        if watcher is not None:
            watcher.cleared()
        self._own_tier.clear()

    def admit(self, sequence: Sequence) -> bool:
        """Pin what the GPU has of a request; false where the rest of it would not fit."""
        known = sequence.request.block_hashes
        known = known[: self.cache.match(known, self._findable(sequence))]
        holding = self.cache.admit(known, needed=self._blocks(sequence.tokens))
        if holding is None:
            return False
        sequence.holding, sequence.admitted = holding, True
        sequence.computed = len(known) * self._block_size
        return True

    def load(self, sequence: Sequence) -> tuple[int, float]:
        """Take what the tiers have of an admitted request, behind what the GPU has.

        Returns:
            Tokens found and the seconds it takes to load them. They count as computed;
            others find them once :meth:`publish` is called.
        """
        blocks, load_s = self.behind(sequence)
        if not blocks:
            return 0, 0.0
        # All blocks are taken at once: a request that holds some must not wait for others.
        self.cache.extend(sequence.holding, self._blocks(sequence.tokens))
        sequence.loaded = True
        sequence.computed += blocks * self._block_size
        return blocks * self._block_size, load_s

    def behind(self, sequence: Sequence) -> tuple[int, float]:
        """Count the blocks the tiers have of a request behind what is computed of it.

        Returns:
            Blocks, and the seconds it takes to load them; none once it has loaded.
        """
        if not self._tiers or sequence.loaded:
            return 0, 0.0
        first = found = sequence.computed // self._block_size
        load_s = 0.0
        hashes = sequence.request.block_hashes[: self._findable(sequence)]
        for tier in self._tiers:
            blocks = tier.match(hashes[found:])
            found += blocks
            load_s += blocks * self._block_size * tier.load_s_per_token
        return found - first, load_s

    def hold(self, sequence: Sequence, new: int) -> bool:
        """Give a request the blocks for ``new`` more tokens; false if they are not free."""
        if not self.cache.extend(sequence.holding, self._blocks(sequence.computed + new)):
            return False
        self.publish(sequence, new)
        return True

    def publish(self, sequence: Sequence, new: int = 0) -> None:
        """Let others find the full blocks of what is computed and ``new`` tokens more."""
        holding = sequence.holding
        full = (sequence.computed + new) // self._block_size
        hashes = sequence.request.block_hashes
        for tier in self._tiers:
            tier.store(hashes[holding.published : full])
        self.cache.publish(holding, hashes, full=full)

    def release(self, sequence: Sequence) -> None:
        """Take back what a request holds; one that was never admitted holds nothing."""
        known = sequence.request.block_hashes[: sequence.computed // self._block_size]
        for tier in self._tiers:
            tier.use(known)
        self.cache.release(sequence.holding)
        sequence.admitted = False

    def release_decoded(self, sequence: Sequence, *, begun: int) -> None:
        """Take back what a request holds that decoded, ``begun`` tokens more than computed."""
        blocks = self._blocks(sequence.computed + begun)
        sequence.holding.private = blocks - len(sequence.holding.known)
        self.publish(sequence)
        self.release(sequence)

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self._block_size)

    def _findable(self, sequence: Sequence) -> int:
        # The last token is always computed: its output is what comes next.
        return (sequence.tokens - 1) // self._block_size
