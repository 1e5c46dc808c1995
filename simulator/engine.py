"""The engine of one simulated vLLM endpoint, in virtual time.

Decides what each engine step computes and how long it takes, by the rules of vLLM
V1: running requests first, in the order they were admitted; then waiting ones, by
priority and arrival, as far as the step's token budget, ``max_num_seqs`` and the
KV cache allow; a prompt longer than the budget is computed in chunks; when blocks
run out, the newest request of the least urgent priority is preempted and later
computed again. Pure: time is an argument, chance is an injected generator.

Two clocks drive it. By a real clock: ``begin_step``, wait for ``Step.duration_s``,
``end_step``. In virtual time: ``begin_stretch`` plans all the steps up to the next
one in which anything but decoding happens, ``end_stretch`` takes them; ``submit`` and
``cancel`` cut a stretch short where they must, so the driver looks at ``ends_s`` again
after either. Both give the same times, bit for bit.

Source: vLLM V1 ``core/sched/scheduler.py`` (``scheduler_reserve_full_isl`` on, its default).
"""

import math
from bisect import bisect_left, bisect_right
from random import Random
from typing import Final

from simulator.allocation import Allocation
from simulator.decoding import DecodeBatch
from simulator.engine_state import EngineState
from simulator.errors import DuplicateRequest, RequestTooLong
from simulator.kv_tier import KvTier
from simulator.profiles import Profile
from simulator.request_queue import RequestQueue
from simulator.sequence import Sequence
from simulator.settings import EngineSettings
from simulator.step_times import StepTimes
from simulator.types import Counters, SimRequest, Step, Token

LONGEST_STRETCH: Final = 512
"""Steps planned at once; a longer stretch is two."""


class Engine:
    """Run requests through vLLM's scheduling rules; one step or stretch is under way at a time.

    Args:
        profile: How long steps take.
        settings: Sizes and pace.
        rng: Seeds the noise of step times.
        shared_tier: Storage that several engines share, asked behind the own tiers.
    """

    def __init__(
        self,
        profile: Profile,
        settings: EngineSettings,
        rng: Random,
        shared_tier: KvTier | None = None,
    ) -> None:
        self.profile = profile
        self.block_size = settings.block_size
        kv_tokens = settings.kv_tokens or profile.kv_tokens
        self.kv_blocks = max(1, kv_tokens // settings.block_size)
        self.max_model_len = min(settings.max_model_len, self.kv_blocks * settings.block_size)
        self.counters = Counters()
        self._budget = settings.max_num_batched_tokens or profile.max_num_batched_tokens
        self._most_running = min(settings.max_num_seqs, self._budget)
        self.times = StepTimes(profile, settings, rng)
        self.kv = Allocation(settings, blocks=self.kv_blocks, shared_tier=shared_tier)
        self._submitted = 0
        self._queue = RequestQueue(settings.request_overhead_s)
        self._prefilling: dict[Sequence, int] = {}  # tokens computed in the step under way
        self._decoding = DecodeBatch(settings.block_size)
        self._live: dict[str, Sequence] = {}
        self._step: Step | None = None
        self._taken = 0  # steps of the stretch that are done
        self._blocks_ahead = False  # the decoding ones have the blocks of the coming step
        self._ahead = settings.async_scheduling
        self._began_s = self._ended_s = 0.0  # of the last step
        self._frozen_until_s = 0.0

    # What can be asked

    @property
    def running_requests(self) -> int:
        """Count the requests in the batch."""
        return len(self._decoding) + len(self._prefilling)

    @property
    def waiting_requests(self) -> int:
        """Count the requests that wait to be scheduled, or for KV to be loaded."""
        return self._queue.waiting_requests

    @property
    def kv_cache_usage(self) -> float:
        """Give the fraction of KV blocks held by requests, 0 to 1."""
        return self.kv.cache.usage

    @property
    def busy(self) -> bool:
        """Tell whether any request is alive."""
        return bool(self._live)

    @property
    def speed(self) -> float:
        """Give what step times are divided by; a change counts from the next step on."""
        return self.times.speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self.times.speed = speed

    @property
    def ends_s(self) -> float | None:
        """Tell when the step or stretch under way ends, ``None`` when none is."""
        return None if self._step is None else self._step.ends_s[-1]

    def wake_s(self) -> float | None:
        """Tell when a request becomes ready to be scheduled, ``None`` if none will by itself."""
        wake_s = self._queue.wake_s()
        if self._frozen_until_s and self._live:
            return max(self._frozen_until_s, wake_s or 0.0)
        return wake_s

    def snapshot(self, now: float) -> EngineState:
        """Show what the engine is in the midst of, for whoever plays it forward."""
        self.settle(now)
        return EngineState(
            now_s=now,
            step_s=None if self._step is None else self._step.span_s(self._taken),
            ahead=self._ahead,
            frozen_until_s=self._frozen_until_s,
            speed=self.speed,
            budget_tokens=self._budget,
            most_running=self._most_running,
            kv_blocks=self.kv_blocks,
            block_size=self.block_size,
            submitted=self._submitted,
            decoded_steps=self._decoding.steps,
            context_tokens=self._decoding.context_tokens,
            decoding=self._decoding.members(),
            prefilling=tuple(self._prefilling.items()),
            queue=self._queue,
            kv=self.kv,
        )

    # What happens

    def submit(self, request: SimRequest, now: float) -> None:
        """Take in a request; it can be scheduled once its constant overhead has passed.

        Raises:
            RequestTooLong: It could never fit ``max_model_len`` or the KV cache.
            DuplicateRequest: One of that id is alive.
        """
        total = request.prompt_tokens + request.output_tokens
        if total > self.max_model_len:
            raise RequestTooLong(total, self.max_model_len)
        if request.request_id in self._live:
            raise DuplicateRequest(request.request_id)
        rank = (request.priority, self._submitted)
        self._submitted += 1
        sequence = Sequence(request=request, rank=rank, submitted_s=now)
        self._live[request.request_id] = sequence
        self._queue.arrive(sequence)
        step, ready_s = self._step, self._queue.ready_s(sequence)
        if step is not None:
            waits = self._ahead and ready_s > step.began_s  # for another one's beginning
            done = max(self._taken - self._ahead, 0)
            del step.ends_s[bisect_left(step.ends_s, ready_s, done) + 1 + waits :]

    def cancel(self, request_id: str, now: float) -> bool:
        """Forget a request and free its blocks at once; false if it is not alive."""
        sequence = self._live.pop(request_id, None)
        if sequence is None:
            return False
        self.cut(now)
        if sequence.decoding or sequence in self._prefilling:
            self._stop(sequence)
        else:
            self._queue.remove(sequence)
            self.kv.release(sequence)
        return True

    def settle(self, now: float) -> None:
        """Take those steps of the stretch under way that ended by ``now``, all but the last."""
        step = self._step
        if step is not None and len(step.ends_s) > 1:
            last = len(step.ends_s) - 1
            self._take(bisect_right(step.ends_s, now, self._taken, last) - self._taken)

    def cut(self, now: float) -> None:
        """End the stretch under way with the step under way at ``now``."""
        self.settle(now)
        if self._step is not None:
            del self._step.ends_s[self._taken + 1 :]

    def begin_step(self, now: float) -> Step | None:
        """Put the next step together, or ``None`` when there is nothing to compute."""
        return self._begin(now, most=1)

    def begin_stretch(self, now: float) -> Step | None:
        """Put the next steps together, as many as only decode, or one; ``None`` without any."""
        return self._begin(now, most=LONGEST_STRETCH)

    def end_step(self, step: Step, now: float) -> list[Token]:
        """Take note that a step is done and give the tokens it generated.

        Requests cancelled meanwhile generate none.
        """
        decoded = self._decoding.next_tokens(now - step.began_s)
        marked = {token.request_id: token for token in self.end_stretch(now)}
        tokens = [marked.pop(token.request_id, token) for token in decoded]
        return [*tokens, *marked.values()]

    def end_stretch(self, now: float) -> list[Token]:
        """Take note that a stretch is done and give the first and the last tokens it generated.

        The tokens in between are counted only. Requests cancelled meanwhile generate none.
        """
        step = self._step
        if step is None:  # the endpoint crashed meanwhile
            return []
        began_s, _ = step.span_s(len(step.ends_s) - 1)
        self._take(len(step.ends_s) - self._taken - 1)
        self._step, self._blocks_ahead = None, False
        self._began_s, self._ended_s = began_s, now
        self.counters.steps += 1
        self.counters.generation_tokens += len(self._decoding)
        self._decoding.advance(1)
        self.times.take(1)
        tokens = [self._last_token(done, now - began_s, now) for done in self._decoding.ended()]
        return tokens + self._end_prefills(now)

    # Faults

    def hang(self, now: float, until_s: float) -> None:
        """Stand still: the step under way ends no earlier, none begins before."""
        self.cut(now)
        self._frozen_until_s = until_s
        if self._step is not None:
            self._step.ends_s[-1] = max(self._step.ends_s[-1], until_s)

    def crash(self) -> list[str]:
        """Lose every request, the caches, and what was counted; shared storage stays.

        Returns:
            The ids of the requests lost, in the order of submission.
        """
        lost = list(self._live)
        self._live.clear()
        self._queue.clear()
        self._prefilling.clear()
        self._decoding = DecodeBatch(self.block_size)
        self.kv.lose()
        self.counters = Counters(steps=self.counters.steps)  # steps are the simulator's count
        self._step, self._blocks_ahead, self._frozen_until_s = None, False, 0.0
        return lost

    def flush(self) -> None:
        """Forget every cached block no request holds."""
        self.kv.cache.flush()

    # How a step is put together

    def _begin(self, now: float, *, most: int) -> Step | None:
        if now < self._frozen_until_s:
            return None
        self._frozen_until_s = 0.0
        # Scheduled ahead, a step is put together when the one before it begins.
        follows = now == self._ended_s and self.running_requests > 0
        for sequence in self._queue.let_in(self._began_s if self._ahead and follows else now):
            self.kv.publish(sequence)
        before = self.counters.preemptions
        whole = self._decode()
        if self._prefilling or (whole and self._queue.head):
            self._schedule_prefills(now, admit=whole)
        preempted = self.counters.preemptions > before
        if not (self._decoding or self._prefilling):
            # The last one gave way to one that waits with its blocks: that one goes at once.
            return self._begin(now, most=most) if preempted else None
        # In the next step the one thrown out may be let in again.
        self._step, self._taken = self._plan(now, 1 if preempted else most), 0
        return self._step

    def _decode(self) -> bool:
        """Give each decoding request its block; false if one had to be preempted."""
        whole = True
        while self._decoding.new_blocks() > self.kv.cache.free:
            self._preempt_newest()
            whole = False
        self.kv.cache.take(self._decoding.new_blocks())
        self._blocks_ahead = True
        return whole

    def _schedule_prefills(self, now: float, *, admit: bool) -> None:
        budget = self._budget - len(self._decoding)
        for begun in tuple(self._prefilling):  # one at most: a chunk takes the whole budget
            new = min(begun.tokens - begun.computed, budget)
            while begun in self._prefilling and not self.kv.hold(begun, new):
                # Those that decode in this step give their place to it, unless it is newest.
                self._preempt_newest()
                admit = False
            if begun in self._prefilling:
                self._prefilling[begun] = new
                budget -= new
        while admit and budget and self.running_requests < self._most_running:
            sequence = self._queue.head
            if sequence is None or not (sequence.admitted or self.kv.admit(sequence)):
                return
            self._queue.pop()
            if self._loads(sequence, now):
                continue
            new = min(sequence.tokens - sequence.computed, budget)
            self.kv.hold(sequence, new)
            if sequence.scheduled_s is None:
                sequence.scheduled_s = now
            self._prefilling[sequence] = new
            budget -= new

    def _loads(self, sequence: Sequence, now: float) -> bool:
        """Send an admitted request to load what tiers behind the GPU have of its prompt."""
        loaded, load_s = self.kv.load(sequence)
        if sequence.cached is None:  # it is looked up for the first time
            sequence.cached = sequence.computed
            self.counters.prefix_queries += sequence.request.prompt_tokens
            self.counters.prefix_hits += sequence.computed - loaded
            self.counters.external_hits += loaded
        if loaded:
            self._queue.load(sequence, now, load_s)
        return bool(loaded)

    def _plan(self, now: float, most: int) -> Step:
        """Plan a step that prefills, or steps that decode until anything else happens."""
        decoding, context = len(self._decoding), self._decoding.context_tokens
        if self._prefilling:
            chunks = ((new, one.computed) for one, new in self._prefilling.items())
            return self.times.prefill(now, chunks, decoding, context)
        most = min(most, self._decoding.steps_to_end())
        steps = self._decoding.steps_within(self.kv.cache.free, most=most)
        wake_s = self.wake_s()
        until_s = math.inf if wake_s is None else wake_s
        return self.times.decode(now, decoding, context, steps=steps, until_s=until_s)

    # How it is carried out

    def _take(self, steps: int) -> None:
        """Take steps in which all only decoded and none ended."""
        if not steps:
            return
        self.counters.steps += steps
        self.counters.generation_tokens += steps * len(self._decoding)
        self.times.take(steps)
        self.kv.cache.take(self._decoding.blocks_begun(steps))
        self._decoding.advance(steps)
        self._taken += steps

    def _end_prefills(self, now: float) -> list[Token]:
        tokens = []
        for sequence, computed in tuple(self._prefilling.items()):
            sequence.computed += computed
            if sequence.computed == sequence.tokens:
                del self._prefilling[sequence]
                tokens.append(self._generate(sequence, now))
            else:
                self._prefilling[sequence] = 0
        return tokens

    def _generate(self, sequence: Sequence, now: float) -> Token:
        """Give the token that follows a prefill: the first one, or the next after preemption."""
        since = sequence.last_token_s if sequence.generated else sequence.submitted_s
        if not sequence.generated:
            sequence.first_token_s = now
            self.counters.prompt_tokens += sequence.request.prompt_tokens
        sequence.generated += 1
        self.counters.generation_tokens += 1
        if sequence.generated == sequence.request.output_tokens:
            return self._last_token(sequence, now - since, now)
        self._decoding.join(sequence)
        return sequence.token(now - since)

    def _last_token(self, sequence: Sequence, gap_s: float, now: float) -> Token:
        del self._live[sequence.request.request_id]
        self.kv.release_decoded(sequence, begun=0)
        return sequence.token(gap_s, sequence.completion(now))

    def _preempt_newest(self) -> None:
        running = [*self._prefilling, self._decoding.newest()]
        victim = max((one for one in running if one is not None), key=lambda one: one.rank)
        self._stop(victim)
        victim.computed, victim.loaded, victim.last_token_s = 0, False, self._ended_s
        victim.preemptions += 1
        self.counters.preemptions += 1
        self._queue.wait(victim)

    def _stop(self, sequence: Sequence) -> None:
        """Take a running request out of the batch and free its blocks."""
        if not sequence.decoding:
            del self._prefilling[sequence]
            self.kv.release(sequence)
        else:
            self._decoding.leave(sequence)
            self.kv.release_decoded(sequence, begun=int(self._blocks_ahead))
