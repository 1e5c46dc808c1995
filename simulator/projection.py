"""An engine's future, played forward from its true state without noise.

Follows the engine's rules: running requests first, one chunk stream within the token
budget, admission in the queue's order while seats and KV blocks last, and each step at
its expected time. Decode-only stretches between two events are summed in closed form, so
a projection costs a few additions for each request, not for each step. Without noise and
within the approximations below it gives what the engine then does, up to rounding.

What it leaves out:

- Preemption. Where blocks run out for requests that decode, it lets them have more.
- Who shares a block with whom. Blocks are counted, each at that share of the requests'
  blocks which the cache held apart at the beginning: 1 where nothing is shared.
- Eviction. What a request finds cached is what is cached at the beginning, or computed
  before it; what others generate in the meantime counts as unknown.

These matter only on an endpoint that lacks KV blocks: with 70 requests waiting and a dozen
preemptions to come, half of the times projected were within 5 % of what then happened
(b2b-saas on Qwen3-32B with 130,000 KV tokens); with room for all, all were exact.

Pure; reads an :class:`~simulator.engine_state.EngineState` while it holds. Called by
the oracle policies.
"""

import math
from collections.abc import Sequence as Several
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from simulator.engine_state import EngineState
from simulator.profiles import Profile
from simulator.projected_kv import End, ProjectedKv
from simulator.sequence import Sequence
from simulator.settings import EngineSettings
from simulator.types import SimRequest

Coming = tuple[SimRequest, float]
"""A request that is not there yet, and when it is submitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Say when the requests of one engine get their tokens, in seconds on its clock.

    Attributes:
        first_token_s: By id, of every request that had none yet.
        end_s: When the last token comes, by id, of every request.
    """

    first_token_s: dict[str, float] = field(default_factory=dict)
    end_s: dict[str, float] = field(default_factory=dict)


def mean_noise(settings: EngineSettings) -> float:
    """Give the mean of the factor by which noise stretches a step.

    >>> mean_noise(EngineSettings(step_noise_sigma=0.0, stall_share=0.01, stall_factor=3.0))
    1.02
    """
    stalls = 1.0 + settings.stall_share * (settings.stall_factor - 1.0)
    return math.exp(settings.step_noise_sigma**2 / 2.0) * stalls


class Projector:
    """Play engines of one kind forward.

    Args:
        profile: How long their steps take.
        settings: Their pace and noise.
    """

    __slots__ = ("decode_s", "mean_noise", "overhead_s", "profile", "token_s")

    def __init__(self, profile: Profile, settings: EngineSettings) -> None:
        self.profile = profile
        self.overhead_s = settings.step_overhead_s
        self.mean_noise = mean_noise(settings)
        self.token_s = profile.context_s / 1e3
        """Seconds a step takes for each token of context that decodes read."""
        self.decode_s = [
            profile.decode_s(decoding) + self.overhead_s
            for decoding in range(settings.max_num_seqs + 1)
        ]
        """Seconds of a step that only decodes, but for that, by how many do."""

    def project(
        self, state: EngineState, coming: Several[Coming] = (), *, until: str | None = None
    ) -> Projection:
        """Play one engine forward until it has nothing left to do.

        Args:
            state: What it is in the midst of.
            coming: Requests it gets later, in order of time, none of which is there yet.
            until: Stop once the request of this id has its first token.
        """
        return _Play(self, state, coming).play(until)


class _Play:
    """One engine on its way through the future."""

    __slots__ = (
        "_began",
        "_context",
        "_ends",
        "_kv",
        "_now",
        "_out",
        "_pace",
        "_partial",
        "_queue",
        "_scale",
        "_state",
        "_steps",
    )

    def __init__(self, pace: Projector, state: EngineState, coming: Several[Coming]) -> None:
        self._pace = pace
        self._state = state
        self._out = Projection()
        self._now = self._began = state.now_s
        self._scale = pace.mean_noise / state.speed
        self._steps = state.decoded_steps
        self._context = state.context_tokens
        self._ends = [_end(one) for one in state.decoding]
        heapify(self._ends)
        self._queue = state.queue.copy(_copy)
        for number, (request, at_s) in enumerate(coming, state.submitted):
            rank = (request.priority, number)
            self._queue.arrive(Sequence(request=request, rank=rank, submitted_s=at_s))
        self._partial: Sequence | None = None
        self._kv = ProjectedKv(state, self._queue.requests(), self._ends)

    def play(self, until: str | None) -> Projection:
        """Go on until nothing is left, or one request has its first token."""
        self._end_step_under_way()
        self._now = max(self._now, self._state.frozen_until_s)
        queue, firsts = self._queue, self._out.first_token_s
        while until is None or until not in firsts:
            for loaded in queue.let_in(self._seen()):
                self._kv.publish(loaded)
            chunks = self._schedule() if self._partial or queue.head else []
            if chunks:
                self._prefill(chunks)
            elif self._ends:
                self._decode()
            elif (wake_s := queue.wake_s()) is not None:
                self._now = wake_s
            elif queue.head:
                self._kv.ignore_limit()
            else:
                break
        return self._out

    def _seen(self) -> float:
        """Tell up to when requests are seen, as the engine does."""
        follows = bool(self._ends or self._partial)
        return self._began if self._state.ahead and follows else self._now

    # Steps

    def _end_step_under_way(self) -> None:
        state = self._state
        chunks = [(_copy(one), new) for one, new in state.prefilling]
        for one, _ in chunks:
            self._kv.publish(one)
        if state.step_s is not None:
            self._began, self._now = state.step_s
            self._end_step(chunks)
        elif chunks:
            self._partial = chunks[0][0]

    def _prefill(self, chunks: list[tuple[Sequence, int]]) -> None:
        pace = self._pace
        sizes = [(new, one.computed) for one, new in chunks]
        step_s = pace.profile.step_s(sizes, len(self._ends), self._context) + pace.overhead_s
        self._began = self._now
        self._now += step_s * self._scale
        self._end_step(chunks)

    def _end_step(self, chunks: list[tuple[Sequence, int]]) -> None:
        self._steps += 1
        self._context += len(self._ends)
        self._end_decoded()
        self._partial = None
        for one, new in chunks:
            one.computed += new
            if one.computed == one.tokens:
                self._generate(one)
            else:
                self._partial = one

    def _decode(self) -> None:
        """Take all steps until something else than decoding happens."""
        pace, ends, scale = self._pace, self._ends, self._scale
        wake_s, waits = self._queue.wake_s(), self._queue.head is not None
        until_s = math.inf if wake_s is None else wake_s
        while ends and self._seen() < until_s:
            decoding = len(ends)
            steps = ends[0][0] - self._steps
            first_s = (pace.decode_s[decoding] + pace.token_s * self._context) * scale
            growth_s = pace.token_s * decoding * scale
            lasts_s = steps * first_s + growth_s * (steps * (steps - 1) / 2)
            if self._now + lasts_s > until_s:
                left_s = until_s - self._now
                needed = _steps_to(left_s, first_s, growth_s) if left_s > 0 else 0
                steps = min(steps, max(needed + self._state.ahead, 1))
                lasts_s = steps * first_s + growth_s * (steps * (steps - 1) / 2)
            self._now += lasts_s
            self._began = self._now - first_s - growth_s * (steps - 1)
            self._steps += steps
            self._context += steps * decoding
            self._end_decoded()
            if waits:
                return  # a seat or blocks may have become free

    def _end_decoded(self) -> None:
        ends, end_s = self._ends, self._out.end_s
        while ends and ends[0][0] <= self._steps:
            _, _, request_id, tokens = heappop(ends)
            end_s[request_id] = self._now
            self._context -= tokens

    def _generate(self, one: Sequence) -> None:
        """Give the token that follows a prefill."""
        request, tokens = one.request, one.tokens + 1
        self._kv.begin_to_decode(one)
        if not one.generated:
            self._out.first_token_s[request.request_id] = self._now
        left = request.prompt_tokens + request.output_tokens - tokens
        if left:
            self._context += tokens
            end = (self._steps + left, one.rank[1], request.request_id, tokens + left)
            heappush(self._ends, end)
        else:
            self._out.end_s[request.request_id] = self._now

    # Who is next

    def _schedule(self) -> list[tuple[Sequence, int]]:
        """Choose the chunks of the coming step."""
        queue, chunks = self._queue, []
        budget = self._state.budget_tokens - len(self._ends)
        seats = self._state.most_running - len(self._ends)
        if self._partial is not None:
            chunks.append(
                (self._partial, min(self._partial.tokens - self._partial.computed, budget))
            )
            budget -= chunks[0][1]
        while budget and len(chunks) < seats:
            one = queue.head
            if one is None or not (one.admitted or self._admit(one)):
                break
            queue.pop()
            load_s = None if one.loaded else self._kv.load(one)
            if load_s is not None:
                queue.load(one, self._now, load_s)
                continue
            self._kv.publish(one)
            chunks.append((one, min(one.tokens - one.computed, budget)))
            budget -= chunks[-1][1]
        return chunks

    def _admit(self, one: Sequence) -> bool:
        return self._kv.admit(one, self._ends, self._steps, self._context)


def _copy(sequence: Sequence) -> Sequence:
    return Sequence(
        request=sequence.request,
        rank=sequence.rank,
        submitted_s=sequence.submitted_s,
        generated=sequence.generated,
        computed=sequence.computed,
        holding=sequence.holding,
        admitted=sequence.admitted,
        loaded=sequence.loaded,
    )


def _end(sequence: Sequence) -> End:
    request = sequence.request
    last = sequence.joined + request.output_tokens - sequence.generated
    total = request.prompt_tokens + request.output_tokens
    return last, sequence.rank[1], request.request_id, total


def _steps_to(lasts_s: float, first_s: float, growth_s: float) -> int:
    """Count the steps that last at least this long, the first one and the growth of each given.

    >>> _steps_to(0.9, 1.0, 0.0), _steps_to(3.1, 1.0, 0.5), _steps_to(2.4, 1.0, 0.5)
    (1, 3, 2)
    """
    half_s = first_s - growth_s / 2
    return max(1, math.ceil(2 * lasts_s / (half_s + math.sqrt(half_s**2 + 2 * growth_s * lasts_s))))
