"""Keep a copy of some objects of a Kubernetes API server current, come what may.

What is there is listed once; from then on changes are watched, each watch beginning at the
version the last one came to, be it by an event or by a bookmark. Only where the server has
forgotten that version (410), or what it said cannot be understood, is everything listed
again. Whatever fails is tried again after a pause that grows and differs from one router to
the next; until then what was last known stands. Credentials are read anew each time, so a
token that was exchanged counts from the next try on.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Final, Generic, Protocol

from collectors.discovery.kubernetes_api import ApiServer, Collection
from collectors.discovery.kubernetes_events import ApiFailed, Bookmark, Event, Gone, I, Put
from collectors.discovery.kubernetes_objects import Item
from collectors.discovery.source import DiscoveryFailure

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
EMPTY_S: Final = 1.0  # a watch that ends sooner and said nothing is no watch
LIST_AFTER: Final = 3  # failed watches in a row: the version itself may be what they fail on


class Told(Protocol):
    """Hear how a mirror is doing."""

    def heard(self, part: str) -> None:
        """Take in that the server has spoken of a collection."""
        ...

    def failed(self, part: str, reason: DiscoveryFailure, problem: str) -> None:
        """Take in that it did not, or not understandably."""
        ...


class Mirror(Generic[I]):
    """Copy one collection.

    Args:
        collection: What is copied.
        open_api: Opens the server, with credentials as they are then; may block.
        told: Hears how it goes.
        changed: Called after every change, and once when all was listed or denied.
        watch_s: How long a watch lasts.
        clock: Gives seconds.
        sleep: Waits; tests pass another.
        rng: Spreads the tries of many routers.

    Attributes:
        items: The objects by name.
        listed: All were listed once.
        settled: They were, or we may not see them.
    """

    def __init__(
        self,
        collection: Collection[I],
        *,
        open_api: Callable[[], ApiServer],
        told: Told,
        changed: Callable[[], None],
        watch_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
        rng: random.Random,
    ) -> None:
        self.items: dict[str, I] = {}
        self.listed = False
        self.settled = False
        self._collection = collection
        self._open_api = open_api
        self._told = told
        self._changed = changed
        self._watch_s = watch_s
        self._clock = clock
        self._sleep = sleep
        self._rng = rng
        self._version: str | None = None
        self._failures = 0

    @property
    def part(self) -> str:
        """Name the collection."""
        return self._collection.plural

    async def run(self) -> None:
        """Follow the collection until cancelled."""
        while True:
            try:
                api = await asyncio.to_thread(self._open_api)
                try:
                    await self._follow(api)
                finally:
                    await api.close()
            except ApiFailed as failure:
                await self._recover(failure)

    async def _follow(self, api: ApiServer) -> None:
        """List where need be and watch, over and over.

        Raises:
            ApiFailed: Something failed.
        """
        while True:
            version = self._version
            if version is None:
                items, version = await api.list_all(self._collection)
                self._take_list(items, version)
            started = self._clock()
            told = await self._watch(api, version)
            if not told and self._clock() - started < EMPTY_S:
                raise ApiFailed("refused", "a watch ended as soon as it began")
            self._failures = 0

    async def _watch(self, api: ApiServer, version: str) -> bool:
        """Watch until the server ends it; say whether it told of any object."""
        told = False
        limit_s = self._watch_s * self._rng.uniform(0.8, 1.0)
        async with aclosing(api.watch(self._collection, version, limit_s)) as stream:
            async for events in stream:
                told |= self._take(events)
        return told

    async def _recover(self, failure: ApiFailed) -> None:
        self._told.failed(self.part, failure.reason, str(failure))
        self._failures += 1
        if failure.reason in {"expired", "invalid"} or self._failures % LIST_AFTER == 0:
            self._version = None
        if failure.reason == "denied" and not self.settled:
            self.settled = True
            self._changed()
        if failure.reason != "expired" or self._failures > 1:
            await self._sleep(pause_s(self._failures, self._rng))

    def _take_list(self, items: Iterable[I], version: str) -> None:
        self.items = {item.metadata.name: item for item in items}
        self._version = version
        self.listed = self.settled = True
        self._told.heard(self.part)
        self._changed()

    def _take(self, events: Iterable[Event[I]]) -> bool:
        told = changes = False
        for event in events:
            if isinstance(event, Bookmark):
                self._reach(event.version)
            else:
                told = True
                self._reach(event.item.metadata.resource_version)
                changes |= apply(self.items, event)
        self._failures = 0
        self._told.heard(self.part)
        if changes:
            self._changed()
        return told

    def _reach(self, version: str | None) -> None:
        if version is not None and not _earlier(version, self._version):
            self._version = version


def apply(items: dict[str, I], event: Put[I] | Gone[I]) -> bool:
    """Take one event in and say whether it changed anything.

    What is told twice changes nothing, nor does the end of an object whose name another
    has since: names come back, ``uid`` do not.

    >>> from collectors.discovery.kubernetes_objects import Meta
    >>> a, b = (Item(Meta(name="x", uid=uid, resource_version="7")) for uid in "ab")
    >>> items = {}
    >>> apply(items, Put(a)), apply(items, Put(a)), apply(items, Put(b)), apply(items, Gone(a))
    (True, False, True, False)
    >>> apply(items, Gone(b)), items
    (True, {})
    """
    item = event.item
    name = item.metadata.name
    known = items.get(name)
    if isinstance(event, Gone):
        if known is None or _other(known, item):
            return False
        del items[name]
        return True
    if known is not None and not _other(known, item) and _older(item, known):
        return False
    items[name] = item
    return known != item


def _other(one: Item, another: Item) -> bool:
    ids = one.metadata.uid, another.metadata.uid
    return None not in ids and ids[0] != ids[1]


def _older(item: Item, than: Item) -> bool:
    version = item.metadata.resource_version
    return version is not None and _earlier(version, than.metadata.resource_version)


def _earlier(version: str, than: str | None) -> bool:
    """Say whether a version is an earlier one; those that are no numbers do not tell.

    >>> _earlier("9", "10"), _earlier("10", "10"), _earlier("x", "10"), _earlier("9", None)
    (True, False, False, False)
    """
    than = than or ""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


def pause_s(failures: int, rng: random.Random) -> float:
    """Give the seconds until the next try, after so many failures in a row.

    >>> [round(pause_s(n, random.Random(1)), 2) for n in (1, 2, 5, 50)]
    [0.28, 0.57, 4.54, 17.02]
    """
    longest = min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE_S)
    return longest * rng.uniform(0.5, 1.0)
