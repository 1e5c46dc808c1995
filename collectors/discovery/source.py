"""What every source of endpoints is, and how it says how it is doing.

A source asks one authority who belongs to the fleet and tells the whole present set on
every change. Two rules hold for all: an authority that cannot be reached, or that says
what cannot be read, changes nothing (what was last known stays, and a metric and a log
line say so); an authority that answers "none" is believed. Called by ``foretoken.service``.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from collectors.settings import EndpointSettings

logger = logging.getLogger(__name__)

DiscoveryFailure = Literal[
    "unreadable", "invalid", "unreachable", "timeout", "refused", "denied", "expired"
]
"""Why an authority's word is not known: a file cannot be read, what it says is not
understood, nobody answers, too late, an answer that it cannot say (SERVFAIL, a 5xx), one
that we may not ask (401, 403), one that we must ask anew (410)."""

Found = Callable[[Sequence[EndpointSettings]], None]
"""Takes the whole present set of one source."""


def only_changes(found: Found) -> Found:
    """Make of what takes sets one that takes the same set again and passes it on once.

    >>> told = []
    >>> tell = only_changes(told.append)
    >>> tell([]), tell([]), len(told)
    (None, None, 1)
    """
    told: Sequence[EndpointSettings] | None = None

    def tell(endpoints: Sequence[EndpointSettings]) -> None:
        nonlocal told
        if endpoints != told:
            told = endpoints
            found(endpoints)

    return tell


class Source(Protocol):
    """Ask one authority for endpoints."""

    async def run(self, found: Found) -> None:
        """Tell the whole present set on every change, until cancelled; may be run again.

        Never tells an empty set because the authority could not be reached.
        """
        ...


class DiscoveryCounts(Protocol):
    """Count what sources do; the proxy turns it into metrics."""

    def heard(self, source: str) -> None:
        """Take in that a source's authority has spoken, whether or not anything changed."""
        ...

    def failed(self, source: str, reason: DiscoveryFailure) -> None:
        """Take in that a source's authority could not be heard or understood."""
        ...


class SourceHealth:
    """Say how one source is doing; failures in a row are counted each and logged once.

    Args:
        source: Its name in logs and metrics.
        counts: Told of everything.
    """

    def __init__(self, source: str, counts: DiscoveryCounts) -> None:
        self.source = source
        self._counts = counts
        self._problem: str | None = None

    def heard(self) -> None:
        """Note that the authority has spoken."""
        self._counts.heard(self.source)
        if self._problem is not None:
            self._problem = None
            logger.info("discovery_recovered", extra={"source": self.source})

    def failed(self, reason: DiscoveryFailure, problem: str) -> None:
        """Note that it could not be heard or understood; what was last known stays."""
        self._counts.failed(self.source, reason)
        if problem != self._problem:
            self._problem = problem
            fields = {"source": self.source, "reason": reason, "problem": problem}
            logger.warning("discovery_failed", extra=fields)
