"""Leave endpoints alone that failed just now: a circuit breaker for each.

Fed by failed dispatches, error answers and silence (passive) and by scrapes (active).
When the time is up, one request at a time tries the endpoint; one that is served ends the
suspicion, one that fails begins another wait. A scrape proves that an endpoint can be
reached, and that its engine moves. It proves nothing of one that answers requests with
errors: that looks idle and healthy, and would draw all traffic. Client errors never count,
but for 429: there the endpoint refuses; and for what :mod:`scheduler.refusals` finds that
one endpoint alone refuses. Called by the scheduler only.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from predictor.types import EndpointState, Measurement
from scheduler.refusals import REFUSALS, Refusals

Suspicion = Literal["unreachable", "failing", "refusing", "stalled"]
"""Dispatches to it failed; it answered with errors of its own; it refuses what others serve;
it has requests and says nothing."""

# A failing endpoint is tried again after backoff x 2^(failures - 1), at most x 4: it is one
# request that is tried, and whoever has recovered serves again within seconds.
MOST_DOUBLINGS: Final = 2
# A trial that has said nothing for so long lets another one go: it may be a long answer
# that is not streamed.
TRIAL_S: Final = 3.0


def gets_on(state: EndpointState, since_s: float, now: float) -> bool:
    """Say whether an endpoint's counters moved in the later half of the time since ``since_s``.

    >>> at = EndpointState(endpoint="a:1", url="http://a:1", moved_s=9.0)
    >>> gets_on(at, since_s=5.0, now=10.0), gets_on(at, since_s=8.9, now=20.0)
    (True, False)
    """
    return state.moved_s is not None and now - state.moved_s < (now - since_s) / 2


@dataclass(slots=True, kw_only=True)
class _Suspicion:
    failures: int = 0
    reason: Suspicion = "unreachable"
    failed_s: float = 0.0
    until_s: float = 0.0
    tried_s: float | None = None  # since when a request is there to try it
    reached: bool = False  # by a scrape, after the failure


class Suspects:
    """Hold which endpoints are under suspicion.

    Attributes:
        backoff_s: How long after a first failure.
        times: How often each was suspected, by endpoint and reason.
        on_suspect: Told each time, where others are to know.

    >>> suspects = Suspects(backoff_s=0.5)
    >>> suspects.failed("a:1", now=10.0)
    >>> suspects.is_suspect("a:1", now=10.4), suspects.is_suspect("a:1", now=10.6)
    (True, False)
    """

    def __init__(self, *, backoff_s: float) -> None:
        self.backoff_s = backoff_s
        self.times: Counter[tuple[str, Suspicion]] = Counter()
        self.on_suspect: Callable[[str, Suspicion], None] | None = None
        self._suspicions: dict[str, _Suspicion] = {}
        self._refusals = Refusals()

    def __bool__(self) -> bool:
        return bool(self._suspicions)

    def failed(self, endpoint: str, now: float) -> None:
        """Note a dispatch that failed before its first byte."""
        self._suspect(endpoint, "unreachable", now)

    def erred(self, endpoint: str, now: float) -> None:
        """Note a request that the endpoint answered with an error of its own."""
        self._suspect(endpoint, "failing", now)

    def judge(self, endpoint: str, fleet: str, measurement: Measurement, now: float) -> None:
        """Trust an endpoint of a fleet more or less for how a request ended there."""
        status = measurement.status
        if status is not None and (status >= 500 or status == 429):
            self.erred(endpoint, now)
        elif status in REFUSALS:
            self._refused(endpoint, fleet, now)
        elif measurement.outcome in {"completed", "client_error"}:
            self._refusals.served(fleet, endpoint)
            self.succeeded(endpoint)
        else:  # it says nothing about the endpoint, and tries it no longer
            self._end_trial(endpoint)

    def _refused(self, endpoint: str, fleet: str, now: float) -> None:
        if self._refusals.refused(fleet, endpoint):
            self._suspect(endpoint, "refusing", now)
            for cleared in self._refusals.cleared(fleet):
                self.succeeded(cleared)
        elif self.reason(endpoint, now) != "refusing":
            self.succeeded(endpoint)

    def _suspect(self, endpoint: str, reason: Suspicion, now: float) -> None:
        suspicion = self._suspicions.setdefault(endpoint, _Suspicion())
        suspicion.failures += 1
        self.times[endpoint, reason] += 1
        suspicion.reason = reason
        suspicion.failed_s = now
        suspicion.tried_s, suspicion.reached = None, False
        doublings = min(suspicion.failures - 1, MOST_DOUBLINGS)
        suspicion.until_s = now + self.backoff_s * 2**doublings
        if self.on_suspect is not None:
            self.on_suspect(endpoint, reason)

    def hear(self, endpoint: str, reason: Suspicion, now: float) -> None:
        """Note that an endpoint failed somebody else: a first failure, whatever they count.

        Whoever cannot reach it for reasons of their own keeps us away for no longer than one
        wait, or until our own scrape reaches it.
        """
        if self.reason(endpoint, now) is not None:
            return
        suspicion = self._suspicions.setdefault(endpoint, _Suspicion())
        suspicion.failures = max(suspicion.failures, 1)
        suspicion.reason = reason
        suspicion.failed_s = now
        suspicion.tried_s, suspicion.reached = None, False
        suspicion.until_s = now + self.backoff_s

    def stalled(self, endpoint: str, now: float) -> None:
        """Note that it has requests and has said nothing about them for too long."""
        suspicion = self._suspicions.get(endpoint)
        if suspicion is None or suspicion.reason != "stalled":
            self._suspect(endpoint, "stalled", now)
        elif suspicion.tried_s is None:  # the same silence goes on
            suspicion.until_s = max(suspicion.until_s, now + self.backoff_s)

    def seen(self, state: EndpointState, *, still_after_s: float) -> None:
        """Note whether a scrape shows that the endpoint's engine gets on."""
        now, still_s, moved_s = state.scraped_s, state.still_since_s, state.moved_s
        if now is not None and still_s is not None and now - still_s >= still_after_s:
            self.stalled(state.endpoint, now)
            return
        suspicion = self._suspicions.get(state.endpoint)
        if suspicion is None or suspicion.reason != "stalled" or moved_s is None:
            return
        if moved_s > suspicion.failed_s:
            self.succeeded(state.endpoint)

    def seen_up(self, endpoint: str, seen_s: float) -> None:
        """Note a successful scrape; one from after the failure ends the wait."""
        suspicion = self._suspicions.get(endpoint)
        if suspicion is None or suspicion.reason != "unreachable":
            return
        if seen_s > suspicion.failed_s:
            suspicion.until_s = min(suspicion.until_s, seen_s)
            suspicion.reached = True

    def sent(self, endpoint: str, now: float) -> None:
        """Note a dispatch to it; where the wait is over, the others wait for how it goes."""
        suspicion = self._suspicions.get(endpoint)
        if suspicion is not None and now >= suspicion.until_s and not suspicion.reached:
            suspicion.tried_s = now

    def succeeded(self, endpoint: str) -> None:
        """Note a request that was served: all is forgiven."""
        self._suspicions.pop(endpoint, None)

    def forget(self, endpoint: str) -> None:
        """Drop an endpoint that has left."""
        self._suspicions.pop(endpoint, None)
        self._refusals.forget(endpoint)
        for known in [each for each in self.times if each[0] == endpoint]:
            del self.times[known]

    def reason(self, endpoint: str, now: float) -> Suspicion | None:
        """Say why the endpoint is to be left alone, ``None`` where it is not."""
        suspicion = self._suspicions.get(endpoint)
        if suspicion is None:
            return None
        tried_s = suspicion.tried_s
        on_trial = tried_s is not None and now < tried_s + TRIAL_S
        return suspicion.reason if on_trial or now < suspicion.until_s else None

    def is_suspect(self, endpoint: str, now: float) -> bool:
        """Tell whether the endpoint is to be left alone."""
        return self.reason(endpoint, now) is not None

    def is_unreachable(self, endpoint: str, now: float) -> bool:
        """Tell whether it is suspect because dispatches to it failed: not even a last resort."""
        return self.reason(endpoint, now) == "unreachable"

    def _end_trial(self, endpoint: str) -> None:
        suspicion = self._suspicions.get(endpoint)
        if suspicion is not None:
            suspicion.tried_s = None
