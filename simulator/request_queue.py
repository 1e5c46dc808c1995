"""Requests on their way into an engine's batch: arriving, loading KV, and waiting.

Decides who is next: one that holds KV blocks before those that hold none, then by
priority, then by submission. Loads of KV follow one another, as copies to a GPU do.
Called by the engine, and on a copy by projections of it.

Source: vLLM V1 ``core/sched/scheduler.py`` (0.32: ``kv_holding_waiting``), ``kv_offload``
(``gpu_worker.py``: a transfer begins when the one before it has ended).
"""

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from simulator.sequence import Sequence


class RequestQueue:
    """Hold the requests of one engine that are not in its batch.

    Args:
        overhead_s: Constant time from a request's submission until it can be scheduled.
    """

    __slots__ = ("_arriving", "_loaded_s", "_loading", "_overhead_s", "_waiting")

    def __init__(self, overhead_s: float) -> None:
        self._overhead_s = overhead_s
        self._arriving: deque[Sequence] = deque()
        self._loading: list[tuple[float, int, Sequence]] = []
        self._loaded_s = 0.0  # when the last load begun ends
        self._waiting: list[tuple[bool, tuple[int, int], Sequence]] = []

    @property
    def waiting_requests(self) -> int:
        """Count those that wait to be scheduled, or for KV to be loaded."""
        return len(self._waiting) + len(self._loading)

    @property
    def head(self) -> Sequence | None:
        """Give the one to schedule next, ``None`` without any."""
        return self._waiting[0][2] if self._waiting else None

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
        heappush(self._waiting, (not sequence.admitted, sequence.rank, sequence))

    def load(self, sequence: Sequence, now: float, load_s: float) -> None:
        """Let a request load KV, which takes as long once it is its turn."""
        self._loaded_s = max(self._loaded_s, now) + load_s
        heappush(self._loading, (self._loaded_s, sequence.rank[1], sequence))

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
        return heappop(self._waiting)[2]

    def remove(self, sequence: Sequence) -> None:
        """Take out a request wherever it is."""
        if sequence in self._arriving:
            self._arriving.remove(sequence)
            return
        self._waiting = [entry for entry in self._waiting if entry[2] is not sequence]
        self._loading = [entry for entry in self._loading if entry[2] is not sequence]
        heapify(self._waiting)
        heapify(self._loading)

    def copy(self, copied: Callable[[Sequence], Sequence]) -> "RequestQueue":
        """Give a queue that goes its own way, of copies of the same requests."""
        copy = RequestQueue(self._overhead_s)
        copy._arriving.extend(map(copied, self._arriving))
        copy._loading = [(end_s, number, copied(one)) for end_s, number, one in self._loading]
        copy._loaded_s = self._loaded_s
        copy._waiting = [(holds, rank, copied(one)) for holds, rank, one in self._waiting]
        return copy

    def requests(self) -> list[Sequence]:
        """List all, in no particular order."""
        return [*self._arriving, *(entry[2] for entry in (*self._loading, *self._waiting))]

    def clear(self) -> None:
        """Forget all."""
        self._arriving.clear()
        self._loading.clear()
        self._waiting.clear()
        self._loaded_s = 0.0
