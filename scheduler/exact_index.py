"""Follow what endpoints announce of their KV caches, and find prefixes in it.

A block is named by its content (:mod:`predictor.kv_cache`), so endpoints need not agree on
a hash. It counts only as the continuation of a prefix, and engines drop a prefix from its
end, so the blocks an endpoint holds of a chain are its first ones: how many is found by
bisection, not by a walk. In models whose layers differ (full attention and sliding
windows) every group of layers must hold what it would read: all blocks, or the last ones
that its window reaches. Called by the prefix caches only.

Source: vLLM 0.32 ``v1/core/block_pool.py``, ``single_type_kv_cache_manager.py``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from predictor.features import TIERS
from predictor.kv_cache import (
    TOKEN_BYTES,
    BlockHash,
    BlocksCleared,
    BlocksRemoved,
    BlocksStored,
    KvEvent,
    TokenBlocks,
    chain,
    root,
)
from predictor.types import FloatArray
from scheduler.announced_blocks import AnnouncedBlocks
from scheduler.chain_search import Holders, behind, holders, runs, with_tails
from scheduler.endpoint_table import EndpointTable, Rows

# Of an endpoint's blocks: who knows these knows its cache, whatever was missed before.
KNOWN_SHARE: Final = 0.95
# A sweep looks at every name, so at the bound it waits until this part of them has changed.
SWEEP_PART: Final = 16


class _Kind(NamedTuple):
    """What endpoints must have in common to be looked up together."""

    block_tokens: int | None = None
    full: tuple[int, ...] = ()  # groups of layers whose attention reaches all the way
    windows: tuple[tuple[int, int], ...] = ()  # groups whose it does not, and tokens


@dataclass(slots=True)
class _Cache:
    """What is known of one endpoint's cache as a whole.

    ``followed`` says that its announcements come; ``trusted`` that they hold true; ``whole``
    that nothing of what it holds was missed; ``claims`` that its layers are of kinds whose
    prefixes can be found; ``room`` that there was room for all it announced.
    """

    followed: bool = False
    trusted: bool = True
    whole: bool = False
    claims: bool = True
    room: bool = True
    kind: _Kind = field(default_factory=_Kind)
    capacity_blocks: int | None = None
    copies: int = 0  # on the GPU

    def judge(self) -> bool:
        """Say whether prefixes can be found in it."""
        if not self.whole and self.capacity_blocks and len(self.kind.full) == 1:
            self.whole = self.copies >= KNOWN_SHARE * self.capacity_blocks
        sound = self.followed and self.trusted and self.whole
        return sound and self.claims and self.room and self.kind.block_tokens is not None

    def take_in_kind(self, event: BlocksStored) -> None:
        """Learn what kinds of layers there are from what is stored on the GPU."""
        if event.tier:
            return
        self.claims = self.claims and event.prefix
        size, full, windows = self.kind
        if event.window_tokens is not None:
            windows = tuple(sorted({*windows, (event.group, event.window_tokens)}))
        elif event.group not in full:
            full = tuple(sorted({*full, event.group}))
        if size is None or not self.copies:
            size = event.block_tokens
        elif size != event.block_tokens and len(full) + len(windows) > 1:
            self.claims = False  # groups of different block sizes
        if (size, full, windows) != self.kind:
            self.kind = _Kind(size, full, windows)


class ExactIndex:
    """Map chains of blocks to the endpoints that announced them.

    Args:
        table: Where endpoints have their rows.
        most_blocks: Distinct blocks kept; an endpoint that announces more is not followed
            any further. 0.2 KB each, and 50 bytes per further endpoint that has it.

    >>> index = ExactIndex(EndpointTable(), most_blocks=100)
    >>> tokens = bytes(32 * 4)
    >>> index.follow(0, whole=True)
    >>> stored = BlocksStored(hashes=[11, 12], parent=None, tokens=tokens, block_tokens=16)
    >>> index.apply(0, [stored])
    >>> blocks = {16: chain(tokens, 16, root(None, None))}
    >>> matched = np.zeros((1, 3))
    >>> index.known_with(blocks)
    1
    >>> index.match(blocks, np.array([0]), np.array([True]), into=matched, most=31)
    >>> matched.tolist()
    [[16.0, 0.0, 0.0]]
    """

    def __init__(self, table: EndpointTable, *, most_blocks: int) -> None:
        self.most_blocks = most_blocks
        self._table = table
        self._names: dict[BlockHash, int] = {}  # the engines' -> ours
        self._unswept = 0  # names given and blocks cleared since the last sweep
        self._places: dict[tuple[int, int], AnnouncedBlocks] = {}  # by tier and group
        self._coming = AnnouncedBlocks()  # computed by requests under way
        self._caches: dict[int, _Cache] = {}
        self._known = 0  # rows that can be asked, as bits
        self._kinds: dict[_Kind, int] = {}  # the same by kind

    # What can be asked

    def __len__(self) -> int:
        return len(self._names)

    @property
    def known(self) -> int:
        """Give the rows this index can speak for, as bits."""
        return self._known

    def block_tokens(self, row: int) -> int | None:
        """Give the tokens per block of an endpoint it speaks for, ``None`` for another."""
        return self._caches[row].kind.block_tokens if self._known >> row & 1 else None

    def known_with(self, blocks: TokenBlocks) -> int:
        """Give the rows whose hold on a prompt is known, as bits."""
        known = 0
        for kind, rows in self._kinds.items():
            if kind.block_tokens in blocks:
                known |= rows
        return known

    def match(
        self,
        blocks: TokenBlocks,
        rows: Rows,
        which: NDArray[np.bool_],
        *,
        into: FloatArray,
        most: float,
    ) -> None:
        """Count the tokens of a prompt that each endpoint holds.

        Args:
            blocks: The prompt.
            rows: ``(n,)`` endpoints.
            which: ``(n,)`` those of them to look at, all of :meth:`known_with`.
            into: ``(n, len(TIERS))``; only rows that are asked for are written.
            most: Tokens that can be found at most.
        """
        for kind, members in self._kinds.items():
            size = kind.block_tokens
            if size is None or size not in blocks:
                continue
            places = which
            if len(self._kinds) > 1:
                bits = [members >> row & 1 for row in rows.tolist()]
                places = which & np.array(bits, bool)
            of_these = rows[places]
            names = blocks[size][: int(most) // size]
            counts = self._depths(kind, names, of_these, members)
            into[places] = counts.take(of_these, 0) * size

    # What happens

    def follow(self, row: int, *, whole: bool) -> None:
        """Begin with an empty cache: all is known of it from here on, or not all."""
        before = self._caches.get(row)
        self._forget_blocks(row)
        cache = self._caches[row] = _Cache(followed=True, whole=whole)
        if before is not None:
            cache.kind = _Kind(before.kind.block_tokens)
            cache.capacity_blocks = before.capacity_blocks
        self._judge(row)

    def lose(self, row: int) -> None:
        """Note that announcements stay away: it cannot be spoken for."""
        self._cache(row).followed = False
        self._judge(row)

    def trust(self, row: int, *, trusted: bool) -> None:
        """Take in whether announcements agree with what the endpoint reports."""
        self._cache(row).trusted = trusted
        self._judge(row)

    def resize(self, row: int, *, block_tokens: int | None, capacity_tokens: int | None) -> None:
        """Take in what a scrape says of an endpoint that is followed."""
        cache = self._caches.get(row)
        if cache is None or block_tokens is None:
            return
        if not cache.copies and block_tokens != cache.kind.block_tokens:
            cache.kind = cache.kind._replace(block_tokens=block_tokens)
        if capacity_tokens is not None:
            cache.capacity_blocks = capacity_tokens // block_tokens
        self._judge(row)

    def apply(self, row: int, events: Iterable[KvEvent]) -> None:
        """Take in announcements, in their order."""
        cache = self._cache(row)
        for event in events:
            match event:
                case BlocksStored():
                    self._stored(row, cache, event)
                case BlocksRemoved():
                    self._removed(row, cache, event)
                case BlocksCleared():
                    self.follow(row, whole=True)  # what was missed before is gone as well
                    cache = self._caches[row]
        self._judge(row)

    def forget(self, row: int) -> None:
        """Forget an endpoint that has left, or is followed no longer."""
        self._forget_blocks(row)
        self._caches[row] = _Cache()
        self._judge(row)
        del self._caches[row]

    def expect(self, row: int, blocks: TokenBlocks) -> tuple[int, ...]:
        """Count a prompt as held where it is being computed; give what to :meth:`release`."""
        size = self.block_tokens(row)
        if size is None or size not in blocks:
            return ()
        names = blocks[size]
        kind = self._caches[row].kind
        held = int(self._depths(kind, names, np.array([row]), 1 << row)[row, 0])
        coming = names[held:]
        for name in coming:
            self._coming.add(row, name)
        return coming

    def release(self, row: int, coming: Sequence[int]) -> None:
        """Stop counting a prompt as coming: it has been announced, or failed."""
        for name in coming:
            self._coming.remove(row, name)

    # How announcements are taken in

    def _cache(self, row: int) -> _Cache:
        return self._caches.setdefault(row, _Cache())

    def _judge(self, row: int) -> None:
        """Keep up to date who can be asked."""
        cache, bit = self._caches[row], 1 << row
        known = cache.judge()
        if known and self._kinds.get(cache.kind, 0) & bit:
            return  # as before
        self._kinds = {kind: left for kind, rows in self._kinds.items() if (left := rows & ~bit)}
        self._known &= ~bit
        if known:
            self._kinds[cache.kind] = self._kinds.get(cache.kind, 0) | bit
            self._known |= bit

    def _stored(self, row: int, cache: _Cache, event: BlocksStored) -> None:
        if not cache.room:
            return
        cache.take_in_kind(event)
        cache.room = self._make_room(len(event.hashes))
        if not cache.room:
            return
        place = self._places.setdefault((event.tier, event.group), AnnouncedBlocks())
        names, computed = self._names, self._computed(event)
        for number, engine_name in enumerate(event.hashes):
            name = names.get(engine_name)
            if name is None:
                if computed is None:
                    continue  # what it continues was announced before anyone listened
                name = names[engine_name] = computed[number]
                self._unswept += 1
            place.add(row, name)
            if not event.tier:
                cache.copies += 1
                self._coming.drop(row, name)  # it has come

    def _computed(self, event: BlocksStored) -> Sequence[int] | None:
        """Name the blocks of an event by content; ``None`` where that cannot be told."""
        parent = root(event.adapter, event.salt)
        if event.parent is not None:
            known = self._names.get(event.parent)
            if known is None:
                return None
            parent = known
        width = event.block_tokens * TOKEN_BYTES
        if len(event.tokens) != len(event.hashes) * width:
            return None  # some were left out, as windows do
        if not event.marks:
            return chain(event.tokens, event.block_tokens, parent)
        named: list[int] = []
        for number in range(len(event.hashes)):
            if number in event.marks:
                parent = xxh3_64_intdigest(event.marks[number], parent)
            one = event.tokens[number * width : (number + 1) * width]
            (parent,) = chain(one, event.block_tokens, parent)
            named.append(parent)
        return named

    def _removed(self, row: int, cache: _Cache, event: BlocksRemoved) -> None:
        place = self._places.get((event.tier, event.group))
        if place is None:
            return
        for engine_name in event.hashes:
            name = self._names.get(engine_name)
            if name is None or not place.remove(row, name):
                continue  # announced before anyone listened
            cache.copies -= event.tier == 0
            if not self._is_held(name):
                del self._names[engine_name]

    def _is_held(self, name: int) -> bool:
        return any(name in place.holders for place in self._places.values())

    def _make_room(self, blocks: int) -> bool:
        """Say whether there is room for more, after a sweep where one may find some."""
        if len(self._names) + blocks <= self.most_blocks:
            return True
        if self._unswept >= self.most_blocks // SWEEP_PART:
            self._sweep()
        return len(self._names) + blocks <= self.most_blocks

    def _sweep(self) -> None:
        """Drop names whose blocks nobody holds: another engine's names of blocks now gone."""
        held = set[int]().union(*(place.holders for place in self._places.values()))
        self._names = {its: ours for its, ours in self._names.items() if ours in held}
        self._unswept = 0

    def _forget_blocks(self, row: int) -> None:
        self._coming.clear(row)
        held = sum(place.clear(row) for place in self._places.values())
        self._unswept += held
        if held and 2 * self._unswept >= len(self._names):
            self._sweep()

    # How prefixes are found

    def _depths(self, kind: _Kind, names: Sequence[int], rows: Rows, want: int) -> FloatArray:
        """Count the leading blocks of a chain that endpoints of one kind hold, by row and tier."""
        counts = np.zeros((self._table.capacity, len(TIERS)))
        full, windows = kind.full, kind.windows
        if full or not windows:
            gpu = self._holders(0, full, names)
            counts[:, 0] = runs(gpu, len(names), want).counts(self._table.capacity)
        else:
            counts[:, 0] = len(names)  # windows alone: the last one found decides
        if windows:
            size = kind.block_tokens or 1
            tails = [
                (-(-(tokens - 1) // size), self._holders(0, (group,), names))
                for group, tokens in windows
            ]
            for row in rows.tolist():
                counts[row, 0] = with_tails(int(counts[row, 0]), row, tails)
        elif any(tier for tier, _ in self._places):
            further = [self._holders(tier, full, names) for tier in range(1, len(TIERS))]
            for row in rows.tolist():
                counts[row, 1:] = behind(int(counts[row, 0]), row, further, len(names))
        return counts

    def _holders(self, tier: int, groups: Iterable[int], names: Sequence[int]) -> Holders:
        coming = self._coming.holders if tier == 0 else {}
        places = [self._places.get((tier, group)) for group in groups]
        maps = [place.holders if place is not None else {} for place in places]
        if len(maps) == 1:
            get, soon = maps[0].get, coming.get
            if coming:
                return holders(lambda index: get(names[index], 0) | soon(names[index], 0))
            return Holders(
                lambda index: get(names[index], 0),
                lambda at: map(get, names[at.start : at.stop : at.step], repeat(0)),
            )

        def held(index: int) -> int:
            name, all_of = names[index], -1 if maps else 0
            for one in maps:
                all_of &= one.get(name, 0)
            return all_of | coming.get(name, 0)

        return holders(held)
