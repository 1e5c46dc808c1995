"""The engine of one simulated vLLM endpoint, in virtual time.

Decides what each engine step computes and how long it takes, by the rules of vLLM
V1: running requests first, in the order they were admitted; then waiting ones, by
priority and arrival, as far as the step's token budget, ``max_num_seqs`` and the
KV cache allow; a prompt longer than the budget is computed in chunks; when blocks
run out, the newest request of the least urgent priority is preempted and later
computed again. Pure: time is an argument, chance is an injected generator. One
driver calls it, in virtual time or by a real clock: ``begin_step``, wait for
``Step.duration_s``, ``end_step``.

Source: vLLM V1 ``core/sched/scheduler.py`` (``scheduler_reserve_full_isl`` on, its default).
"""

from collections import deque
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from random import Random

from simulator.errors import DuplicateRequest, RequestTooLong
from simulator.kv_cache import Holding, KvCache
from simulator.profiles import Profile
from simulator.settings import EngineSettings
from simulator.types import Completion, Counters, SimRequest, Token


@dataclass(slots=True, kw_only=True, eq=False)
class _Sequence:
    """One live request: ``computed`` of its ``tokens`` have their KV in the cache."""

    request: SimRequest
    rank: tuple[int, int]
    submitted_s: float
    generated: int = 0
    computed: int = 0
    cached: int | None = None
    holding: Holding | None = None
    scheduled_s: float = 0.0
    first_token_s: float = 0.0
    last_token_s: float = 0.0
    preemptions: int = 0

    @property
    def tokens(self) -> int:
        return self.request.prompt_tokens + self.generated

    @property
    def decodes(self) -> bool:
        """Tell a decode from a prefill: all but the token generated last is in the cache."""
        return self.generated > 0 and self.computed == self.tokens - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Say what one engine step computes and how long that takes.

    Attributes:
        duration_s: Time it takes, noise included.
        prefill_tokens: Prompt tokens computed, and tokens computed again.
        decoding: Requests that decode one token.
        context_tokens: Tokens of context these hold.
        work: The engine's own note of who computes how many tokens.
    """

    duration_s: float
    prefill_tokens: int
    decoding: int
    context_tokens: int
    work: tuple[tuple[_Sequence, int], ...] = field(repr=False)


class _Batch:
    """A step being put together: what is scheduled, and the token budget left."""

    __slots__ = ("budget", "preempted", "work")

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.work: dict[_Sequence, int] = {}
        self.preempted = False

    def add(self, sequence: _Sequence, tokens: int) -> None:
        self.work[sequence] = tokens
        self.budget -= tokens

    def drop(self, sequence: _Sequence) -> None:
        self.budget += self.work.pop(sequence, 0)
        self.preempted = True


class Engine:
    """Run requests through vLLM's scheduling rules; one step is under way at a time."""

    def __init__(self, profile: Profile, settings: EngineSettings, rng: Random) -> None:
        self.profile = profile
        self.block_size = settings.block_size
        kv_tokens = settings.kv_tokens or profile.kv_tokens
        self.kv_blocks = max(1, kv_tokens // settings.block_size)
        self.max_model_len = min(settings.max_model_len, self.kv_blocks * settings.block_size)
        self.counters = Counters()
        self._settings = settings
        self._budget = settings.max_num_batched_tokens or profile.max_num_batched_tokens
        self._rng = rng
        self._cache = KvCache(self.kv_blocks)
        self._submitted = 0
        self._arriving: deque[_Sequence] = deque()
        self._waiting: list[tuple[tuple[int, int], _Sequence]] = []
        self._running: dict[str, _Sequence] = {}  # in the order of admission
        self._live: dict[str, _Sequence] = {}

    @property
    def running_requests(self) -> int:
        """Count the requests in the batch."""
        return len(self._running)

    @property
    def waiting_requests(self) -> int:
        """Count the requests that wait to be scheduled."""
        return len(self._waiting)

    @property
    def kv_cache_usage(self) -> float:
        """Give the fraction of KV blocks held by requests, 0 to 1."""
        return self._cache.usage

    @property
    def busy(self) -> bool:
        """Tell whether any request is alive."""
        return bool(self._live)

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
        sequence = _Sequence(request=request, rank=rank, submitted_s=now)
        self._live[request.request_id] = sequence
        self._arriving.append(sequence)

    def cancel(self, request_id: str) -> bool:
        """Forget a request and free its blocks at once; false if it is not alive."""
        sequence = self._live.pop(request_id, None)
        if sequence is None:
            return False
        if self._running.pop(request_id, None) is not None:
            self._release(sequence)
        elif sequence in self._arriving:
            self._arriving.remove(sequence)
        else:
            self._waiting.remove((sequence.rank, sequence))
            heapify(self._waiting)
        return True

    def wake_s(self) -> float | None:
        """Tell when the next submitted request can be scheduled, ``None`` without one."""
        return self._ready_s(self._arriving[0]) if self._arriving else None

    def begin_step(self, now: float) -> Step | None:
        """Put the next step together, or ``None`` when there is nothing to compute."""
        while self._arriving and self._ready_s(self._arriving[0]) <= now:
            sequence = self._arriving.popleft()
            heappush(self._waiting, (sequence.rank, sequence))
        batch = _Batch(self._budget)
        self._continue_running(batch)
        if not batch.preempted:
            self._admit_waiting(batch, now)
        if not batch.work:
            return None
        return self._step(batch)

    def end_step(self, step: Step, now: float) -> list[Token]:
        """Take note that a step is done and give the tokens it generated.

        Requests cancelled meanwhile generate none.
        """
        self.counters.steps += 1
        tokens = []
        for sequence, computed in step.work:
            if self._running.get(sequence.request.request_id) is not sequence:
                continue
            sequence.computed += computed
            if sequence.computed == sequence.tokens:
                tokens.append(self._generate(sequence, now))
        return tokens

    def _ready_s(self, sequence: _Sequence) -> float:
        return sequence.submitted_s + self._settings.request_overhead_s

    def _continue_running(self, batch: _Batch) -> None:
        for sequence in tuple(self._running.values()):
            if batch.budget == 0:
                return
            if sequence.holding is None:  # preempted for one before it
                continue
            new = min(sequence.tokens - sequence.computed, batch.budget)
            if not self._make_room(sequence, sequence.computed + new, batch):
                return
            batch.add(sequence, new)

    def _make_room(self, sequence: _Sequence, tokens: int, batch: _Batch) -> bool:
        while not self._hold(sequence, tokens):
            victim = max(self._running.values(), key=lambda running: running.rank)
            batch.drop(victim)
            self._preempt(victim)
            if victim is sequence:
                return False
        return True

    def _hold(self, sequence: _Sequence, tokens: int) -> bool:
        holding = sequence.holding
        if holding is None or not self._cache.extend(holding, self._blocks(tokens)):
            return False
        hashes = sequence.request.block_hashes
        self._cache.publish(holding, hashes, full=tokens // self.block_size)
        return True

    def _preempt(self, sequence: _Sequence) -> None:
        del self._running[sequence.request.request_id]
        self._release(sequence)
        sequence.computed = 0
        sequence.preemptions += 1
        self.counters.preemptions += 1
        heappush(self._waiting, (sequence.rank, sequence))

    def _admit_waiting(self, batch: _Batch, now: float) -> None:
        while self._waiting and batch.budget and len(self._running) < self._settings.max_num_seqs:
            sequence = self._waiting[0][1]
            # The last token is always computed: its output is what comes next.
            limit = (sequence.tokens - 1) // self.block_size
            known = sequence.request.block_hashes
            known = known[: self._cache.match(known, limit)]
            holding = self._cache.admit(known, needed=self._blocks(sequence.tokens))
            if holding is None:
                return
            heappop(self._waiting)
            self._running[sequence.request.request_id] = sequence
            sequence.holding = holding
            sequence.computed = len(known) * self.block_size
            if sequence.cached is None:
                self._first_scheduled(sequence, now)
            new = min(sequence.tokens - sequence.computed, batch.budget)
            self._hold(sequence, sequence.computed + new)
            batch.add(sequence, new)

    def _first_scheduled(self, sequence: _Sequence, now: float) -> None:
        sequence.cached = sequence.computed
        sequence.scheduled_s = now
        self.counters.prefix_queries += sequence.request.prompt_tokens
        self.counters.prefix_hits += sequence.computed

    def _step(self, batch: _Batch) -> Step:
        chunks: list[tuple[int, int]] = []
        context_tokens = 0
        for sequence, new in batch.work.items():
            if sequence.decodes:
                context_tokens += sequence.tokens
            else:
                chunks.append((new, sequence.computed))
        decoding = len(batch.work) - len(chunks)
        settings = self._settings
        duration_s = self.profile.step_s(chunks, decoding, context_tokens)
        duration_s = (duration_s + settings.step_overhead_s) / settings.speed
        duration_s *= self._rng.lognormvariate(0.0, settings.step_noise_sigma)
        if self._rng.random() < settings.stall_share:
            duration_s *= settings.stall_factor
        return Step(
            duration_s=duration_s,
            prefill_tokens=sum(new for new, _ in chunks),
            decoding=decoding,
            context_tokens=context_tokens,
            work=tuple(batch.work.items()),
        )

    def _generate(self, sequence: _Sequence, now: float) -> Token:
        index = sequence.generated
        since = sequence.last_token_s if index else sequence.submitted_s
        if index == 0:
            sequence.first_token_s = now
            self.counters.prompt_tokens += sequence.request.prompt_tokens
        sequence.generated += 1
        sequence.last_token_s = now
        self.counters.generation_tokens += 1
        done = sequence.generated == sequence.request.output_tokens
        return Token(
            request_id=sequence.request.request_id,
            index=index,
            gap_s=now - since,
            completion=self._finish(sequence, now) if done else None,
        )

    def _finish(self, sequence: _Sequence, now: float) -> Completion:
        request = sequence.request
        del self._live[request.request_id]
        del self._running[request.request_id]
        self._release(sequence)
        return Completion(
            prompt_tokens=request.prompt_tokens,
            cached_tokens=sequence.cached or 0,
            output_tokens=sequence.generated,
            queued_s=sequence.scheduled_s - sequence.submitted_s,
            ttft_s=sequence.first_token_s - sequence.submitted_s,
            e2e_s=now - sequence.submitted_s,
            preemptions=sequence.preemptions,
            finish_reason=request.finish_reason,
        )

    def _release(self, sequence: _Sequence) -> None:
        if sequence.holding is not None:
            self._cache.release(sequence.holding)
            sequence.holding = None

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.block_size)
