"""Follow what endpoints announce of their KV caches, and find prefixes in it.

A block is named by its content (:mod:`predictor.kv_cache`), so endpoints need not agree on
a hash. It counts only as the continuation of a prefix, and engines drop a prefix from its
end, so the blocks an endpoint holds of a chain are its first ones: how many is found by
bisection, not by a walk. In models whose layers differ (full attention and sliding
windows) every group of layers must hold what it would read: all blocks, or the last ones
that its window reaches. Called by the prefix caches only.

Source: vLLM 0.32 ``v1/core/block_pool.py``, ``single_type_kv_cache_manager.py``.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

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
from scheduler.endpoint_table import EndpointTable, Rows
from scheduler.held_blocks import Run

# Of an endpoint's blocks: who knows these knows its cache, whatever was missed before.
KNOWN_SHARE: Final = 0.95

Holders = Callable[[int], int]
"""Who holds the block at an index of a chain, as bits."""


@dataclass(slots=True)
class _Cache:
    """What is known of one endpoint's cache as a whole.

    ``followed`` says that its announcements come and hold true; ``whole`` that nothing of
    what it holds was missed; ``claims`` that its layers are of kinds whose prefixes can be
    found; ``room`` that there was room for all it announced.
    """

    followed: bool = False
    whole: bool = False
    claims: bool = True
    room: bool = True
    block_tokens: int | None = None
    capacity_blocks: int | None = None
    copies: int = 0  # on the GPU
    full: frozenset[int] = frozenset()
    windows: Mapping[int, int] = field(default_factory=dict)  # group -> tokens

    @property
    def layout(self) -> tuple[frozenset[int], tuple[tuple[int, int], ...]]:
        return self.full, tuple(sorted(self.windows.items()))


class ExactIndex:
    """Map chains of blocks to the endpoints that announced them.

    Args:
        table: Where endpoints have their rows.
        most_blocks: Distinct blocks kept; an endpoint that announces more is not followed
            any further. Half a kilobyte each at most.

    >>> index = ExactIndex(EndpointTable(), most_blocks=100)
    >>> tokens = bytes(32 * 4)
    >>> index.follow(0, whole=True)
    >>> stored = BlocksStored(hashes=[11, 12], parent=None, tokens=tokens, block_tokens=16)
    >>> index.apply(0, [stored])
    >>> blocks = {16: chain(tokens, 16, root(None, None))}
    >>> import numpy as np
    >>> matched = np.zeros((1, 3))
    >>> index.match(blocks, np.array([0]), into=matched, most=31)
    >>> matched.tolist()
    [[16.0, 0.0, 0.0]]
    """

    def __init__(self, table: EndpointTable, *, most_blocks: int) -> None:
        self.most_blocks = most_blocks
        self._table = table
        self._names: dict[BlockHash, int] = {}  # the engines' -> ours
        self._places: dict[tuple[int, int], AnnouncedBlocks] = {}  # by tier and group
        self._coming = AnnouncedBlocks()  # computed by requests under way
        self._caches: dict[int, _Cache] = {}
        self._known = 0  # rows that can be asked, as bits

    # What can be asked

    def __len__(self) -> int:
        return len(self._names)

    @property
    def known(self) -> int:
        """Give the rows this index can speak for, as bits."""
        return self._known

    def block_tokens(self, row: int) -> int | None:
        """Give the tokens per block of an endpoint it speaks for, ``None`` for another."""
        return self._caches[row].block_tokens if self._known >> row & 1 else None

    def speaks_for(self, row: int, blocks: TokenBlocks) -> bool:
        """Say whether what an endpoint holds of a prompt is known."""
        return bool(blocks) and self.block_tokens(row) in blocks

    def match(self, blocks: TokenBlocks, rows: Rows, *, into: FloatArray, most: float) -> None:
        """Count the tokens of a prompt that each endpoint holds.

        Args:
            blocks: The prompt.
            rows: ``(n,)`` endpoints.
            into: ``(n, len(TIERS))``; only rows this index speaks for are written.
            most: Tokens that can be found at most.
        """
        layouts: dict[object, list[int]] = {}
        for place, row in enumerate(rows.tolist()):
            if self.speaks_for(row, blocks):
                cache = self._caches[row]
                layouts.setdefault((cache.block_tokens, cache.layout), []).append(place)
        for places in layouts.values():
            cache = self._caches[int(rows[places[0]])]
            size = cache.block_tokens or 1
            names = blocks[size][: int(most) // size]
            of_these = rows[places]
            found = self._depths(cache, names, of_these.tolist())
            for place, tiers in zip(places, found, strict=True):
                into[place] = [count * size for count in tiers]

    # What happens

    def follow(self, row: int, *, whole: bool) -> None:
        """Begin with an empty cache: all is known of it from here on, or not all."""
        before = self._caches.get(row)
        self._forget_blocks(row)
        cache = self._caches[row] = _Cache(followed=True, whole=whole)
        if before is not None:
            cache.block_tokens, cache.capacity_blocks = before.block_tokens, before.capacity_blocks
        self._judge(row)

    def lose(self, row: int) -> None:
        """Note that announcements stay away or are wrong: it cannot be spoken for."""
        self._cache(row).followed = False
        self._judge(row)

    def resize(self, row: int, *, block_tokens: int | None, capacity_tokens: int | None) -> None:
        """Take in what a scrape says of an endpoint that is followed."""
        cache = self._caches.get(row)
        if cache is None or block_tokens is None:
            return
        if not cache.copies:
            cache.block_tokens = block_tokens
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
        self._caches.pop(row, None)
        self._known &= ~(1 << row)

    def expect(self, row: int, blocks: TokenBlocks) -> tuple[int, ...]:
        """Count a prompt as held where it is being computed; give what to :meth:`release`."""
        size = self.block_tokens(row)
        if size is None or size not in blocks:
            return ()
        names = blocks[size]
        held, _, _ = self._depths(self._caches[row], names, [row])[0]
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
        cache = self._caches[row]
        if not cache.whole and cache.capacity_blocks and len(cache.full) == 1:
            cache.whole = cache.copies >= KNOWN_SHARE * cache.capacity_blocks
        known = cache.followed and cache.whole and cache.claims and cache.room
        known = known and cache.block_tokens is not None
        self._known = self._known & ~(1 << row) | known << row

    def _stored(self, row: int, cache: _Cache, event: BlocksStored) -> None:
        _take_in_layout(cache, event)
        if len(self._names) + len(event.hashes) > self.most_blocks:
            self._sweep()
            cache.room = cache.room and len(self._names) + len(event.hashes) <= self.most_blocks
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

    def _sweep(self) -> None:
        """Drop names whose blocks nobody holds: another engine's names of blocks now gone."""
        self._names = {its: ours for its, ours in self._names.items() if self._is_held(ours)}

    def _forget_blocks(self, row: int) -> None:
        for place in (*self._places.values(), self._coming):
            place.clear(row)
        self._sweep()

    # How prefixes are found

    def _depths(
        self, cache: _Cache, names: Sequence[int], rows: Sequence[int]
    ) -> list[tuple[int, int, int]]:
        """Count the leading blocks of a chain that endpoints of one layout hold, by tier."""
        want = sum(1 << row for row in rows)
        gpu = self._holders(0, sorted(cache.full), names)
        if cache.full or not cache.windows:
            counts = _runs(gpu, len(names), want).counts(self._table.capacity)
            depths = [int(counts[row]) for row in rows]
        else:
            depths = [len(names)] * len(rows)  # windows alone: the last one found decides
        if cache.windows:
            tails = [
                (-(-(tokens - 1) // (cache.block_tokens or 1)), self._holders(0, [group], names))
                for group, tokens in cache.windows.items()
            ]
            depths = [
                _with_tails(depth, row, tails) for depth, row in zip(depths, rows, strict=True)
            ]
        behind = [
            self._holders(tier, sorted(cache.full), names)
            for tier in range(1, len(TIERS))
            if not cache.windows and any(of == tier for of, _ in self._places)
        ]
        return [
            _behind(depth, row, behind, len(names)) for depth, row in zip(depths, rows, strict=True)
        ]

    def _holders(self, tier: int, groups: Sequence[int], names: Sequence[int]) -> Holders:
        coming = self._coming.holders if tier == 0 else {}
        places = [self._places.get((tier, group)) for group in groups]
        maps = [place.holders if place is not None else {} for place in places]
        if len(maps) == 1:
            only = maps[0]
            return lambda index: only.get(names[index], 0) | coming.get(names[index], 0)

        def held(index: int) -> int:
            name, all_of = names[index], -1 if maps else 0
            for one in maps:
                all_of &= one.get(name, 0)
            return all_of | coming.get(name, 0)

        return held


def _take_in_layout(cache: _Cache, event: BlocksStored) -> None:
    """Learn what kinds of layers an endpoint has, from what it stores on the GPU."""
    if event.tier:
        return
    cache.claims = cache.claims and event.prefix
    if event.window_tokens is None:
        cache.full |= {event.group}
    elif event.group not in cache.windows:
        cache.windows = {**cache.windows, event.group: event.window_tokens}
    if cache.block_tokens is None or not cache.copies:
        cache.block_tokens = event.block_tokens
    elif cache.block_tokens != event.block_tokens and len(cache.full) + len(cache.windows) > 1:
        cache.claims = False  # groups of different block sizes


def _runs(held: Holders, length: int, want: int) -> Run:
    """Count for how many leading blocks each goes along, where whoever stops never returns."""
    run = Run()
    if not length:
        return run
    parts = [(0, held(0) & want, length, 0)]
    while parts:
        low, first, high, last = parts.pop()  # [low, high): `first` hold low, `last` hold high
        if not first:
            continue
        if high - low == 1 or first == last:
            run.add(first, high - low)
            continue
        middle = (low + high) // 2
        between = held(middle) & first
        parts.append((middle, between, high, last & between))
        parts.append((low, first, middle, between))
    return run


def _with_tails(depth: int, row: int, tails: Sequence[tuple[int, Holders]]) -> int:
    """Shorten a prefix until every window finds the last blocks it reads.

    Args:
        depth: Blocks all full-attention layers hold.
        row: The endpoint.
        tails: Blocks a window reaches back, and who holds them.
    """
    while depth:
        for reach, held in tails:
            missing = next(
                (
                    i
                    for i in range(depth - 1, max(depth - reach, 0) - 1, -1)
                    if not held(i) >> row & 1
                ),
                None,
            )
            if missing is not None:
                depth = missing
                break
        else:
            return depth
    return 0


def _behind(depth: int, row: int, tiers: Sequence[Holders], length: int) -> tuple[int, int, int]:
    """Go on behind a prefix on the GPU in the tiers further away."""
    counts = [depth]
    for held in tiers:
        first = depth
        while depth < length and held(depth) >> row & 1:
            depth += 1
        counts.append(depth - first)
    counts += [0] * (len(TIERS) - len(counts))
    gpu, cpu, shared = counts
    return gpu, cpu, shared
