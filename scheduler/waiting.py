"""Requests that wait for an endpoint, bounded in count and time.

Ordered by priority, then by arrival. Called by the scheduler only.
"""

import heapq
from dataclasses import dataclass

from predictor.types import RequestFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Hold one waiting request.

    Attributes:
        request: As it came in.
        deadline_s: When it is given up.
    """

    request: RequestFeatures
    deadline_s: float


class WaitingQueue:
    """Keep waiting requests, highest priority first, then first come first served.

    >>> queue = WaitingQueue()
    >>> for name, priority in (("late", 0), ("soon", 5)):
    ...     request = RequestFeatures(request_id=name, arrived_s=0.0, model="m")
    ...     queue.add(Waiting(request=request, deadline_s=1.0), priority=priority)
    >>> [waiting.request.request_id for waiting in queue.ordered()]
    ['soon', 'late']
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str]] = []
        self._waiting: dict[str, Waiting] = {}
        self._added = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._waiting

    def add(self, waiting: Waiting, *, priority: int) -> None:
        """Put a request at the end of its priority band."""
        self._added += 1
        request_id = waiting.request.request_id
        self._waiting[request_id] = waiting
        heapq.heappush(self._heap, (-priority, self._added, request_id))

    def remove(self, request_id: str) -> Waiting:
        """Take a request out, wherever it stands."""
        waiting = self._waiting.pop(request_id)
        self._heap = [entry for entry in self._heap if entry[2] in self._waiting]
        heapq.heapify(self._heap)
        return waiting

    def ordered(self) -> list[Waiting]:
        """List all that wait, next one first."""
        return [self._waiting[request_id] for _, _, request_id in sorted(self._heap)]
