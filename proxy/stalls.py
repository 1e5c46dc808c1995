"""Notice requests whose endpoint has fallen silent: nothing for much longer than predicted.

An engine can hang while its server answers health checks. Before the first token the
prediction of that is the measure, afterwards that of the gap between tokens, both many
times over and never below a floor. An answer that is not streamed says nothing until its
end, however well it goes: it counts only where its endpoint is known to stand still.
Whoever relays a request marks each sign of life by :meth:`Watched.heard` and asks for those
overdue now and then; what to do about them is the scheduler's (``Scheduler.silent``).
"""

from collections.abc import Container, Iterator

from proxy.settings import StallSettings


class Watched:
    """Hold when one dispatched request was last heard of.

    Attributes:
        request_id: Which request.
        endpoint: Where it is.
        heard_s: Last sign of life, at first its dispatch.
        begun: Whether anything of its answer has come.
    """

    __slots__ = ("_first_s", "_gap_s", "begun", "endpoint", "heard_s", "request_id")

    def __init__(
        self, request_id: str, endpoint: str, now: float, *, first_s: float, gap_s: float
    ) -> None:
        self.request_id = request_id
        self.endpoint = endpoint
        self.heard_s = now
        self.begun = False
        self._first_s = first_s
        self._gap_s = gap_s

    def heard(self, now: float) -> None:
        """Note a sign of life: something of the answer has come."""
        self.heard_s = now
        self.begun = True

    @property
    def limit_s(self) -> float:
        """Give how long it may be silent in its present state."""
        return self._gap_s if self.begun else self._first_s


class StallWatch:
    """Hold the dispatched requests of a router.

    Args:
        settings: How long is too long.

    >>> watch = StallWatch(StallSettings(factor=10.0, floor_s=1.0))
    >>> request = watch.begin("r", "a:1", now=0.0, ttft_s=0.5, tpot_s=0.01, streamed=True)
    >>> [list(watch.overdue(now)) == [request] for now in (4.0, 5.0)]
    [False, True]
    >>> request.heard(5.0)
    >>> [list(watch.overdue(now)) == [request] for now in (5.9, 6.0)]
    [False, True]
    """

    def __init__(self, settings: StallSettings) -> None:
        self._settings = settings
        self._watched: dict[str, Watched] = {}

    def __len__(self) -> int:
        return len(self._watched)

    def begin(
        self,
        request_id: str,
        endpoint: str,
        now: float,
        *,
        ttft_s: float | None,
        tpot_s: float | None,
        streamed: bool,
    ) -> Watched:
        """Watch a request from its dispatch on; one dispatched again is watched anew.

        Args:
            request_id: Which request.
            endpoint: Where it went.
            now: When.
            ttft_s: What is predicted for it there, ``None`` for unknown.
            tpot_s: Likewise.
            streamed: Whether its tokens can be seen.
        """
        watched = Watched(
            request_id,
            endpoint,
            now,
            first_s=self._limit_s(ttft_s) if streamed else float("inf"),
            gap_s=self._limit_s(tpot_s) if streamed else float("inf"),
        )
        self._watched[request_id] = watched
        return watched

    def end(self, request_id: str) -> None:
        """Watch a request no longer; one not watched changes nothing."""
        self._watched.pop(request_id, None)

    def overdue(self, now: float, still: Container[str] = ()) -> Iterator[Watched]:
        """Give those that have been silent for too long; they may be ended meanwhile.

        Args:
            now: The present.
            still: Endpoints known to stand still: there the floor alone counts.
        """
        floor_s = self._settings.floor_s
        for watched in list(self._watched.values()):
            silent_s = now - watched.heard_s
            if silent_s < floor_s or self._watched.get(watched.request_id) is not watched:
                continue
            if silent_s >= watched.limit_s or watched.endpoint in still:
                yield watched

    def _limit_s(self, predicted_s: float | None) -> float:
        settings = self._settings
        if predicted_s is None:
            return max(settings.floor_s, settings.unpredicted_s)
        return max(settings.floor_s, settings.factor * predicted_s)
