"""What recorded prompts share, so that a replay meets the same prefix caches.

Decides the contents of prompts, in the simulator's segments, from the best that the
trace has: hashes of prompt blocks; of turns whose answer is part of the next prompt, that
answer too, where ``cached_tokens`` shows that endpoints found it; without hashes, only how
much of each prompt was found in a cache. Called by :mod:`foretoken.replay.demand`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from foretoken.replay.recorded import Recorded
from simulator.content import Segment, segment_tokens
from simulator.workloads.block_ids import named_id, own_ids, to_segments

Source = Literal["block hashes", "cached tokens", "nothing"]
"""What shared prefixes were made of."""

_INT64: Final = 1 << 63
_LEAST_HASHED: Final = 0.5
"""Share of the prompts of a block and more that must have hashes for these to be used."""

_TELLING: Final = 8
"""Turns from which on it is known whether caches held the answer of the turn before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Hold what every prompt consists of.

    Attributes:
        prompts: Segments of each request's prompt, in the order of the requests.
        source: What they were made of.
        parents: Which earlier request's prompt and answer each prompt begins with.
        answers_found: Whether caches were seen to hold the answers of turns before, ``None``
            where no turn tells.
    """

    prompts: list[tuple[Segment, ...]]
    source: Source
    parents: dict[int, int]
    answers_found: bool | None


def write_contents(
    requests: Sequence[Recorded],
    prompt_tokens: Sequence[int],
    output_tokens: Sequence[int],
    tokens_per_byte: float,
) -> Contents:
    """Give every prompt its contents.

    Args:
        requests: In order of arrival, each numbered by its place.
        prompt_tokens: Of each, at least 1.
        output_tokens: Likewise.
        tokens_per_byte: Of the whole trace.
    """
    hashed = [one for one in requests if one.prompt_bytes >= (one.block_bytes or 1)]
    with_hashes = sum(len(one.blocks) > 0 for one in hashed)
    if tokens_per_byte > 0 and with_hashes > _LEAST_HASHED * len(hashed):
        writer = _Hashed(requests, prompt_tokens, output_tokens, tokens_per_byte)
        return writer.write()
    if any(one.cached_tokens for one in requests):
        return Contents(
            prompts=_by_cached(requests, prompt_tokens),
            source="cached tokens",
            parents={},
            answers_found=None,
        )
    alone = [((own_ids(one.number)[0], prompt_tokens[one.number]),) for one in requests]
    return Contents(prompts=list(alone), source="nothing", parents={}, answers_found=None)


def _by_cached(
    requests: Sequence[Recorded], prompt_tokens: Sequence[int]
) -> list[tuple[Segment, ...]]:
    """Let what was found be shared: by all where a session begins, then within the session."""
    everybody = named_id("everybody")
    shared_by_all: dict[str, int] = {}
    prompts = []
    for one in requests:
        size, found = prompt_tokens[one.number], one.cached_tokens or 0
        if one.session is None:
            content = own_ids(one.number)[0]
        else:
            content = named_id("session", one.session)
            found = shared_by_all.setdefault(one.session, found)
        shared = min(found, size)
        segments = ((everybody, shared), (content, size - shared))
        prompts.append(tuple(part for part in segments if part[1]))
    return prompts


class _Hashed:
    """Write prompts from block hashes; a turn begins with the turn before and its answer."""

    def __init__(
        self,
        requests: Sequence[Recorded],
        prompt_tokens: Sequence[int],
        output_tokens: Sequence[int],
        tokens_per_byte: float,
    ) -> None:
        self._requests = requests
        self._prompt_tokens = prompt_tokens
        self._output_tokens = output_tokens
        sizes = Counter(one.block_bytes for one in requests if one.block_bytes)
        block_bytes = sizes.most_common(1)[0][0]
        self._block_tokens = max(1, round(block_bytes * tokens_per_byte))
        self._introduced: set[int] = set()

    def write(self) -> Contents:
        parents = self._parents()
        answers_found = self._answers_found(parents)
        if answers_found is False:
            parents = {}
        prompts: list[tuple[Segment, ...]] = []
        for one in self._requests:
            parent = parents.get(one.number)
            if parent is None:
                prompts.append(self._alone(one))
            else:
                prompts.append(self._following(one, parent, prompts[parent]))
        return Contents(
            prompts=prompts, source="block hashes", parents=parents, answers_found=answers_found
        )

    def _parents(self) -> dict[int, int]:
        """Find the request each one's prompt goes on from, by the hash its own ended with."""
        ends_with: dict[int, list[int]] = {}
        seen: set[int] = set()
        parents = {}
        for one in self._requests:
            blocks = one.blocks.tolist()
            parent = self._latest(one, blocks, ends_with)
            if parent is not None:
                parents[one.number] = parent
            if blocks:
                if blocks[-1] not in seen:
                    self._introduced.add(one.number)
                ends_with.setdefault(blocks[-1], []).append(one.number)
                seen.update(blocks)
        return parents

    def _latest(
        self, one: Recorded, blocks: Sequence[int], ends_with: dict[int, list[int]]
    ) -> int | None:
        """Take the longest prompt this one begins with, and of equal ones the latest."""
        for block in reversed(blocks):
            for number in reversed(ends_with.get(block, ())):
                if self._precedes(self._requests[number], one):
                    return number
        return None

    def _precedes(self, before: Recorded, one: Recorded) -> bool:
        ends = self._prompt_tokens[before.number] + self._output_tokens[before.number]
        if not before.completed or before.e2e_s is None:
            return False
        if before.arrived_s + before.e2e_s > one.arrived_s:
            return False
        size = self._prompt_tokens[one.number]
        if self._prompt_tokens[before.number] >= size or ends > size + self._block_tokens:
            return False
        if before.session is not None and one.session is not None:
            return before.session == one.session
        return before.number in self._introduced

    def _answers_found(self, parents: dict[int, int]) -> bool | None:
        """Tell from turns served where the turn before was whether its answer was cached."""
        votes = []
        for number, parent in parents.items():
            one, before = self._requests[number], self._requests[parent]
            prompt = self._prompt_tokens[parent]
            if one.cached_tokens is None or one.endpoint != before.endpoint:
                continue
            if one.cached_tokens >= prompt - 2 * self._block_tokens:  # else it was evicted
                votes.append(one.cached_tokens > prompt + self._output_tokens[parent] / 2)
        return None if len(votes) < _TELLING else sum(votes) > len(votes) / 2

    def _alone(self, one: Recorded) -> tuple[Segment, ...]:
        return to_segments(
            [(_signed(block), 1) for block in one.blocks.tolist()],
            self._block_tokens,
            self._prompt_tokens[one.number],
            own_ids(one.number)[0],
        )

    def _following(
        self, one: Recorded, parent: int, before: tuple[Segment, ...]
    ) -> tuple[Segment, ...]:
        size, block = self._prompt_tokens[one.number], self._block_tokens
        answer = min(self._output_tokens[parent], size - segment_tokens(before))
        segments = [*before, (own_ids(parent)[1], answer)] if answer > 0 else list(before)
        at = segment_tokens(segments)
        for content in one.blocks.tolist()[at // block :]:
            # What is left of the block that the answer ended in, then whole ones.
            tokens = min(block - at % block, size - at)
            if tokens <= 0:
                break
            segments.append((_signed(content), tokens))
            at += tokens
        if at < size:
            segments.append((own_ids(one.number)[0], size - at))
        return tuple(segments)


def _signed(block: int) -> int:
    return block - 2 * _INT64 if block >= _INT64 else block
