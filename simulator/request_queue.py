"""Requests on their way into an engine's batch: arriving, loading KV, and waiting.

Decides who is next: by priority, then by submission. Called by the engine only.
"""

from collections import deque
from heapq import heapify, heappop, heappush

from simulator.sequence import Sequence


class RequestQueue:
    """Hold the requests of one engine that are not in its batch.

    Args:
        overhead_s: Constant time from a request's submission until it can be scheduled.
    """

    __slots__ = ("_arriving", "_loading", "_overhead_s", "_waiting")

    def __init__(self, overhead_s: float) -> None:
        self._overhead_s = overhead_s
        self._arriving: deque[Sequence] = deque()
        self._loading: list[tuple[float, int, Sequence]] = []
        self._waiting: list[tuple[tuple[int, int], Sequence]] = []

    @property
    def waiting_requests(self) -> int:
        """Count those that wait to be scheduled, or for KV to be loaded."""
        return len(self._waiting) + len(self._loading)

    @property
    def head(self) -> Sequence | None:
        """Give the one to schedule next, ``None`` without any."""
        return self._waiting[0][1] if self._waiting else None

    def ready_s(self, sequence: Sequence) -> float:
        """Tell when a request can be scheduled at the earliest."""
        return sequence.submitted_s + self._overhead_s

    def wake_s(self) -> float | None:
        """Tell when the next one arrives or has loaded, ``None`` without any."""
        ready_s = [self.ready_s(self._arriving[0])] if self._arriving else []
        ready_s += [self._loading[0][0]] if self._loading else []
        return min(ready_s, default=None)

    def arrive(self, sequence: Sequence) -> None:
        """Take in a submitted request."""
        self._arriving.append(sequence)

    def wait(self, sequence: Sequence) -> None:
        """Let a request wait to be scheduled."""
        heappush(self._waiting, (sequence.rank, sequence))

    def load(self, sequence: Sequence, until_s: float) -> None:
        """Let a request load KV."""
        heappush(self._loading, (until_s, sequence.rank[1], sequence))

    def let_in(self, now: float) -> list[Sequence]:
        """Let those wait that have arrived or loaded by now; give the latter."""
        while self._arriving and self.ready_s(self._arriving[0]) <= now:
            self.wait(self._arriving.popleft())
        loaded = []
        while self._loading and self._loading[0][0] <= now:
            loaded.append(heappop(self._loading)[2])
            self.wait(loaded[-1])
        return loaded

    def pop(self) -> Sequence:
        """Take out the one to schedule next."""
        return heappop(self._waiting)[1]

    def remove(self, sequence: Sequence) -> None:
        """Take out a request wherever it is."""
        if sequence in self._arriving:
            self._arriving.remove(sequence)
            return
        self._waiting = [entry for entry in self._waiting if entry[1] is not sequence]
        self._loading = [entry for entry in self._loading if entry[2] is not sequence]
        heapify(self._waiting)
        heapify(self._loading)

    def clear(self) -> None:
        """Forget all."""
        self._arriving.clear()
        self._loading.clear()
        self._waiting.clear()
