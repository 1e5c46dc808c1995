"""Several schedulers in virtual time, behind the face of one.

How they share, and which of them a request comes to, is for whoever made them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from predictor.types import EndpointState, Measurement, RequestFeatures, RequestRecord
from scheduler import Action, Dispatch, Scheduler, Shed


class SeveralSchedulers:
    """Do what a scheduler does, by the one of several that a request came to.

    Args:
        schedulers: All of them.
        deal: Gives the one that a request comes to.
        deliver: Lets all hear what has reached them by a time.

    Attributes:
        ended_at: Where the last request that ended was.
    """

    def __init__(
        self,
        schedulers: Sequence[Scheduler],
        *,
        deal: Callable[[RequestFeatures], int],
        deliver: Callable[[float], None],
    ) -> None:
        self._schedulers = tuple(schedulers)
        self._deal = deal
        self._deliver = deliver
        self._at: dict[str, int] = {}
        self._ended_s: dict[int, float] = {}  # where requests have ended since the last look
        self.ended_at = 0

    @property
    def waiting_requests(self) -> int:
        """Count requests that wait at any of them."""
        return sum(each.waiting_requests for each in self._schedulers)

    @property
    def states(self) -> Mapping[str, EndpointState]:
        """Give what all know of the endpoints."""
        return self._schedulers[0].states

    def update(self, states: Iterable[EndpointState]) -> None:
        """Take in the whole present set of endpoints."""
        self._ended_s.clear()  # all look at it
        states = list(states)
        for each in self._schedulers:
            each.update(states)

    def route(self, request: RequestFeatures, now: float) -> Action:
        """Place a request at whichever it comes to."""
        self._deliver(now)
        number = self._at[request.request_id] = self._deal(request)
        return self._told(self._schedulers[number].route(request, now), now)

    def reroute(self, request_id: str, now: float) -> Action:
        """Place a request again."""
        self._deliver(now)
        return self._told(self._of(request_id).reroute(request_id, now), now)

    def first_token(self, request_id: str, now: float) -> float | None:
        """Note a first token."""
        self._deliver(now)
        return self._of(request_id).first_token(request_id, now)

    def progress(self, request_id: str, token_events: int, now: float) -> bool:
        """Note how far a stream has come."""
        self._deliver(now)
        return self._of(request_id).progress(request_id, token_events, now)

    def finished(self, request_id: str, measurement: Measurement, now: float) -> RequestRecord:
        """End a request."""
        self._deliver(now)
        self.ended_at = self._at[request_id]
        self._end(request_id, now)
        return self._schedulers[self.ended_at].finished(request_id, measurement, now)

    def tick(self, now: float) -> Iterator[Dispatch | Shed]:
        """Let waiting requests go where some have just ended, or else, by the clock, at all."""
        self._deliver(now)
        # Ends of an earlier instant are past: nobody waited then.
        ended = {number for number, at_s in self._ended_s.items() if at_s == now}
        self._ended_s.clear()
        for number, each in enumerate(self._schedulers):
            if not ended or number in ended:
                for action in each.tick(now):
                    self._told(action, now)
                    yield action

    def _of(self, request_id: str) -> Scheduler:
        return self._schedulers[self._at[request_id]]

    def _told(self, action: Action, now: float) -> Action:
        if isinstance(action, Shed):
            self._end(action.request_id, now)
        return action

    def _end(self, request_id: str, now: float) -> None:
        self._ended_s[self._at.pop(request_id)] = now
