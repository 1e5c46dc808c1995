"""The requests that decode, counted together.

Every member generates one token in each step, so what a step costs is a few sums that
change by known amounts: how many decode, the context they hold, and how many of them
begin another KV block. A step is then a handful of additions however many members
there are, and a stretch of steps between two events is known in advance. Called by the
engine only.
"""

from copy import deepcopy
from heapq import heappop, heappush

from simulator.sequence import Sequence
from simulator.types import Token


class DecodeBatch:
    """Hold the decoding requests of one engine.

    Attributes:
        steps: Steps taken since the start.
        context_tokens: Tokens its members hold, each one's last token counted, in the
            coming step.
    """

    __slots__ = ("_begins_block", "_block_size", "_ends", "_members", "context_tokens", "steps")

    def __init__(self, block_size: int) -> None:
        self.steps = 0
        self.context_tokens = 0
        self._block_size = block_size
        self._members: dict[str, Sequence] = {}
        # Members by the phase of the steps in which they begin another block.
        self._begins_block = [0] * block_size
        # (step that generates the last token, number, member); stale ones are skipped.
        self._ends: list[tuple[int, int, Sequence]] = []

    def __len__(self) -> int:
        return len(self._members)

    def __deepcopy__(self, memo: dict[int, object]) -> "DecodeBatch":
        """Give a batch of copies, whose ends follow from what is asked of each."""
        memo[id(self)] = copy = DecodeBatch(self._block_size)
        copy.steps = self.steps
        copy.context_tokens = self.context_tokens
        copy._begins_block = list(self._begins_block)
        copy._members = deepcopy(self._members, memo)
        for member in copy._members.values():
            copy._note_end(member)
        return copy

    def members(self) -> tuple[Sequence, ...]:
        """List the members in the order they joined."""
        return tuple(self._members.values())

    def newest(self) -> Sequence | None:
        """Give the member of the highest rank, ``None`` without any."""
        return max(self._members.values(), key=lambda member: member.rank, default=None)

    def join(self, sequence: Sequence) -> None:
        """Take in a request whose tokens but the last are computed."""
        sequence.decoding, sequence.joined = True, self.steps
        self._members[sequence.request.request_id] = sequence
        self.context_tokens += sequence.tokens
        self._begins_block[self._phase(sequence)] += 1
        self._note_end(sequence)

    def leave(self, sequence: Sequence) -> None:
        """Let a member go, its counts brought up to date."""
        self._begins_block[self._phase(sequence)] -= 1
        sequence.generated += self.steps - sequence.joined
        sequence.computed = sequence.tokens - 1
        sequence.decoding = False
        self.context_tokens -= sequence.tokens
        del self._members[sequence.request.request_id]

    def advance(self, steps: int) -> None:
        """Note that as many steps are done."""
        self.steps += steps
        self.context_tokens += steps * len(self._members)

    def next_tokens(self, gap_s: float) -> list[Token]:
        """List the tokens the members generate in the coming step, in the order they joined."""
        return [
            Token(
                request_id=name,
                index=member.generated + self.steps - member.joined,
                gap_s=gap_s,
            )
            for name, member in self._members.items()
        ]

    def new_blocks(self, ahead: int = 0) -> int:
        """Count the blocks the members begin in the step ``ahead`` of the coming one."""
        return self._begins_block[(self.steps + ahead) % self._block_size]

    def blocks_begun(self, steps: int) -> int:
        """Count the blocks the members begin in as many steps after the coming one."""
        rounds, rest = divmod(steps, self._block_size)  # each round is a block for everyone
        begun = rounds * len(self._members)
        return begun + sum(self.new_blocks(ahead) for ahead in range(1, rest + 1))

    def steps_within(self, blocks: int, *, most: int) -> int:
        """Count the steps, ``most`` at most, whose blocks after the coming one's there are."""
        if (most // self._block_size + 1) * len(self._members) <= blocks:
            return most
        for ahead in range(1, most):
            blocks -= self.new_blocks(ahead)
            if blocks < 0:
                return ahead
        return most

    def steps_to_end(self) -> int:
        """Count the steps until the first member has generated all; at least one member."""
        while True:
            last, _, sequence = self._ends[0]
            if self._is_current(last, sequence):
                return last - self.steps
            heappop(self._ends)

    def ended(self) -> list[Sequence]:
        """Take out the members that have generated all, in the order of submission."""
        ended = []
        while self._ends and self._ends[0][0] <= self.steps:
            last, _, sequence = heappop(self._ends)
            if self._is_current(last, sequence):
                self.leave(sequence)
                ended.append(sequence)
        return ended

    def _note_end(self, sequence: Sequence) -> None:
        last = sequence.joined + sequence.request.output_tokens - sequence.generated
        heappush(self._ends, (last, sequence.rank[1], sequence))

    def _phase(self, sequence: Sequence) -> int:
        # In its step a member's last token gets its KV; it needs a block of its own when
        # all tokens before it fill whole blocks.
        return (sequence.joined + 1 - sequence.tokens) % self._block_size

    def _is_current(self, last: int, sequence: Sequence) -> bool:
        left = sequence.request.output_tokens - sequence.generated
        return sequence.decoding and last == sequence.joined + left
