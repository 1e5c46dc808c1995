"""The KV cache of one endpoint: blocks, who holds them, and which can be found again.

Decides which block is evicted: the least recently released one that nobody holds.
A block is either *known*, found by the hash of its tokens and everything before
them and then shared, or *private* to one request. Blocks have no identity beyond
that, so the pool is three numbers and two dictionaries. Called by the engine only.

Source: vLLM V1 ``block_pool.py`` and ``kv_cache_manager.py``. One difference: a
block whose content is already known stays private here instead of being a second copy.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol


class CacheWatcher(Protocol):
    """Hear which blocks can be found from now on, and which no longer."""

    def stored(self, hashes: Sequence[int]) -> None:
        """Take note of blocks that became known, in their order."""
        ...

    def removed(self, block: int) -> None:
        """Take note of a block that was evicted."""
        ...

    def cleared(self) -> None:
        """Take note that no block is known any more."""
        ...


class Holding:
    """The blocks one running request holds."""

    __slots__ = ("known", "private", "published")

    def __init__(self, known: list[int], private: int) -> None:
        self.known = known
        """Hashes of the known blocks it pins, in order."""
        self.private = private
        """Blocks of its own without a hash."""
        self.published = len(known)
        """Leading full blocks already offered to the cache."""

    @property
    def blocks(self) -> int:
        """Count all blocks held."""
        return len(self.known) + self.private

    def __deepcopy__(self, memo: dict[int, object]) -> "Holding":
        """Give a copy; hashes are numbers, which the usual way would look at one by one."""
        memo[id(self)] = copy = Holding(list(self.known), self.private)
        copy.published = self.published
        return copy


class KvCache:
    """Count, share and evict blocks; its state changes only through its methods."""

    __slots__ = ("_empty", "_pins", "_released", "capacity", "watcher")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        """Blocks there are."""
        self.watcher: CacheWatcher | None = None
        """Hears of changes; copies have none."""
        self._empty = capacity
        self._pins: dict[int, int] = {}  # hash -> holders, for every known block
        self._released: OrderedDict[int, None] = (
            OrderedDict()
        )  # known, held by nobody, oldest first

    @property
    def free(self) -> int:
        """Count the blocks that can be taken: empty ones and released known ones."""
        return self._empty + len(self._released)

    @property
    def usage(self) -> float:
        """Give the fraction of blocks held by requests, 0 to 1."""
        return 1.0 - self.free / self.capacity

    def match(self, hashes: Sequence[int], limit: int) -> int:
        """Count the leading blocks that are known, at most ``limit``.

        >>> cache = KvCache(8)
        >>> holding = cache.admit((), needed=2)
        >>> cache.extend(holding, 2), cache.publish(holding, (11, 12, 13), full=2)
        (True, None)
        >>> cache.match((11, 12, 13), limit=3), cache.match((99, 12), limit=2)
        (2, 0)
        """
        for count, block in enumerate(hashes[:limit]):
            if block not in self._pins:
                return count
        return min(limit, len(hashes))

    def admit(self, known: Sequence[int], *, needed: int) -> Holding | None:
        """Pin known blocks for a request that needs ``needed`` blocks in all.

        Returns:
            What it holds, or ``None``, changing nothing, where the rest would not fit.
        """
        revived = sum(block in self._released for block in known)
        if needed - len(known) > self.free - revived:
            return None
        for block in known:
            self._pins[block] += 1
            self._released.pop(block, None)
        return Holding(list(known), 0)

    def extend(self, holding: Holding, blocks: int) -> bool:
        """Grow a holding to ``blocks`` in all; false, changing nothing, if they are not free."""
        wanted = blocks - holding.blocks
        if wanted <= 0:
            return True
        if wanted > self.free:
            return False
        self.take(wanted)
        holding.private += wanted
        return True

    def take(self, blocks: int) -> None:
        """Take blocks out of the pool, at most those that are free; evict as needed.

        Whoever takes them gives them back as private blocks of a holding.
        """
        pins, evict, watcher = self._pins, self._released.popitem, self.watcher
        for _ in range(blocks - self._empty):
            block, _ = evict(last=False)
            del pins[block]
            if watcher is not None:
                watcher.removed(block)
        self._empty = max(self._empty - blocks, 0)

    def warm(self, hashes: Sequence[int]) -> None:
        """Make blocks findable as if a request that has left had computed them last.

        Nothing changes where those that are missing do not fit.

        >>> cache = KvCache(2)
        >>> cache.warm((11, 12)), cache.match((11, 12), limit=2), cache.free
        (None, 2, 2)
        """
        missing = [block for block in hashes if block not in self._pins]
        if len(missing) > self.free:
            return
        self.take(len(missing))
        for block in reversed(missing):
            self._pins[block] = 0
            self._released[block] = None

    def flush(self) -> None:
        """Forget every block nobody holds."""
        for block in self._released:
            del self._pins[block]
        if self.watcher is not None:
            self._tell_flushed(self.watcher)
        self._empty += len(self._released)
        self._released.clear()

    def publish(self, holding: Holding, hashes: Sequence[int], *, full: int) -> None:
        """Make the first ``full`` blocks of a holding findable, as far as hashes are given."""
        pins = self._pins
        fresh = [block for block in hashes[holding.published : full] if block not in pins]
        pins.update(dict.fromkeys(fresh, 1))
        holding.known += fresh
        holding.private -= len(fresh)
        holding.published = max(holding.published, full)
        if fresh and self.watcher is not None:
            self.watcher.stored(fresh)

    def release(self, holding: Holding) -> None:
        """Give a holding back; its known blocks stay findable, the last ones go first."""
        self._empty += holding.private
        pins, released = self._pins, self._released
        for block in reversed(holding.known):
            left = pins[block] = pins[block] - 1
            if not left:
                released[block] = None
        holding.known = []
        holding.private = 0

    def _tell_flushed(self, watcher: CacheWatcher) -> None:
        if not self._pins:
            watcher.cleared()
            return
        for block in self._released:  # requests hold the others
            watcher.removed(block)

    def __deepcopy__(self, memo: dict[int, object]) -> "KvCache":
        """Give a copy; hashes are numbers, which the usual way would look at one by one."""
        memo[id(self)] = copy = KvCache(self.capacity)
        copy._empty = self._empty
        copy._pins = self._pins.copy()
        copy._released = self._released.copy()
        return copy
