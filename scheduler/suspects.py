"""Leave endpoints alone that failed just now, until they are seen up or time is up.

Fed by failed dispatches and error answers (passive) and scrapes (active). An endpoint
that answers requests with errors looks idle and healthy, and would draw all traffic:
its scrapes prove nothing, only time or a served request does. Client errors never
count, but for 429: there the endpoint refuses; and for what :mod:`scheduler.refusals`
finds that one endpoint alone refuses. Called by the scheduler only.
"""

from dataclasses import dataclass
from typing import Final, Literal

from predictor.types import Measurement
from scheduler.refusals import REFUSALS, Refusals

Suspicion = Literal["unreachable", "failing", "refusing"]
"""Dispatches to it failed; it answered with errors of its own; it refuses what others serve."""

# A failing endpoint is tried again after backoff x 2^(failures - 1), at most x 16.
MOST_DOUBLINGS: Final = 4


@dataclass(slots=True, kw_only=True)
class _Suspicion:
    failures: int = 0
    reason: Suspicion = "unreachable"
    failed_s: float = 0.0
    until_s: float = 0.0


class Suspects:
    """Hold which endpoints are under suspicion.

    Attributes:
        backoff_s: How long after a first failure.

    >>> suspects = Suspects(backoff_s=0.5)
    >>> suspects.failed("a:1", now=10.0)
    >>> suspects.is_suspect("a:1", now=10.4), suspects.is_suspect("a:1", now=10.6)
    (True, False)
    """

    def __init__(self, *, backoff_s: float) -> None:
        self.backoff_s = backoff_s
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
        suspicion.reason = reason
        suspicion.failed_s = now
        doublings = min(suspicion.failures - 1, MOST_DOUBLINGS)
        suspicion.until_s = now + self.backoff_s * 2**doublings

    def seen_up(self, endpoint: str, seen_s: float) -> None:
        """Note a successful scrape; one from after the failure ends the wait."""
        suspicion = self._suspicions.get(endpoint)
        if suspicion is None or suspicion.reason != "unreachable":
            return
        if seen_s > suspicion.failed_s:
            suspicion.until_s = min(suspicion.until_s, seen_s)

    def succeeded(self, endpoint: str) -> None:
        """Note a request that was served: all is forgiven."""
        self._suspicions.pop(endpoint, None)

    def forget(self, endpoint: str) -> None:
        """Drop an endpoint that has left."""
        self._suspicions.pop(endpoint, None)
        self._refusals.forget(endpoint)

    def reason(self, endpoint: str, now: float) -> Suspicion | None:
        """Say why the endpoint is to be left alone, ``None`` where it is not."""
        suspicion = self._suspicions.get(endpoint)
        return None if suspicion is None or now >= suspicion.until_s else suspicion.reason

    def is_suspect(self, endpoint: str, now: float) -> bool:
        """Tell whether the endpoint is to be left alone."""
        return self.reason(endpoint, now) is not None

    def is_unreachable(self, endpoint: str, now: float) -> bool:
        """Tell whether it is suspect because dispatches to it failed: not even a last resort."""
        return self.reason(endpoint, now) == "unreachable"
