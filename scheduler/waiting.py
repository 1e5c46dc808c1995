"""Requests that wait for an endpoint, bounded in count and time.

Ordered by priority, then by arrival. Called by the scheduler only.
"""

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
        self._waiting: dict[str, tuple[int, Waiting]] = {}  # by id, in order of arrival

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, request_id: str) -> bool:
        return request_id in self._waiting

    def add(self, waiting: Waiting, *, priority: int) -> None:
        """Put a request at the end of its priority band."""
        self._waiting[waiting.request.request_id] = priority, waiting

    def remove(self, request_id: str) -> None:
        """Take a request out, wherever it stands."""
        del self._waiting[request_id]

    def ordered(self) -> list[Waiting]:
        """List all that wait, next one first."""
        stable = sorted(self._waiting.values(), key=lambda entry: -entry[0])
        return [waiting for _, waiting in stable]
