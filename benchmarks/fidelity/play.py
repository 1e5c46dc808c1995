"""Play requests through one simulated engine in virtual time.

The only place in this benchmark that touches the engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from random import Random

from simulator.engine import Engine
from simulator.profiles import Profile
from simulator.settings import EngineSettings
from simulator.types import Completion, SimRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request and when it is sent: not before ``at_s``, nor before its predecessor ended."""

    request: SimRequest
    at_s: float = 0.0
    think_s: float = 0.0
    """How long after the end of its predecessor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Second:
    """What the endpoint showed at one whole second, and its counters since the start."""

    at_s: float
    running: int
    waiting: int
    kv_cache_usage: float
    prefix_hits: int
    prefix_queries: int
    preemptions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """All of one run: completions by request id, and one reading per second."""

    completions: dict[str, Completion]
    seconds: list[Second]


def play(
    chains: Sequence[Sequence[Sent]], *, profile: Profile, settings: EngineSettings, seed: int
) -> Played:
    """Run every chain to its end.

    Args:
        chains: Requests of one client each, in order; a chain of one is an open loop.
        profile: How long steps take.
        settings: Sizes and pace of the engine.
        seed: Of the step noise.

    Raises:
        RequestTooLong: A request can never fit the engine.
    """
    return _Player(chains, Engine(profile, settings, Random(seed))).run()


class _Player:
    """One run; ``_due`` holds ``(time, chain, position)`` of what is sent next."""

    def __init__(self, chains: Sequence[Sequence[Sent]], engine: Engine) -> None:
        self._chains = chains
        self._engine = engine
        self._due = [(chain[0].at_s, number, 0) for number, chain in enumerate(chains) if chain]
        heapify(self._due)
        self._under_way: dict[str, tuple[int, int]] = {}
        self._completions: dict[str, Completion] = {}
        self._seconds: list[Second] = []

    def run(self) -> Played:
        now = 0.0
        while self._due or self._engine.busy:
            ends_s = self._engine.ends_s
            if ends_s is None and (step := self._engine.begin_stretch(now)) is not None:
                ends_s = step.ends_s[-1]
            sent_s = self._due[0][0] if self._due else None
            wake_s = self._engine.wake_s() if ends_s is None else ends_s
            now = min(at_s for at_s in (sent_s, wake_s) if at_s is not None)
            self._read_until(now)
            if now == sent_s:
                self._send(now)
            elif ends_s is not None:
                self._end(now)
        return Played(completions=self._completions, seconds=self._seconds)

    def _send(self, now: float) -> None:
        _, number, position = heappop(self._due)
        request = self._chains[number][position].request
        self._under_way[request.request_id] = number, position
        self._engine.submit(request, now)

    def _end(self, now: float) -> None:
        for token in self._engine.end_stretch(now):
            if token.completion is None:
                continue
            self._completions[token.request_id] = token.completion
            number, position = self._under_way.pop(token.request_id)
            if position + 1 < len(self._chains[number]):
                following = self._chains[number][position + 1]
                due_s = max(following.at_s, now + following.think_s)
                heappush(self._due, (due_s, number, position + 1))

    def _read_until(self, now: float) -> None:
        """Note every second up to ``now``, in which nothing happened."""
        engine, counters = self._engine, self._engine.counters
        while len(self._seconds) < now:
            self._seconds.append(
                Second(
                    at_s=float(len(self._seconds)),
                    running=engine.running_requests,
                    waiting=engine.waiting_requests,
                    kv_cache_usage=engine.kv_cache_usage,
                    prefix_hits=counters.prefix_hits,
                    prefix_queries=counters.prefix_queries,
                    preemptions=counters.preemptions,
                )
            )
