"""Follow the KV events of all endpoints that publish any, one task each.

Endpoints come and go with the configuration. A subscriber that fails starts again after a
moment, its endpoint known approximately until then; the others go on. Where several
endpoints are said to publish at one address, nobody knows whose cache is announced there:
none of them is followed, as the word of one would be held for that of the other. Called by
``build``, which runs :meth:`KvEventFeeds.run` for the life of the process.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import zmq.asyncio

from collectors.kv_events.subscriber import FeedCounts, KvEventListener, Subscriber
from collectors.settings import EndpointSettings, KvEventSettings, KvEventSource

logger = logging.getLogger(__name__)

RESTART_S: Final = 1.0

_Publisher = tuple[str, str]
"""Address and topic: what tells one publisher from another."""


class KvEventFeeds:
    """Run a subscriber per endpoint that has a source configured.

    Args:
        endpoints: Those known at start.
        settings: How they are followed.
        listener: Takes in what is announced.
        counts: Told of it.
    """

    def __init__(
        self,
        endpoints: Iterable[EndpointSettings],
        settings: KvEventSettings,
        *,
        listener: KvEventListener,
        counts: FeedCounts,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._counts = counts
        self._wanted: dict[str, EndpointSettings] = {one.name: one for one in endpoints}
        self._named: defaultdict[_Publisher, set[str]] = defaultdict(set)
        self._shared: set[_Publisher] = set()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._context: zmq.asyncio.Context | None = None
        for one in self._wanted.values():
            if one.kv_events is not None:
                self._named[_publisher(one.kv_events)].add(one.name)

    async def run(self) -> None:
        """Follow all until cancelled."""
        with zmq.asyncio.Context() as context:
            self._context = context
            try:
                for publisher in tuple(self._named):
                    self._follow_one(publisher)
                await asyncio.Event().wait()
            finally:
                tasks = tuple(self._tasks.values())
                self._tasks.clear()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                self._context = None

    def add(self, endpoint: EndpointSettings) -> None:
        """Follow another endpoint; one of that name is replaced where its source differs."""
        before = self._wanted.get(endpoint.name)
        if before is not None and before.kv_events == endpoint.kv_events:
            self._wanted[endpoint.name] = endpoint
            return
        self.remove(endpoint.name)
        self._wanted[endpoint.name] = endpoint
        if endpoint.kv_events is not None:
            publisher = _publisher(endpoint.kv_events)
            self._named[publisher].add(endpoint.name)
            self._follow_one(publisher)

    def remove(self, name: str) -> None:
        """Follow an endpoint no longer."""
        gone = self._wanted.pop(name, None)
        self._stop(name)
        if gone is None or gone.kv_events is None:
            return
        publisher = _publisher(gone.kv_events)
        self._named[publisher].discard(name)
        self._follow_one(publisher)

    def _follow_one(self, publisher: _Publisher) -> None:
        """Follow whoever is alone at an address; of several, nobody."""
        names = self._named[publisher]
        if len(names) > 1:
            self._follow_none(publisher, names)
            return
        self._shared.discard(publisher)
        for name in names - self._tasks.keys():
            self._start(self._wanted[name])
        if not names:
            del self._named[publisher]

    def _follow_none(self, publisher: _Publisher, names: set[str]) -> None:
        for name in names:
            self._stop(name)
        if publisher not in self._shared:
            self._shared.add(publisher)
            first, second, *_ = sorted(names)
            problem = f"{second} is said to publish at the same {publisher[0]}; neither is followed"
            logger.warning("kv_events_shared", extra={"endpoint": first, "problem": problem})

    def _start(self, endpoint: EndpointSettings) -> None:
        if endpoint.kv_events is None or self._context is None:
            return
        subscriber = Subscriber(
            endpoint.name,
            endpoint.kv_events,
            self._settings,
            context=self._context,
            listener=self._listener,
            counts=self._counts,
        )
        self._tasks[endpoint.name] = asyncio.create_task(self._follow(endpoint.name, subscriber))

    def _stop(self, name: str) -> None:
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()
            self._listener.lose(name)

    async def _follow(self, name: str, subscriber: Subscriber) -> None:
        while True:
            try:
                await subscriber.run()
            except Exception:  # one endpoint's task: it starts again in sight
                logger.exception("kv_events_failed", extra={"endpoint": name})
                self._counts.lost(name, "failed")
            self._listener.lose(name)
            await asyncio.sleep(RESTART_S)


def _publisher(source: KvEventSource) -> _Publisher:
    return source.address, source.topic
