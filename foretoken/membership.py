"""Who belongs to the fleet, and by whose word.

The configuration lists endpoints, the control API adds and removes some, and sources of
discovery tell theirs. The first of these to name an endpoint says how it is, in that order;
one that the control API removed stays away for as long as whoever named it says the same.

Whoever is named no more leaves: it gets no further requests, those that run there go on,
and once they have ended, or after a time, it is forgotten with its series and connections.
Nothing is cut. One that is named again meanwhile stays, with all that was learned of it.
Constructed by ``build``, called by the service and the control plane, on the event loop.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from collectors import EndpointSettings, KvEventFeeds, Scraper
from collectors.in_step import in_step
from foretoken.errors import EndpointRefused
from predictor.types import EndpointLoad, EndpointState
from proxy import Guard, Upstream

log = logging.getLogger(__name__)

LOOK_S: Final = 0.5
"""Between two looks at whether those that leave have ended their requests."""

Objection = Callable[[EndpointSettings], str | None]
"""Says why an endpoint cannot be served here, ``None`` where it can."""


def no_objection(_: EndpointSettings) -> None:
    """Let every endpoint be served."""


class Bookings(Protocol):
    """Tell what is known of endpoints and runs there; the scheduler does."""

    @property
    def states(self) -> Mapping[str, EndpointState]:
        """Give the latest snapshot of every endpoint by name."""
        ...

    def load(self, endpoint: str, now: float) -> EndpointLoad:
        """Give what this router has in flight at an endpoint."""
        ...


class _Leaver(NamedTuple):
    since_s: float
    drained: bool  # by an operator, before it left


class Membership:
    """Keep scraper, feeds and upstream to those that belong to the fleet.

    Args:
        endpoints: Those the configuration lists.
        sources: Names of the sources of discovery, the first most trusted.
        counted: Told how many endpoints a source has found.
        scraper: Reads them.
        feeds: Follows their KV events.
        upstream: Holds their connections and keys.
        guard: Keeps clients' keys from endpoints that have their own; ``None``: no such guard.
        bookings: Knows what runs where.
        clock: In seconds.
        leave_s: An endpoint that leaves is forgotten after so long, whatever runs there.
        objection: Asked about every endpoint that is not there yet.
    """

    def __init__(
        self,
        endpoints: Sequence[EndpointSettings],
        *,
        sources: Iterable[str],
        counted: Callable[[str, int], None],
        scraper: Scraper,
        feeds: KvEventFeeds,
        upstream: Upstream,
        guard: Guard | None,
        bookings: Bookings,
        clock: Callable[[], float],
        leave_s: float,
        objection: Objection,
    ) -> None:
        self._counted = counted
        self._scraper = scraper
        self._feeds = feeds
        self._upstream = upstream
        self._guard = guard
        self._bookings = bookings
        self._clock = clock
        self._leave_s = leave_s
        self._objection = objection
        self._listed = _by_name(endpoints)
        self._added: dict[str, EndpointSettings] = {}
        self._told: dict[str, dict[str, EndpointSettings]] = {source: {} for source in sources}
        self._removed: dict[str, EndpointSettings] = {}
        self._refused: dict[str, EndpointSettings] = {}
        self._present = dict(self._listed)
        self._leaving: dict[str, _Leaver] = {}

    @property
    def present(self) -> Mapping[str, EndpointSettings]:
        """Give those that belong to the fleet by name; none of them leaves."""
        return self._present

    @property
    def leaving(self) -> frozenset[str]:
        """Name those whose last requests run."""
        return frozenset(self._leaving)

    def begin(self) -> None:
        """Let requests to those the configuration lists carry their keys."""
        for endpoint in self._present.values():
            self._upstream.authorize(endpoint.url, endpoint.api_key)
        self._hide_credentials()

    async def run(self) -> None:
        """Forget those that left and have nothing left to do, until cancelled."""
        while True:
            await in_step(LOOK_S)
            self.look(self._clock())

    def look(self, now: float) -> None:
        """Forget those that left and have nothing left to do, or have had their time."""
        done = [
            name
            for name, leaver in self._leaving.items()
            if now - leaver.since_s >= self._leave_s or not self._busy(name, now)
        ]
        if done:
            self._forget(done, now)

    # Who says so

    def listed(self, endpoints: Iterable[EndpointSettings]) -> None:
        """Take in what the configuration lists, as of now."""
        self._listed = _by_name(endpoints)
        self._settle()

    def found(self, source: str, endpoints: Iterable[EndpointSettings]) -> None:
        """Take in the whole present set of a source."""
        self._told[source] = _by_name(endpoints)
        self._counted(source, len(self._told[source]))
        log.info("endpoints_found", extra={"source": source, "count": len(self._told[source])})
        self._settle()

    def add(self, endpoint: EndpointSettings) -> None:
        """Take in an endpoint that the control API adds.

        Raises:
            EndpointRefused: It cannot be served here.
        """
        problem = self._objection(endpoint)
        if problem is not None:
            raise EndpointRefused(problem)
        self._removed.pop(endpoint.name, None)
        self._added[endpoint.name] = endpoint
        self._settle()

    def remove(self, name: str) -> None:
        """Have an endpoint leave though others may name it."""
        self._added.pop(name, None)
        named = self._named().get(name)
        if named is not None:
            self._removed[name] = named
        self._settle()

    def drain(self, name: str, *, draining: bool) -> None:
        """Keep new requests from an endpoint, or let them come again; not to one that leaves.

        Raises:
            UnknownEndpoint: There is none of that name.
        """
        leaver = self._leaving.get(name)
        if leaver is not None:
            self._leaving[name] = leaver._replace(drained=draining)
        elif draining:
            self._scraper.drain(name)
        else:
            self._scraper.resume(name)

    # How

    def _named(self) -> dict[str, EndpointSettings]:
        """Give who is named by anybody, as the first who names it says."""
        words = (self._listed, self._added, *self._told.values())
        named: dict[str, EndpointSettings] = {}
        for word in reversed(words):
            named |= word
        return named

    def _settle(self) -> None:
        """Make the fleet what everybody together says."""
        named = self._named()
        self._removed = {
            name: known for name, known in self._removed.items() if named.get(name) == known
        }
        wanted = {
            name: endpoint
            for name, endpoint in named.items()
            if name not in self._removed and self._is_fit(endpoint)
        }
        self._refused = {name: one for name, one in self._refused.items() if name in named}
        self._leave([name for name in self._present if name not in wanted])
        self._enter([one for name, one in wanted.items() if self._present.get(name) != one])
        self._present = wanted
        self._hide_credentials()

    def _is_fit(self, endpoint: EndpointSettings) -> bool:
        if self._present.get(endpoint.name) == endpoint:
            return True
        problem = self._objection(endpoint)
        if problem is not None and self._refused.get(endpoint.name) != endpoint:
            self._refused[endpoint.name] = endpoint
            told = {"endpoint": endpoint.name, "problem": problem}
            log.warning("endpoint_refused", extra=told)
        return problem is None

    def _enter(self, endpoints: Sequence[EndpointSettings]) -> None:
        if not endpoints:
            return
        before = {one.name: self._bookings.states.get(one.name) for one in endpoints}
        for endpoint in endpoints:  # before any of them is asked
            self._upstream.authorize(endpoint.url, endpoint.api_key)
        self._scraper.change(add=endpoints)
        for endpoint in endpoints:
            self._feeds.add(endpoint)
            leaver = self._leaving.pop(endpoint.name, None)
            if leaver is not None:
                log.info("endpoint_returned", extra={"endpoint": endpoint.name})
                if not leaver.drained:
                    self._scraper.resume(endpoint.name)
        self._close({state.url for state in before.values() if state is not None})

    def _leave(self, names: Sequence[str]) -> None:
        now = self._clock()
        busy = [name for name in names if self._busy(name, now)]
        for name in busy:
            state = self._bookings.states[name]
            self._leaving[name] = _Leaver(since_s=now, drained=state.draining)
            running = self._bookings.load(name, now).inflight_requests
            fields = {"endpoint": name, "inflight_requests": running}
            log.info("endpoint_leaving", extra=fields)
            self._scraper.drain(name)
        self._forget([name for name in names if name not in self._leaving], now)

    def _busy(self, name: str, now: float) -> bool:
        known = name in self._bookings.states
        return known and self._bookings.load(name, now).inflight_requests > 0

    def _forget(self, names: Sequence[str], now: float) -> None:
        """Drop endpoints and all that is kept for them."""
        if not names:
            return
        gone = set(names)
        urls = {state.url for state in self._scraper.states if state.endpoint in gone}
        for name in names:
            left = self._leaving.pop(name, None)
            if left is not None and self._busy(name, now):
                running = self._bookings.load(name, now).inflight_requests
                fields = {"endpoint": name, "inflight_requests": running}
                log.warning("endpoint_left_unfinished", extra=fields)
            self._feeds.remove(name)  # first: what it still announced would be of nobody known
        self._scraper.change(remove=names)
        self._close(urls)

    def _close(self, urls: set[str]) -> None:
        """Close what is kept for addresses that no endpoint has any more."""
        for url in urls - {state.url for state in self._scraper.states}:
            self._upstream.forget(url)

    def _hide_credentials(self) -> None:
        if self._guard is not None:
            keys = (one.api_key_env for one in self._present.values())
            self._guard.hide_credentials = any(key is not None for key in keys)


def _by_name(endpoints: Iterable[EndpointSettings]) -> dict[str, EndpointSettings]:
    return {endpoint.name: endpoint for endpoint in endpoints}
