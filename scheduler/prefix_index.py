"""Remember which endpoint was sent which prompt prefix, and where it may still be.

Approximate: it knows what was sent, not what is still cached, so each endpoint
forgets least recently used blocks at its own capacity, and how far a match can
be trusted is learned from the ``cached_tokens`` endpoints report. Tiers behind the GPU
are modelled where an endpoint is configured to have them, and cost nothing elsewhere:
its CPU memory holds the last blocks it used, those on the GPU among them, as vLLM
stores blocks there when they are computed; storage it shares holds the last blocks that
any endpoint of the fleet with such storage used. Called by the scheduler only.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from predictor.features import TIERS
from predictor.types import EndpointState, FloatArray
from scheduler.endpoint_table import EndpointTable, Rows
from scheduler.held_blocks import HeldBlocks, Run

# Weight of one report in the learned effectiveness, which starts at 1 ("what was sent
# is cached"): twenty reports make most of it.
REPORT_WEIGHT: Final = 0.05
# A match shorter than this says nothing about effectiveness: block rounding decides.
LEAST_MATCH_TOKENS: Final = 64
# Blocks remembered of all endpoints together, where settings say nothing.
MOST_BLOCKS: Final = 4_000_000
# Blocks remembered of storage that a fleet shares, however much it holds: 100 MB of ours.
MOST_SHARED_BLOCKS: Final = 1 << 20


class _Storage:
    """Hold what endpoints of one fleet have put on the storage they share."""

    __slots__ = ("blocks", "members")

    def __init__(self) -> None:
        self.blocks: OrderedDict[int, None] = OrderedDict()
        self.members: dict[int, int] = {}  # row -> blocks it says there is room for

    def use(self, hashes: Sequence[int]) -> None:
        blocks = self.blocks
        for block in reversed(hashes):
            blocks[block] = None
            blocks.move_to_end(block)
        capacity = min(max(self.members.values()), MOST_SHARED_BLOCKS)
        while len(blocks) > capacity:
            blocks.popitem(last=False)


class PrefixIndex:
    """Map chained block hashes to the endpoints that hold them.

    A chain hash covers everything before it, so a block counts only as the
    continuation of a match: the walk stops where no endpoint is left.

    Args:
        default_capacity_blocks: Bound of an endpoint that has not told its capacity.
        total_blocks: Blocks remembered of all endpoints together, in equal shares.
        table: Where endpoints have their rows; effectiveness is kept up to date there.

    Attributes:
        default_capacity_blocks: As above.
        total_blocks: As above.

    >>> table = EndpointTable()
    >>> index = PrefixIndex(default_capacity_blocks=4, table=table)
    >>> index.insert("a:1", (1, 2, 3))
    >>> index.insert("b:1", (1,))
    >>> rows = np.array([table.row(name) for name in ("a:1", "b:1", "c:1")])
    >>> index.matched_blocks((1, 2, 9), rows)[:, 0].tolist()
    [2.0, 1.0, 0.0]
    """

    def __init__(
        self,
        *,
        default_capacity_blocks: int,
        total_blocks: int = MOST_BLOCKS,
        table: EndpointTable | None = None,
    ) -> None:
        self.default_capacity_blocks = default_capacity_blocks
        self.total_blocks = total_blocks
        self._table = table or EndpointTable()
        self._gpu = HeldBlocks()
        self._cpu = HeldBlocks()
        self._gpu_blocks: dict[int, int] = {}  # capacities, by row
        self._cpu_blocks: dict[int, int] = {}
        self._storage: dict[str, _Storage] = {}  # by fleet
        self._storage_of: dict[int, _Storage] = {}
        self._effectiveness: dict[str, float] = {}

    @property
    def tiered(self) -> bool:
        """Say whether any endpoint has a tier behind the GPU."""
        return bool(self._cpu_blocks or self._storage)

    def resize(self, state: EndpointState, *, block_tokens: float) -> None:
        """Take in how much an endpoint says it can hold, by tier.

        Args:
            state: The endpoint; what it does not say of the GPU leaves that as it is.
            block_tokens: Tokens one of our blocks stands for.
        """
        row = self._table.row(state.endpoint)
        if state.kv_capacity_tokens is not None:
            self._gpu_blocks[row] = max(int(state.kv_capacity_tokens / block_tokens), 1)
        if state.cpu_kv_tokens is not None:
            self._cpu_blocks[row] = max(int(state.cpu_kv_tokens / block_tokens), 1)
        elif self._cpu_blocks.pop(row, None) is not None:
            self._cpu.clear(row)
        if state.shared_kv_tokens is None:
            self._leave_storage(row)
            return
        storage = self._storage.setdefault(state.model or "", _Storage())
        if self._storage_of.get(row) is not storage:
            self._leave_storage(row)
            self._storage_of[row] = storage
        storage.members[row] = max(int(state.shared_kv_tokens / block_tokens), 1)

    def insert(self, endpoint: str, hashes: Sequence[int]) -> None:
        """Note that a prompt with these blocks went to the endpoint."""
        row = self._table.row(endpoint)
        capacity = self._gpu_blocks.get(row, self.default_capacity_blocks)
        self._gpu.use(row, hashes, capacity=min(capacity, self._share(self._gpu, row)))
        cpu_blocks, storage = self._cpu_blocks.get(row), self._storage_of.get(row)
        if cpu_blocks is not None:
            self._cpu.use(row, hashes, capacity=min(cpu_blocks, self._share(self._cpu, row)))
        if storage is not None:
            storage.use(hashes)

    def knows(self, hashes: Sequence[int]) -> bool:
        """Say whether any endpoint at all may hold the beginning of a prompt."""
        return bool(hashes) and (self.tiered or hashes[0] in self._gpu.holders)

    def matched_blocks(self, hashes: Sequence[int], rows: Rows) -> FloatArray:
        """Count the leading blocks each endpoint holds, ``(n, len(TIERS))``.

        Those on its GPU come first, behind them those in its CPU memory, behind these
        those on shared storage, as an endpoint looks them up.
        """
        matched = np.zeros((len(rows), len(TIERS)))
        if not self.tiered:
            matched[:, 0] = self._on_gpu(hashes).take(rows)
            return matched
        for tier, run in enumerate(self._in_tiers(hashes, rows)):
            matched[:, tier] = run.counts(self._table.capacity).take(rows)
        return matched

    def effectiveness(self, endpoint: str) -> float:
        """Give the share of matched tokens the endpoint really finds, 0 to 1."""
        return self._effectiveness.get(endpoint, 1.0)

    def report(self, endpoint: str, *, matched_tokens: float, cached_tokens: int) -> None:
        """Learn from what the endpoint says it found of a match, in whatever tier."""
        if matched_tokens < LEAST_MATCH_TOKENS:
            return
        share = min(cached_tokens / matched_tokens, 1.0)
        before = self.effectiveness(endpoint)
        after = before + REPORT_WEIGHT * (share - before)
        self._effectiveness[endpoint] = after
        self._table.trust(self._table.row(endpoint), after)

    def empty(self, endpoint: str) -> None:
        """Forget the blocks an endpoint held; what else is known of it stays."""
        row = self._table.row(endpoint)
        self._gpu.clear(row)
        self._cpu.clear(row)

    def clear(self, endpoint: str) -> None:
        """Forget all an endpoint held: it restarted, or left.

        What it has put on shared storage stays there as long as another one shares it.
        """
        self.empty(endpoint)
        row = self._table.row(endpoint)
        self._gpu_blocks.pop(row, None)
        self._cpu_blocks.pop(row, None)
        self._leave_storage(row)
        self._effectiveness.pop(endpoint, None)
        self._table.trust(row, 1.0)

    def _share(self, tier: HeldBlocks, row: int) -> int:
        """Give the blocks an endpoint may have in a tier; a newcomer takes from the others."""
        endpoints = len(tier) + (row not in tier)
        share = max(self.total_blocks // endpoints, 1)
        if row not in tier:
            tier.shrink(share)
        return share

    def _on_gpu(self, hashes: Sequence[int]) -> FloatArray:
        holders, run = self._gpu.holders, Run()
        left, length = -1, 0
        for block in hashes:
            held = holders.get(block, 0) & left
            if held != left:
                run.add(left if length else 0, length)
                left, length = held, 0
                if not held:
                    break
            length += 1
        if length:
            run.add(left, length)
        return run.counts(self._table.capacity)

    def _in_tiers(self, hashes: Sequence[int], rows: Rows) -> tuple[Run, Run, Run]:
        gpu, cpu, shared = runs = Run(), Run(), Run()
        on_gpu = -1
        in_cpu = on_storage = 0  # those whose match goes on in that tier
        storage = next((self._storage_of[row] for row in rows if row in self._storage_of), None)
        members = sum(1 << row for row in storage.members) if storage is not None else 0
        for block in hashes:
            held = self._gpu.holders.get(block, 0) & on_gpu
            in_cpu |= on_gpu & ~held
            on_gpu = held
            kept = self._cpu.holders.get(block, 0) & in_cpu
            on_storage |= in_cpu & ~kept
            in_cpu = kept
            there = storage is not None and block in storage.blocks
            on_storage = on_storage & members if there else 0
            if not on_gpu | in_cpu | on_storage:
                break
            gpu.add(on_gpu)
            cpu.add(in_cpu)
            shared.add(on_storage)
        return runs

    def _leave_storage(self, row: int) -> None:
        storage = self._storage_of.pop(row, None)
        if storage is None:
            return
        del storage.members[row]
        if not storage.members:
            self._storage = {name: one for name, one in self._storage.items() if one.members}


def has_restarted(before: EndpointState, now: EndpointState) -> bool:
    """Tell whether an endpoint's counter began anew; where unknown, whether it was away."""
    old, new = before.prefix_queries_total, now.prefix_queries_total
    return not before.up if old is None or new is None else new < old
